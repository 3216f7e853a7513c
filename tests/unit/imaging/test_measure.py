import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.domain.regions import Region
from node.imaging.measure import dice, labels_to_region, region_volumes
from node.imaging.volume import Volume
from tests.support.mr_series import a_grid

GRID = a_grid((3, 4, 5), spacing_mm=(5.0, 0.5, 2.0))


def test_regions_are_counted_as_a_hand_counts_them() -> None:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[0, 0, :4] = 2  # 4 oedema
    array[1, 0, :3] = 1  # 3 necrosis
    array[2, 0, :2] = 3  # 2 enhancing
    found = {v.region: v for v in region_volumes(Volume(array=array, grid=GRID))}
    assert {r: v.voxels for r, v in found.items()} == {Region.WT: 9, Region.TC: 5, Region.ET: 2}
    assert found[Region.WT].millilitres == pytest.approx(9 * 5.0 / 1000)


@given(arrays(np.uint8, GRID.shape, elements=st.integers(0, 3)))
def test_the_regions_are_nested(array: np.ndarray) -> None:
    labels = Volume(array=array, grid=GRID)
    whole, core, enhancing = (labels_to_region(labels, region) for region in Region)
    assert np.all(whole >= core)
    assert np.all(core >= enhancing)


def test_dice_of_two_empty_masks_is_1_and_of_one_empty_mask_0() -> None:
    nothing, something = np.zeros(5, dtype=bool), np.array([0, 1, 0, 0, 1], dtype=bool)
    assert dice(nothing, nothing) == 1.0
    assert dice(nothing, something) == 0.0
    assert dice(something, something) == 1.0


def test_dice_is_twice_the_common_part_over_the_sum() -> None:
    assert dice(np.array([1, 1, 1, 0]), np.array([0, 1, 1, 0])) == pytest.approx(0.8)


@given(arrays(bool, 20), arrays(bool, 20))
def test_dice_is_symmetric_and_between_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == dice(b, a)
    assert 0.0 <= dice(a, b) <= 1.0
