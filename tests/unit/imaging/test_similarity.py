import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import RegistrationFailed
from node.imaging.bridges import to_sitk
from node.imaging.similarity import (
    head_mask,
    mutual_information,
    points_in,
    values_at,
    with_even_range,
)
from node.imaging.volume import Volume
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import a_head

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.random(40_000)


def test_values_that_follow_each_other_share_much_information() -> None:
    assert mutual_information(VALUES, np.cos(6 * VALUES)) > 1.5


def test_values_that_ignore_each_other_share_none() -> None:
    assert mutual_information(VALUES, RANDOM.random(40_000)) < 0.05


def test_a_constant_or_nothing_shares_no_information() -> None:
    assert mutual_information(VALUES, np.ones(40_000)) == pytest.approx(0.0)
    assert mutual_information(np.array([]), np.array([])) == 0.0


@given(st.floats(0.01, 100), st.floats(-1000, 1000))
def test_scaling_the_values_changes_no_information(slope: float, intercept: float) -> None:
    other = np.cos(6 * VALUES)
    plain = mutual_information(VALUES, other)
    assert mutual_information(VALUES * slope + intercept, other) == pytest.approx(plain, rel=0.02)


def test_a_few_bright_voxels_do_not_set_the_range() -> None:
    grid = a_grid((10, 30, 30))
    array = RANDOM.integers(0, 100, grid.shape).astype(np.int16)
    array[0, 0, :5] = 30000
    assert with_even_range(Volume(array=array, grid=grid)).array.max() < 120


def test_points_lie_in_the_head_and_its_margin() -> None:
    head = a_head("T1")
    points = points_in(head_mask(to_sitk(head)), 2000, seed=1)
    values, inside = values_at(head, points)
    assert inside.all()
    assert np.count_nonzero(values > 10) > 1500
    assert np.array_equal(points, points_in(head_mask(to_sitk(head)), 2000, seed=1))


def test_no_head_gives_no_points() -> None:
    grid = a_grid((5, 5, 5))
    with pytest.raises(RegistrationFailed):
        points_in(to_sitk(Volume(array=np.zeros(grid.shape, np.uint8), grid=grid)), 10, seed=1)
