"""Views know where their pictures lie, whatever the volume's axes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.results.views import Plane, is_thick, make_view, overlay_view
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted

AXES = [AXIAL, SAGITTAL, CORONAL]


@given(
    axes=st.sampled_from(AXES),
    degrees=st.floats(0, 44),
    plane=st.sampled_from([Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL]),
    thickness=st.floats(0, 6),
)
def test_a_linear_field_is_seen_with_its_value_at_every_pixel(
    axes: tuple[tuple[float, float, float], ...], degrees: float, plane: Plane, thickness: float
) -> None:
    grid = a_grid((9, 11, 10), axes=tilted(axes, degrees), spacing_mm=(1.7, 1.0, 1.2))
    gradient = np.array([1.0, 2.0, -3.0])
    places = grid.positions_mm(np.argwhere(np.ones(grid.shape)))
    field = (places @ gradient).reshape(grid.shape)
    view = make_view(grid, plane, thickness_mm=thickness, pixel_mm=0.5)
    count, rows, columns = view.grid.shape
    number, row, column = count // 2, rows // 2, columns // 2
    wanted = view.grid.positions_mm(np.array([[number, row, column]]))[0] @ gradient
    slab = view.thickness_mm
    assert view.grey(field, number)[row, column] == pytest.approx(wanted, abs=1e-3 + 3 * slab / 8)


@given(axes=st.sampled_from(AXES), degrees=st.floats(0, 44))
def test_an_axial_view_runs_to_the_head_to_the_back_and_to_the_left(
    axes: tuple[tuple[float, float, float], ...], degrees: float
) -> None:
    grid = a_grid((5, 6, 7), axes=tilted(axes, degrees))
    directions = make_view(grid, Plane.AXIAL, thickness_mm=3, pixel_mm=0.5).grid.directions
    head, back, left = directions[2, 0], directions[1, 1], directions[0, 2]
    assert min(head, back, left) > 0.5
    assert np.linalg.det(directions) == pytest.approx(np.linalg.det(grid.directions), abs=2.1)


@given(
    axes=st.sampled_from(AXES),
    thickness=st.floats(0.5, 7),
    place=st.tuples(st.integers(0, 6), st.integers(0, 8), st.integers(0, 7)),
    pixel=st.floats(0.1, 1.0),
)
def test_a_single_voxel_is_never_lost(
    axes: tuple[tuple[float, float, float], ...],
    thickness: float,
    place: tuple[int, int, int],
    pixel: float,
) -> None:
    grid = a_grid((7, 9, 8), axes=axes, spacing_mm=(1.3, 1.0, 1.1))
    inside = np.zeros(grid.shape, dtype=bool)
    inside[place] = True
    view = make_view(grid, Plane.AXIAL, thickness_mm=thickness, pixel_mm=pixel)
    shown = [view.mask(inside, number).any() for number in range(view.grid.shape[0])]
    assert sum(shown) == 1
    assert list(view.counts(inside) > 0) == shown


@pytest.mark.parametrize(
    ("spacing", "thick"),
    [((5.0, 0.5, 0.5), True), ((1.0, 1.0, 1.0), False), ((3.0, 3.0, 3.0), False)],
)
def test_thick_means_two_dimensional(spacing: tuple[float, float, float], thick: bool) -> None:
    assert is_thick(a_grid((5, 6, 7), spacing_mm=spacing), 3.0) is thick


def test_pictures_are_enlarged_by_a_whole_factor_and_keep_their_place() -> None:
    grid = a_grid((20, 200, 180), spacing_mm=(5.0, 1.0, 1.0))
    view = overlay_view(grid, thickness_mm=3.0, min_pixels=320)
    assert view.grid.shape == (20, 400, 360)
    wanted = grid.positions_mm(np.array([[3, -0.5, -0.5]]))
    np.testing.assert_allclose(view.grid.positions_mm(np.array([[3, -0.5, -0.5]])), wanted)


def test_spacing_that_differs_in_the_last_digit_adds_no_row() -> None:
    grid = a_grid((20, 256, 256), spacing_mm=(1.0, 0.99999, 1.0))
    assert overlay_view(grid, thickness_mm=3.0, min_pixels=256).grid.shape[1:] == (256, 256)
