"""Files of series that hold several volumes, tiles, or more than can be held."""

import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from node.domain.errors import (
    DoubledSlice,
    MixedGeometry,
    MultipleVolumes,
    NoGeometry,
    SegnodeError,
    SliceGap,
    TiledImages,
    TooFewSlices,
    VolumeTooLarge,
)
from node.imaging.assemble import MOST_VOXELS, assemble, assemble_parts
from node.imaging.parts import Mark
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import SERIES_UID, a_grid, write_mr_series
from tests.unit.imaging.enhanced import write_enhanced

GRID = a_grid((6, 8, 10), spacing_mm=(4.0, 1.0, 1.0))


def a_volume(seed: int, grid: Grid = GRID) -> Volume:
    random = np.random.default_rng(seed)
    return Volume(array=random.integers(1, 4000, grid.shape).astype(np.float32), grid=grid)


def written(folder: Path, seed: int, **said: object) -> list[Path]:
    """Write one volume of the series; its instances get identifiers of their own."""
    paths = write_mr_series(folder / str(seed), a_volume(seed), seed=None, **said)
    for number, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.InstanceNumber = 100 * seed + number
        dataset.SOPInstanceUID = f"{SERIES_UID}.{seed}.{number}"
        dataset.save_as(path)
    return paths


def test_a_dual_echo_is_refused_with_its_echo_times(tmp_path: Path) -> None:
    paths = [*written(tmp_path, 2, EchoTime="90"), *written(tmp_path, 1, EchoTime="20.001")]
    with pytest.raises(MultipleVolumes) as caught:
        assemble(paths)
    assert caught.value.what == "The series is 2 volumes of 6 slices: echo times 20 and 90 ms."


def test_the_parts_of_a_dual_echo_are_the_volumes_that_were_written(tmp_path: Path) -> None:
    paths = [*written(tmp_path, 2, EchoTime="90"), *written(tmp_path, 1, EchoTime="20")]
    parts = assemble_parts(paths[::-1])
    assert [part.marks for part in parts] == [{Mark.ECHO_TIME: 20.0}, {Mark.ECHO_TIME: 90.0}]
    for seed, part in enumerate(parts, start=1):
        alone = assemble(paths[6:] if seed == 1 else paths[:6])
        assert np.array_equal(part.volume.array, alone.array)
        assert part.volume.grid.matches(alone.grid)
        assert [paths[::-1][i].parent.name for i in part.frames] == [str(seed)] * 6


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}, {}, None),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
            "magnitude and phase",
        ),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, "time points 1 and"),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, "b-values 0 and 1000 s/mm2"),
        ({"AcquisitionNumber": 3}, {"AcquisitionNumber": 4}, "acquisition numbers 3 and 4"),
        ({"InversionTime": "700"}, {"InversionTime": "2500"}, "inversion times 700 and 2500 ms"),
    ],
)
def test_classic_volumes_are_told_apart(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], words: str | None
) -> None:
    paths = [*written(tmp_path, 1, **first), *written(tmp_path, 2, **(second or first))]
    expected: type[SegnodeError] = MultipleVolumes if words else DoubledSlice
    with pytest.raises(expected, match=words or "12 slices at 6 positions"):
        assemble(paths)


def test_parts_that_are_no_volumes_are_refused_too(tmp_path: Path) -> None:
    paths = [*written(tmp_path, 1, EchoTime="20"), *written(tmp_path, 2, EchoTime="90")]
    del paths[8]
    with pytest.raises(SliceGap, match="1 slice missing between slice 2 and 3"):
        assemble_parts(paths)
    with pytest.raises(MultipleVolumes, match="2 volumes of 5 to 6 slices"):
        assemble(paths)


def test_a_single_slice_has_the_depth_that_its_header_says(tmp_path: Path) -> None:
    path = write_mr_series(tmp_path, a_volume(1), SpacingBetweenSlices="4.5")[2]
    (part,) = assemble_parts([path])
    assert part.volume.grid.spacing_mm == pytest.approx((4.5, 1.0, 1.0))
    with pytest.raises(TooFewSlices):
        assemble_parts([path], minimum_slices=2)


