import numpy as np
import pytest
from hypothesis import given

from node.domain.errors import BundleInvalid
from node.imaging.grids import (
    LPS_AXES,
    box_around,
    box_seen,
    cut,
    divided,
    merged,
    model_grid,
    turn,
)
from node.imaging.volume import Grid
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import grids

ONE = (1.0, 1.0, 1.0)
RAS_AXES = np.diag([-1.0, -1.0, 1.0])


def places(grid: Grid) -> set[tuple[float, ...]]:
    indices = np.indices(grid.shape).reshape(3, -1).T
    return {tuple(np.round(place, 3) + 0.0) for place in grid.positions_mm(indices)}


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL, tuple(RAS_AXES.tolist())])
def test_a_reference_along_the_axes_keeps_its_voxel_centres(
    axes: tuple[tuple[float, float, float], ...],
) -> None:
    reference = a_grid((4, 5, 6), axes=axes)
    grid = model_grid(reference, ONE)
    assert np.allclose(grid.directions, LPS_AXES)
    assert places(grid) == places(reference)


def test_a_tilt_of_half_a_degree_still_counts_as_along_the_axes() -> None:
    reference = a_grid((20, 20, 20), axes=tuple(tilted(SAGITTAL, 0.5)))
    assert places(model_grid(reference, ONE)) == places(reference)


@given(grids())
def test_the_model_sees_the_whole_field_of_view(reference: Grid) -> None:
    grid = model_grid(reference, (1.0, 1.5, 2.0))
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in reference.shape), indexing="ij"))
    positions = reference.positions_mm(corners.reshape(3, -1).T)
    indices = grid.indices_of(positions)
    assert np.all(indices > -0.51)
    assert np.all(indices < np.array(grid.shape) - 0.49)
    assert grid.frame_of_reference_uid == reference.frame_of_reference_uid


@given(grids())
def test_the_model_s_axes_run_to_superior_posterior_and_left(reference: Grid) -> None:
    grid = model_grid(reference, (1.0, 1.0, 1.0))
    assert np.allclose(np.diag(LPS_AXES.T @ grid.directions), 1.0, atol=3e-4)


def test_thick_slices_are_divided_evenly() -> None:
    reference = a_grid((10, 40, 40), spacing_mm=(5.0, 1.0, 1.0))
    grid = model_grid(reference, ONE)
    assert grid.shape == (50, 40, 40)
    assert grid.indices_of(reference.positions_mm(np.array([3, 7, 9]))) == pytest.approx([17, 7, 9])


def test_an_unknown_orientation_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="RAS"):
        model_grid(a_grid((4, 4, 4)), ONE, "RAS")


@given(grids())
def test_turning_only_names_voxels_anew(grid: Grid) -> None:
    turned = turn(grid, RAS_AXES)
    assert sorted(turned.shape) == sorted(grid.shape)
    assert np.diag(RAS_AXES.T @ turned.directions).min() > -0.6
    back = turn(turned, grid.directions)
    assert back.matches(grid)


def test_a_cut_keeps_the_place_of_its_voxels() -> None:
    grid = a_grid((6, 7, 8), axes=CORONAL)
    part = cut(grid, (slice(2, 4), slice(0, 7), slice(5, 8)))
    assert part.shape == (2, 7, 3)
    assert np.allclose(
        part.positions_mm(np.array([1, 3, 2])), grid.positions_mm(np.array([3, 3, 7]))
    )


def test_the_parts_of_a_voxel_lie_evenly_inside_it() -> None:
    grid = a_grid((2, 3, 3), spacing_mm=(5.0, 1.0, 1.0))
    fine = divided(grid, (5, 1, 2))
    heights = fine.positions_mm(np.array([[i, 0, 0] for i in range(5)]))[:, 2]
    assert heights - grid.origin_mm[2] == pytest.approx([-2, -1, 0, 1, 2])
    assert fine.shape == (10, 3, 6)
    assert fine.voxel_mm3 == pytest.approx(grid.voxel_mm3 / 10)


def test_joining_undoes_dividing() -> None:
    grid = a_grid((2, 3, 4), axes=CORONAL, spacing_mm=(5.0, 1.0, 1.0))
    assert merged(divided(grid, (5, 1, 2)), (5, 1, 2)).matches(grid)
    assert merged(a_grid((5, 4, 4)), (2, 2, 2)).shape == (3, 2, 2)


def test_the_box_around_a_mask_is_cut_at_the_array() -> None:
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[1, 3, 2:5] = True
    assert box_around(mask) == (slice(1, 2), slice(3, 4), slice(2, 5))
    assert box_around(mask, (2, 1, 9)) == (slice(0, 4), slice(2, 5), slice(0, 8))
    assert box_around(np.zeros((2, 2, 2), dtype=bool)) is None


@given(grids(), grids())
def test_the_box_that_is_seen_holds_every_voxel_over_which_the_other_lies(
    grid: Grid, other: Grid
) -> None:
    positions = other.positions_mm(np.indices(other.shape).reshape(3, -1).T)
    indices = np.rint(grid.indices_of(positions[grid.holds(positions)]))
    box = box_seen(grid, other, np.eye(4), (1, 1, 1))
    if box is None:
        assert len(indices) == 0
    else:
        for axis, side in enumerate(box):
            assert np.all((indices[:, axis] >= side.start) & (indices[:, axis] < side.stop))
