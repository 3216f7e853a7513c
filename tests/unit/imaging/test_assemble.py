import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.domain.errors import (
    DoubledSlice,
    MixedGeometry,
    MixedOrientation,
    NoGeometry,
    SegnodeError,
    ShearedGeometry,
    SliceGap,
    SpoolDamaged,
    TooFewSlices,
    UndecodablePixels,
)
from node.imaging.assemble import assemble
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import (
    AXIAL,
    CORONAL,
    FRAME_UID,
    SAGITTAL,
    a_grid,
    tilted,
    write_mr_series,
)
from tests.unit.imaging.enhanced import write_enhanced

GRID = a_grid((7, 12, 10), axes=tilted(SAGITTAL, 14.0), spacing_mm=(3.3, 0.9, 0.8))


def a_volume(grid: Grid = GRID) -> Volume:
    random = np.random.default_rng(1)
    return Volume(array=random.integers(0, 4000, grid.shape).astype(np.float32), grid=grid)


def change(paths: list[Path], how: Callable[[Dataset, int], None]) -> list[Path]:
    for number, path in enumerate(sorted(paths)):
        dataset = dcmread(path)
        how(dataset, number)
        dataset.save_as(path)
    return paths


@pytest.mark.parametrize(
    "axes", [AXIAL, SAGITTAL, CORONAL, tilted(AXIAL, 20.0), tilted(SAGITTAL, 5.0)]
)
def test_a_series_becomes_the_volume_that_was_written(
    tmp_path: Path, axes: tuple[tuple[float, float, float], ...]
) -> None:
    grid = a_grid((7, 12, 10), axes=axes, spacing_mm=(3.3, 0.9, 0.8))
    written = a_volume(grid)
    found = assemble(write_mr_series(tmp_path, written, seed=3))
    along = np.cross(grid.directions[:, 2], grid.directions[:, 1])
    flipped = along @ grid.directions[:, 0] < 0  # our slices follow row x column direction
    expected = written.array[::-1] if flipped else written.array
    assert np.array_equal(found.array, expected)
    assert found.array.dtype == np.float32
    first = np.array([grid.shape[0] - 1 if flipped else 0, 0, 0])
    assert np.allclose(found.grid.origin_mm, grid.positions_mm(first), atol=1e-6)
    assert found.grid.spacing_mm == pytest.approx(grid.spacing_mm, abs=1e-6)
    assert found.grid.frame_of_reference_uid == FRAME_UID
    assert np.linalg.det(found.grid.directions[:, ::-1]) == pytest.approx(1.0)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)))
def test_the_order_of_the_files_never_matters(tmp_path: Path, order: list[int]) -> None:
    paths = sorted(tmp_path.glob("*.dcm")) or sorted(write_mr_series(tmp_path, a_volume()))
    found = assemble([paths[i] for i in order])
    reference = assemble(paths)
    assert np.array_equal(found.array, reference.array)
    assert np.array_equal(found.grid.affine, reference.grid.affine)


def test_a_voxel_on_the_patient_s_left_has_a_positive_x(tmp_path: Path) -> None:
    grid = a_grid((6, 20, 20), spacing_mm=(4, 2, 2), centre_mm=(0, 0, 0))
    array = np.zeros(grid.shape, dtype=np.float32)
    array[2, 10, 16] = 1000  # columns run to the left
    found = assemble(write_mr_series(tmp_path, Volume(array=array, grid=grid), seed=1))
    assert found.grid.positions_mm(np.argwhere(found.array == 1000))[0, 0] == pytest.approx(13.0)


def test_the_rescale_of_each_slice_is_its_own(tmp_path: Path) -> None:
    def rescaled(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1 + number / 2), str(-10 * number)

    written = a_volume(a_grid((6, 8, 8)))
    found = assemble(change(write_mr_series(tmp_path, written), rescaled))
    steps = np.arange(6, dtype=np.float32)[:, np.newaxis, np.newaxis]
    assert np.array_equal(found.array, written.array * (1 + steps / 2) - 10 * steps)