def an_enhanced(path: Path) -> Path:
    """Write two volumes of four slices in one object, slice by slice."""
    grid = a_grid((4, 8, 10), spacing_mm=(4.0, 1.0, 1.0))
    stored = np.arange(4 * 80, dtype=np.uint16).reshape(4, 8, 10)
    return write_enhanced(path, stored, grid, order=[0, 0, 1, 1, 2, 2, 3, 3])


def in_frames(path: Path, group: str, keyword: str, values: Sequence[object]) -> Path:
    dataset = dcmread(path)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        setattr(item, keyword, values[number % len(values)])
        setattr(frame, group, [item])
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("group", "keyword", "values", "words"),
    [
        ("MREchoSequence", "EffectiveEchoTime", [7.0, 9.5], "echo times 7 and 9.5 ms"),
        ("FrameContentSequence", "TemporalPositionIndex", [1, 2], "time points 1 and 2"),
        (
            "MRImageFrameTypeSequence",
            "ComplexImageComponent",
            ["MAGNITUDE", "PHASE"],
            "magnitude and phase",
        ),
        ("MRDiffusionSequence", "DiffusionBValue", [0.0, 800.0], "b-values 0 and 800 s/mm2"),
    ],
)
def test_frames_of_an_enhanced_object_are_told_apart(
    tmp_path: Path, group: str, keyword: str, values: Sequence[object], words: str
) -> None:
    path = in_frames(an_enhanced(tmp_path / "one.dcm"), group, keyword, values)
    with pytest.raises(MultipleVolumes, match=f"2 volumes of 4 slices: {words}"):
        assemble([path])
    parts = assemble_parts([path])
    assert [part.frames for part in parts] == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert np.array_equal(parts[0].volume.array, parts[1].volume.array)


def test_frames_of_different_pixel_spacing_are_no_volume(tmp_path: Path) -> None:
    path = an_enhanced(tmp_path / "one.dcm")
    in_frames(path, "PixelMeasuresSequence", "PixelSpacing", [[1.0, 1.0]] * 7 + [[1.0, 1.2]])
    with pytest.raises(MixedGeometry, match="Pixel Spacing"):
        assemble_parts([path])


@pytest.mark.parametrize(
    ("creator", "count", "vr", "words"),
    [
        ((0x00190010, "SIEMENS MR HEADER"), 0x0019100A, "US", "36 slices as tiles"),
        ((0x00650010, "Image Private Header"), 0x00651050, "DS", "36 slices as tiles"),
        ((0x00190010, "SOMEONE ELSE"), 0x0019100A, "US", "many slices as tiles"),
    ],
)
def test_a_mosaic_is_refused_with_the_number_of_its_tiles(
    tmp_path: Path, creator: tuple[int, str], count: int, vr: str, words: str
) -> None:
    kind = "VFRAME" if "Image" in creator[1] else "MOSAIC"
    paths = write_mr_series(
        tmp_path, a_volume(1), ImageType=["ORIGINAL", "PRIMARY", "M", kind], PixelSpacing=None
    )
    for path in paths:
        dataset = dcmread(path)
        dataset.add_new(creator[0], "LO", creator[1])
        dataset.add_new(count, vr, 36)
        dataset.save_as(path)
    with pytest.raises(TiledImages, match=words):
        assemble(paths)


def test_more_voxels_than_fit_are_refused_before_a_pixel_is_read(tmp_path: Path) -> None:
    order = list(range(512))
    grid = a_grid((512, 1024, 1024), spacing_mm=(0.4, 0.2, 0.2))
    path = write_enhanced(tmp_path / "one.dcm", np.zeros((512, 1, 1)), grid, order=order)
    dataset = dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with path.open("ab") as target:  # 1 GiB of zeros, of which the file system keeps none
        target.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2**30))
        target.truncate(target.tell() + 2**30)
    tracemalloc.start()
    with pytest.raises(VolumeTooLarge, match="512 slices of 1024x1024 pixels"):
        assemble([path])
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    with pytest.raises(VolumeTooLarge):
        assemble_parts([path])


def test_the_limit_is_between_an_interpolated_head_and_an_absurd_one() -> None:
    assert 512**3 < MOST_VOXELS < 512 * 1024**2


def test_no_files_are_no_volume() -> None:
    for make in (assemble, assemble_parts):
        with pytest.raises(NoGeometry):
            make([])
