import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from node.imaging.bridges import (
    from_nifti,
    from_sitk,
    from_sitk_transform,
    lps_affine,
    ras_affine,
    to_sitk,
    to_sitk_transform,
)
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import grids, moved


def numbered(grid: Grid) -> Volume:
    return Volume(array=np.arange(np.prod(grid.shape)).reshape(grid.shape), grid=grid)


@given(grids())
def test_a_volume_comes_back_from_simpleitk_as_it_was(grid: Grid) -> None:
    volume = numbered(grid)
    back = from_sitk(to_sitk(volume), frame_of_reference_uid=grid.frame_of_reference_uid)
    assert back.grid.matches(grid)
    assert back.grid.frame_of_reference_uid == grid.frame_of_reference_uid
    assert np.array_equal(back.array, volume.array)


@given(grids())
def test_simpleitk_sees_each_voxel_at_the_same_place(grid: Grid) -> None:
    image = to_sitk(numbered(grid))
    last = tuple(n - 1 for n in grid.shape)
    place = image.TransformIndexToPhysicalPoint([int(i) for i in last[::-1]])
    assert np.allclose(place, grid.positions_mm(np.array(last)), atol=1e-6)


def test_a_voxel_on_the_left_is_on_the_left_in_simpleitk() -> None:
    grid = a_grid((3, 3, 5), centre_mm=(0.0, 0.0, 0.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[1, 1, 4] = 1
    image = to_sitk(Volume(array=array, grid=grid))
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(image)
    assert statistics.GetCentroid(1)[0] == 2.0


def test_bool_becomes_uint8() -> None:
    grid = a_grid((2, 2, 2))
    image = to_sitk(Volume(array=np.ones(grid.shape, dtype=bool), grid=grid))
    assert image.GetPixelID() == sitk.sitkUInt8


@given(st.tuples(*[st.floats(-80, 80)] * 3), st.tuples(*[st.floats(-50, 50)] * 3))
def test_a_movement_comes_back_from_simpleitk(
    degrees: tuple[float, float, float], millimetres: tuple[float, float, float]
) -> None:
    matrix = moved(degrees, millimetres)
    assert np.allclose(from_sitk_transform(to_sitk_transform(matrix)), matrix, atol=1e-9)


@given(grids())
def test_ras_and_lps_undo_each_other(grid: Grid) -> None:
    assert np.allclose(lps_affine(ras_affine(grid)), grid.affine)


def test_a_nifti_array_keeps_left_on_the_left() -> None:
    array = np.zeros((5, 3, 3))
    array[0, 1, 1] = 1  # with a RAS affine, i = 0 is the patient's left
    ras = np.diag([2.0, 2.0, 2.0, 1.0])
    ras[0, 3] = -4.0
    volume = from_nifti(array, ras)
    assert volume.array.shape == (3, 3, 5)
    place = volume.grid.positions_mm(np.argwhere(volume.array))[0]
    assert place.tolist() == [4.0, -2.0, 2.0]