def test_signed_values_stay_signed(tmp_path: Path) -> None:
    values = np.linspace(-2000, 2000, 6 * 8 * 8).round().reshape(6, 8, 8)

    def signed(dataset: Dataset, number: int) -> None:
        dataset.PixelRepresentation = 1
        dataset.PixelData = values[number].astype("<i2").tobytes()

    paths = write_mr_series(tmp_path, a_volume(a_grid((6, 8, 8))))
    assert np.array_equal(assemble(change(paths, signed)).array, values)


@pytest.mark.parametrize("bits", [12, 13, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_only_the_bits_that_are_stored_count(tmp_path: Path, bits: int, signed: bool) -> None:
    """Old images keep an overlay in the bits above, which are no part of the value."""
    random = np.random.default_rng(bits)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    values = random.integers(low, high, (6, 8, 8))
    overlay = random.integers(0, 1 << 16 - bits, (6, 8, 8)) << bits

    def stored(dataset: Dataset, number: int) -> None:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelRepresentation = int(signed)
        cells = (values[number] & (1 << bits) - 1) | overlay[number]
        dataset.PixelData = cells.astype("<u2").tobytes()

    paths = write_mr_series(tmp_path, a_volume(a_grid((6, 8, 8))))
    assert np.array_equal(assemble(change(paths, stored)).array, values)


def test_padding_below_all_signal_counts_as_no_signal(tmp_path: Path) -> None:
    def padded(dataset: Dataset, number: int) -> None:
        pixels = np.full((8, 8), 7, dtype="<i2")
        pixels[0] = -2000
        dataset.PixelRepresentation = 1
        dataset.PixelData = pixels.tobytes()
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    paths = write_mr_series(tmp_path, a_volume(a_grid((6, 8, 8))))
    assert set(np.unique(assemble(change(paths, padded)).array)) == {0.0, 7.0}


def test_bright_stays_bright_in_monochrome1(tmp_path: Path) -> None:
    written = a_volume(a_grid((6, 8, 8)))
    paths = write_mr_series(tmp_path, written, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(assemble(paths).array, 65535 - written.array)


@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEGLSLossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_compressed_series_give_the_same_values(tmp_path: Path, syntax: UID) -> None:
    def compressed(dataset: Dataset, number: int) -> None:
        if syntax == DeflatedExplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = syntax
        else:
            dataset.compress(syntax, generate_instance_uid=False)

    written = a_volume(a_grid((6, 32, 32)))
    paths = change(write_mr_series(tmp_path, written), compressed)
    assert np.array_equal(assemble(paths).array, written.array)


def test_slice_thickness_is_never_believed(tmp_path: Path) -> None:
    paths = write_mr_series(tmp_path, a_volume(), SliceThickness="1.0", SpacingBetweenSlices="9")
    assert assemble(paths).grid.spacing_mm[0] == pytest.approx(3.3)


def test_an_enhanced_object_gives_the_same_volume_as_a_classic_series(tmp_path: Path) -> None:
    written = a_volume()
    classic = assemble(write_mr_series(tmp_path, written))
    order = [4, 0, 6, 2, 1, 5, 3]
    stored = written.array.astype(np.uint16)
    path = write_enhanced(tmp_path / "one.dcm", stored, GRID, order=order)
    found = assemble([path])
    assert np.array_equal(found.array, classic.array)
    assert found.grid.matches(classic.grid)


def test_an_enhanced_object_is_rescaled_frame_by_frame(tmp_path: Path) -> None:
    stored = a_volume(a_grid((5, 6, 6))).array.astype(np.uint16)
    rescale = [(1.0 + i, -5.0 * i) for i in range(5)]
    path = tmp_path / "one.dcm"
    write_enhanced(path, stored, a_grid((5, 6, 6)), order=[3, 1, 4, 0, 2], rescale=rescale)
    steps = np.arange(5)[:, np.newaxis, np.newaxis]
    assert np.array_equal(assemble([path]).array, stored * (1.0 + steps) - 5.0 * steps)


def test_an_enhanced_object_of_two_volumes_is_a_doubled_slice(tmp_path: Path) -> None:
    stored = a_volume().array.astype(np.uint16)
    path = write_enhanced(tmp_path / "one.dcm", stored, GRID, order=[*range(7), *range(7)])
    with pytest.raises(DoubledSlice, match="14 slices at 7 positions"):
        assemble([path])


def drop(dataset: Dataset, keyword: str) -> None:
    delattr(dataset, keyword)


def at_slice_3(how: Callable[[Dataset], None]) -> Callable[[Dataset, int], None]:
    return lambda dataset, number: how(dataset) if number == 3 else None


def shift(dataset: Dataset, number: int) -> None:
    position = [float(c) for c in dataset.ImagePositionPatient]
    dataset.ImagePositionPatient = [position[0], position[1] + number, position[2]]


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (NoGeometry, at_slice_3(lambda d: drop(d, "ImagePositionPatient"))),
        (NoGeometry, at_slice_3(lambda d: drop(d, "PixelSpacing"))),
        (NoGeometry, at_slice_3(lambda d: setattr(d, "PixelSpacing", ["0", "0"]))),
        (MixedGeometry, at_slice_3(lambda d: setattr(d, "PixelSpacing", ["0.9", "0.81"]))),
        (MixedGeometry, at_slice_3(lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3"))),
        (MixedGeometry, at_slice_3(lambda d: setattr(d, "Rows", 10))),
        (
            MixedOrientation,
            at_slice_3(lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0])),
        ),
        (ShearedGeometry, shift),
        (UndecodablePixels, at_slice_3(lambda d: setattr(d, "PhotometricInterpretation", "RGB"))),
        (UndecodablePixels, at_slice_3(lambda d: setattr(d, "PixelData", b"12"))),
        (UndecodablePixels, at_slice_3(lambda d: drop(d, "PixelData"))),
        (UndecodablePixels, at_slice_3(lambda d: setattr(d, "RescaleSlope", "0"))),
    ],
)
def test_what_is_no_volume_is_refused_with_its_reason(
    tmp_path: Path, error: type[SegnodeError], how: Callable[[Dataset, int], None]
) -> None:
    with pytest.raises(error) as caught:
        assemble(change(write_mr_series(tmp_path, a_volume()), how))
    assert "Müller" not in str(caught.value)
    assert "SEGNODE-1" not in str(caught.value)


def test_a_missing_slice_is_named_with_its_place(tmp_path: Path) -> None:
    paths = sorted(write_mr_series(tmp_path, a_volume()))
    with pytest.raises(SliceGap, match="1 slice missing between slice 3 and 4"):
        assemble(paths[:3] + paths[4:])


def test_a_slice_sent_twice_under_another_name_is_a_doubled_slice(tmp_path: Path) -> None:
    paths = write_mr_series(tmp_path, a_volume())
    shutil.copy(paths[2], tmp_path / "copy.dcm")
    with pytest.raises(DoubledSlice):
        assemble([*paths, tmp_path / "copy.dcm"])


def test_a_fragment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TooFewSlices):
        assemble(write_mr_series(tmp_path, a_volume(a_grid((4, 8, 8)))))


def test_a_file_that_is_gone_is_damage_of_the_spool(tmp_path: Path) -> None:
    paths = write_mr_series(tmp_path, a_volume())
    paths[1].unlink()
    with pytest.raises(SpoolDamaged):
        assemble(paths)


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path) -> None:
    paths = write_mr_series(tmp_path, a_volume())
    paths[1].write_bytes(b"no DICOM at all" * 40)
    with pytest.raises(UndecodablePixels):
        assemble(paths)


def test_a_series_without_frame_of_reference_still_has_a_geometry(tmp_path: Path) -> None:
    paths = write_mr_series(tmp_path, a_volume(), FrameOfReferenceUID=None)
    assert assemble(paths).grid.frame_of_reference_uid == ""
