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
