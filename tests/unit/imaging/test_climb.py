import numpy as np
import pytest

from node.imaging.climb import BINS, Comparison, climb
from node.imaging.pyramid import Pyramid
from node.imaging.scene import compare
from node.imaging.volume import Affine
from tests.unit.imaging.cases import a_head, error_mm, moved

HEAD = Pyramid.of(a_head("T1"))
OTHER = Pyramid.of(a_head("FLAIR"))
COMPARISON = compare(HEAD, OTHER, 1, 20_000)
SMALL = 1e-3


def nudged(axis: int, mm: float, start: Affine) -> Affine:
    """Turn about (axis 0 to 2) or shift along (3 to 5) an axis, as the slope counts them."""
    pivot = COMPARISON.pivot_mm(start)
    amounts = np.zeros(6)
    amounts[axis] = mm
    degrees = np.rad2deg(amounts[:3] / 60.0)
    nudge = moved(
        (degrees[0], degrees[1], degrees[2]),
        (amounts[3], amounts[4], amounts[5]),
        (pivot[0], pivot[1], pivot[2]),
    )
    matrix: Affine = nudge @ start
    return matrix


@pytest.mark.parametrize("axis", range(6))
def test_the_slope_is_the_derivative_of_the_similarity(axis: int) -> None:
    start = moved((4.0, -3.0, 2.0), (3.0, -2.0, 1.0))
    higher, lower = (
        COMPARISON.slope(nudged(axis, sign * SMALL, start)).similarity for sign in (1, -1)
    )
    slope = COMPARISON.slope(start).uphill
    expected = (higher - lower) / (2 * SMALL)
    assert slope[axis] == pytest.approx(expected, abs=0.02 * float(np.abs(slope).max()))


def test_a_climb_ends_where_the_series_fit() -> None:
    start = moved((3.0, -4.0, 2.0), (4.0, 3.0, -4.0))
    found = climb(COMPARISON, start, first_step_mm=1.5, last_step_mm=0.01)
    assert error_mm(found, np.eye(4)) < 0.2
    assert COMPARISON.slope(found).similarity > COMPARISON.slope(start).similarity


def test_a_climb_keeps_a_mirror_image_a_mirror_image() -> None:
    start = np.diag([-1.0, 1.0, 1.0, 1.0])
    start[0, 3] = 8.0
    found = climb(COMPARISON, start, first_step_mm=1.5, last_step_mm=0.05)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(-1.0)


def test_where_nothing_is_seen_there_is_no_slope_and_no_step() -> None:
    away = moved((0.0, 0.0, 0.0), (900.0, 0.0, 0.0))
    assert COMPARISON.slope(away).similarity == 0.0
    assert np.array_equal(climb(COMPARISON, away, first_step_mm=1.0, last_step_mm=0.1), away)


def test_a_constant_series_has_no_slope() -> None:
    flat = OTHER.levels[1].with_array(np.full(OTHER.levels[1].grid.shape, 7.0, dtype=np.float32))
    points = COMPARISON.points_mm.T
    found = Comparison.of(points, np.arange(len(points)), flat).slope(np.eye(4))
    assert found.similarity == pytest.approx(0.0, abs=1e-6)
    assert np.abs(found.uphill).max() == pytest.approx(0.0, abs=1e-6)


def test_grey_levels_stay_in_the_histogram() -> None:
    assert COMPARISON.classes.min() == 0
    assert COMPARISON.classes.max() == BINS - 1
