"""Clean-up of masks and labels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.segmentation import postprocess
from node.segmentation.postprocess import Mask

masks = arrays(np.bool_, st.tuples(*(st.integers(1, 7),) * 3))


def blocks(*sides: int) -> Mask:
    """Return cubes of the given sides, apart from each other."""
    mask = np.zeros((20, 20, 20 * len(sides)), dtype=bool)
    for number, side in enumerate(sides):
        mask[2 : 2 + side, 2 : 2 + side, 20 * number + 2 : 20 * number + 2 + side] = True
    return mask


def sizes(mask: Mask) -> list[int]:
    return sorted(postprocess.components(mask)[1].tolist())


def test_voxels_that_share_an_edge_are_neighbours_and_those_that_share_a_corner_are_not() -> None:
    edge, corner = np.zeros((2, 3, 3), dtype=bool), np.zeros((2, 3, 3), dtype=bool)
    edge[0, 0, 0] = edge[1, 1, 0] = True
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert sizes(edge) == [2]
    assert sizes(corner) == [1, 1]


def test_components_above_the_limit_stay() -> None:
    assert sizes(postprocess.keep_larger_than(blocks(3, 5, 6), 100)) == [125, 216]


def test_the_largest_component_stays_when_none_is_above_the_limit() -> None:
    assert sizes(postprocess.keep_larger_than(blocks(3, 5, 4), 2000)) == [125]


def test_a_second_component_needs_more_than_a_tenth_of_the_first() -> None:
    assert sizes(postprocess.keep_above_share(blocks(10, 4, 5, 6), 0.1)) == [125, 216, 1000]
    assert sizes(postprocess.keep_above_share(blocks(10, 4, 5, 6), 0.1, at_most=2)) == [216, 1000]


def test_a_cavity_is_filled_and_a_dent_is_not() -> None:
    mask = blocks(6)
    mask[4, 4, 4] = mask[2, 4, 6] = False
    filled = postprocess.fill_holes(mask)
    assert filled[4, 4, 4]
    assert not filled[2, 4, 6]


def test_opening_cuts_a_thin_bridge() -> None:
    mask = blocks(5, 5)
    mask[4, 4, :24] = True
    assert len(sizes(mask)) == 1
    assert len(sizes(postprocess.open_by_one(mask))) == 2


def test_the_box_is_cut_at_the_array() -> None:
    box = postprocess.bounding_box(blocks(4), 3)
    assert box == (slice(0, 9), slice(0, 9), slice(0, 9))


def test_the_box_of_nothing_is_everything() -> None:
    empty = np.zeros((3, 4, 5), dtype=bool)
    assert postprocess.bounding_box(empty) == (slice(0, 3), slice(0, 4), slice(0, 5))


@settings(deadline=None)
@given(masks, st.integers(0, 4))
def test_the_box_holds_all_of_the_mask(mask: Mask, margin: int) -> None:
    box = postprocess.bounding_box(mask, margin)
    assert np.count_nonzero(mask[box]) == np.count_nonzero(mask)


@settings(deadline=None)
@given(masks)
def test_cleaning_never_adds_voxels_and_never_empties_a_mask(mask: Mask) -> None:
    for kept in (
        postprocess.keep_larger_than(mask, 5),
        postprocess.keep_above_share(mask, 0.1, at_most=2),
    ):
        assert not np.any(kept & ~mask)
        assert kept.any() == mask.any()


@settings(deadline=None)
@given(arrays(np.bool_, st.just((3, 3, 3, 3))))
def test_labels_are_always_nested(regions: Mask) -> None:
    whole, core, enhancing = regions
    labels = postprocess.nested_labels(whole, core, enhancing)
    assert np.array_equal(labels > 0, whole)
    assert np.array_equal(np.isin(labels, (1, 3)), whole & core)
    assert np.array_equal(labels == 3, whole & core & enhancing)
