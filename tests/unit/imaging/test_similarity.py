import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.imaging.similarity import head_mask, mutual_information, with_even_range
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


def test_the_mask_holds_the_head_and_its_margin() -> None:
    head = a_head("T1")
    mask = head_mask(head).array
    assert np.mean(mask[head.array > 100]) > 0.99
    assert 0.02 < np.mean(head.array[mask] == 0) < 0.35


def test_the_mask_leaves_out_what_lies_far_below_the_top() -> None:
    grid = a_grid((80, 20, 20), spacing_mm=(4.0, 8.0, 8.0))
    array = np.zeros(grid.shape, dtype=np.float32)
    array[:, 5:15, 5:15] = 100.0
    heights_mm = grid.positions_mm(np.argwhere(head_mask(Volume(array=array, grid=grid)).array))
    assert np.ptp(heights_mm[:, 2]) < 180.0


def test_one_value_shows_no_head() -> None:
    grid = a_grid((5, 5, 5))
    assert not head_mask(Volume(array=np.zeros(grid.shape, np.float32), grid=grid)).array.any()
