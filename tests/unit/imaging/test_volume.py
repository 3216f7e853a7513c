import numpy as np
import pytest
from hypothesis import given

from node.imaging.volume import Grid, Volume
from tests.support.mr_series import SAGITTAL, a_grid
from tests.unit.imaging.cases import grids


@given(grids())
def test_positions_and_indices_undo_each_other(grid: Grid) -> None:
    indices = np.array([[0.0, 0.0, 0.0], [1.5, -2.0, 3.25], [7.0, 1.0, 0.5]])
    assert np.allclose(grid.indices_of(grid.positions_mm(indices)), indices, atol=1e-6)


@given(grids())
def test_a_turned_grid_stays_right_angled(grid: Grid) -> None:
    assert grid.is_right_angled()
    assert np.prod(grid.spacing_mm) == pytest.approx(grid.voxel_mm3)


def test_a_sheared_grid_is_not_right_angled() -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.01
    assert not Grid(shape=(2, 2, 2), affine=affine).is_right_angled()


def test_a_grid_holds_its_voxels_to_their_outer_faces() -> None:
    grid = a_grid((4, 5, 6), axes=SAGITTAL, spacing_mm=(2.0, 1.0, 1.0))
    edge = np.array([[-0.49, 0, 0], [3.49, 4.49, 5.49], [-0.51, 0, 0], [0, 0, 5.51]])
    assert grid.holds(grid.positions_mm(edge)).tolist() == [True, True, False, False]


def test_grids_match_only_with_the_same_shape_and_place() -> None:
    grid = a_grid((4, 5, 6))
    assert grid.matches(a_grid((4, 5, 6)))
    assert not grid.matches(a_grid((4, 5, 7)))
    assert not grid.matches(a_grid((4, 5, 6), centre_mm=(3.0, -12.0, 20.01)))


def test_an_affine_cannot_be_changed_behind_a_grid() -> None:
    with pytest.raises(ValueError, match="read-only"):
        a_grid((2, 2, 2)).affine[0, 0] = 5.0


def test_an_affine_or_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="affine"):
        Grid(shape=(2, 2, 2), affine=np.eye(3))
    with pytest.raises(ValueError, match="grid of"):
        Volume(array=np.zeros((2, 2, 3)), grid=a_grid((2, 2, 2)))
