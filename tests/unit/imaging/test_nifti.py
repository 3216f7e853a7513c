"""NIfTI files become volumes in LPS, or end in a named reason."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.domain.errors import (
    MultipleVolumes,
    NoGeometry,
    NoSignal,
    SpoolUnwritable,
    TooFewSlices,
    UndecodablePixels,
    VolumeTooLarge,
)
from node.imaging.bridges import from_nifti
from node.imaging.nifti import read_nifti, write_nifti
from node.imaging.volume import Volume
from node.phantom.scan import rotation

SHAPE = (7, 6, 5)
COUNTED = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    ras = np.diag([-1.0, -2.0, 3.0, 1.0]) if affine is None else affine
    nibabel.Nifti1Image(array, ras).to_filename(path)
    return path


def altered(path: Path, start: int, content: bytes) -> Path:
    """Overwrite bytes of the header; its layout is at nifti.nimh.nih.gov."""
    whole = bytearray(path.read_bytes())
    whole[start : start + len(content)] = content
    path.write_bytes(whole)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.booleans())
def test_values_lie_where_the_header_puts_them(
    tmp_path: Path, angles: tuple[float, float, float], mirrored: bool
) -> None:
    ras = np.eye(4)
    ras[:3, :3] = rotation(angles) * np.array([-0.9 if mirrored else 0.9, 1.1, 5.0])
    ras[:3, 3] = (10.0, -20.0, 30.0)
    read = read_nifti(write(tmp_path / "a.nii", COUNTED, ras))
    expected = from_nifti(COUNTED, ras)
    assert read.grid.matches(expected.grid, tolerance_mm=1e-3)
    assert np.array_equal(read.array, expected.array)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    volume = from_nifti(COUNTED.astype(np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_nifti(volume, tmp_path / "labels.nii.gz")
    back = read_nifti(tmp_path / "labels.nii.gz")
    assert back.grid.matches(volume.grid)
    assert np.array_equal(back.array, volume.array)


def test_slope_and_intercept_of_the_file_are_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "scaled.nii", COUNTED)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, 3.0], dtype="<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    assert np.allclose(read_nifti(path).array, COUNTED.transpose(2, 1, 0) * 0.5 + 3.0)


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((7, 6), dtype=np.int16), TooFewSlices),
        (np.zeros((7, 6, 5, 3), dtype=np.int16), MultipleVolumes),
        (np.where(COUNTED == 3, np.nan, COUNTED).astype(np.float32), UndecodablePixels),
        (np.full(SHAPE, 7, dtype=np.int16), NoSignal),
    ],
    ids=["a picture", "four dimensions", "no numbers", "one value"],
)
def test_what_is_no_volume_is_refused(
    tmp_path: Path, array: np.ndarray, error: type[Exception]
) -> None:
    with pytest.raises(error):
        read_nifti(write(tmp_path / "odd.nii", array))


def test_a_fourth_dimension_of_one_is_a_volume(tmp_path: Path) -> None:
    path = write(tmp_path / "one.nii", COUNTED[..., np.newaxis])
    assert read_nifti(path).array.shape == SHAPE[::-1]


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(NoGeometry):
        read_nifti(write(tmp_path / "sheared.nii", COUNTED, sheared))


def test_a_file_that_does_not_say_which_side_is_left_is_refused(tmp_path: Path) -> None:
    path = altered(write(tmp_path / "nowhere.nii", COUNTED), 252, bytes(4))  # qform, sform code
    with pytest.raises(NoGeometry, match="left"):
        read_nifti(path)


@pytest.mark.parametrize("mm", [200.0, 1e30])
def test_a_head_of_metres_is_refused(tmp_path: Path, mm: float) -> None:
    with pytest.raises(NoGeometry):
        read_nifti(write(tmp_path / "big.nii", COUNTED, np.diag([mm, mm, mm, 1.0])))


@pytest.mark.parametrize("kind", ["colour", "complex", "negative", "zero", "one slice"])
def test_what_holds_no_grey_volume_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.nii"
    if kind == "colour":
        colours = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        write(path, np.zeros(SHAPE, dtype=colours))
    elif kind == "complex":
        write(path, COUNTED.astype(np.complex64))
    elif kind == "one slice":
        write(path, COUNTED[:, :, :1])
    else:
        size = -5 if kind == "negative" else 0
        altered(write(path, COUNTED), 42, np.array([size], dtype="<i2").tobytes())
    with pytest.raises((UndecodablePixels, TooFewSlices)):
        read_nifti(path)


def test_a_volume_that_would_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "huge.nii", np.zeros(SHAPE, dtype=np.int16))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([1024, 1024, 512], dtype="<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(VolumeTooLarge):
        read_nifti(path)


@pytest.mark.parametrize("content", [b"", b"no NIfTI at all" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(UndecodablePixels):
        read_nifti(tmp_path / "x.nii")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    volume = Volume(
        array=np.ones((2, 2, 2), dtype=np.uint8),
        grid=from_nifti(np.ones((2, 2, 2)), np.eye(4)).grid,
    )
    with pytest.raises(SpoolUnwritable):
        write_nifti(volume, tmp_path / "absent" / "labels.nii.gz")
