"""Clean-up of masks and labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from node.imaging.volume import Array, Volume
from node.segmentation import postprocess
from node.segmentation.postprocess import Mask
from node.segmentation.postprocess_options import Postprocessing
from tests.support.mr_series import a_grid

masks = arrays(np.bool_, st.tuples(*(st.integers(1, 7),) * 3))


@st.composite
def solid_labels(draw: st.DrawFn) -> Array:
    """Draw a few boxes of labels over each other, so that regions hold and enclose each other."""
    array = np.zeros((9, 9, 9), dtype=np.uint8)
    for label in draw(st.lists(st.integers(0, 3), min_size=1, max_size=9)):
        corners = [sorted(draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))) for _ in range(3)]
        array[tuple(slice(low, high) for low, high in corners)] = label
    return array


def solid_masks() -> st.SearchStrategy[Mask]:
    return solid_labels().map(lambda array: array > 1)


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


@given(masks | solid_masks())
def test_work_inside_the_box_of_a_mask_changes_nothing(mask: Mask) -> None:
    filled = ndimage.binary_fill_holes(mask)
    closed = ndimage.binary_closing(mask, postprocess.NEIGHBOURS_18)
    opened = ndimage.binary_opening(mask, postprocess.NEIGHBOURS_18)
    assert np.array_equal(postprocess.fill_holes(mask), filled)
    assert np.array_equal(postprocess.close(mask), closed)
    assert np.array_equal(postprocess.open_by_one(mask), opened)


@settings(deadline=None)
@given(arrays(np.bool_, st.just((3, 3, 3, 3))))
def test_labels_are_always_nested(regions: Mask) -> None:
    whole, core, enhancing = regions
    labels = postprocess.nested_labels(whole, core, enhancing)
    assert np.array_equal(labels > 0, whole)
    assert np.array_equal(np.isin(labels, (1, 3)), whole & core)
    assert np.array_equal(labels == 3, whole & core & enhancing)


REGIONS = ((1, 2, 3), (1, 3), (3,))
NEUTRAL = Postprocessing()

label_arrays = arrays(np.uint8, st.tuples(*(st.integers(1, 7),) * 3), elements=st.integers(0, 3))
"""Noise: as many holes, islands and touching corners as seven voxels can hold."""

wishes = st.builds(
    Postprocessing,
    fill_holes_mm3=st.sampled_from((0.0, 1.5, 3.0, 20.0)),
    smallest_mm3=st.sampled_from((0.0, 2.0, 5.0, 30.0)),
    component_share=st.sampled_from((0.0, 0.1, 0.5, 0.9)),
)


def cleaned(array: Array, options: Postprocessing, *, voxel_mm: float = 1.0) -> Array:
    grid = a_grid(array.shape, spacing_mm=(voxel_mm, 1.0, 1.0))
    return postprocess.clean(Volume(array=array, grid=grid), options).array


def a_ball_of(label: int, *, inside: int | None = None) -> Array:
    """Return a cube of 5 of a label in one of 9 of oedema, or of another label."""
    array = np.zeros((15, 15, 15), dtype=np.uint8)
    array[3:12, 3:12, 3:12] = postprocess.ED if inside is None else inside
    array[5:10, 5:10, 5:10] = label
    return array


@given(label_arrays | solid_labels())
def test_a_bundle_that_wants_no_cleaning_gets_its_labels_as_they_are(array: Array) -> None:
    assert np.array_equal(cleaned(array, NEUTRAL), array)


@settings(max_examples=200)
@given(label_arrays | solid_labels(), wishes)
def test_cleaning_twice_is_cleaning_once(array: Array, options: Postprocessing) -> None:
    once = cleaned(array, options)
    assert np.array_equal(cleaned(once, options), once)


@settings(max_examples=200)
@given(label_arrays | solid_labels(), wishes)
def test_a_region_never_grows_beyond_its_holes(array: Array, options: Postprocessing) -> None:
    found = cleaned(array, options)
    for labels in REGIONS:
        before, after = np.isin(array, labels), np.isin(found, labels)
        assert not np.any(after & ~ndimage.binary_fill_holes(before))


@settings(max_examples=200)
@given(label_arrays | solid_labels(), wishes, st.integers(0, 2))
def test_a_mirrored_patient_gets_the_mirrored_result(
    array: Array, options: Postprocessing, axis: int
) -> None:
    mirrored = cleaned(np.flip(array, axis), options)
    assert np.array_equal(np.flip(mirrored, axis), cleaned(array, options))


@settings(max_examples=200)
@given(label_arrays | solid_labels(), wishes)
def test_what_stays_is_large_enough(array: Array, options: Postprocessing) -> None:
    found = cleaned(array, options)
    for labels in REGIONS:
        left = sizes(np.isin(found, labels))
        if left:
            assert left[0] >= max(options.smallest_mm3, options.component_share * left[-1])


@pytest.mark.parametrize("label", [postprocess.NCR, postprocess.ED, postprocess.ET])
def test_a_small_hole_gets_the_label_of_the_innermost_region_around_it(label: int) -> None:
    array = a_ball_of(label)
    whole = array.copy()
    array[7, 7, 7:9] = 0
    options = Postprocessing(fill_holes_mm3=3.0)
    assert np.array_equal(cleaned(array, options), whole)


def test_a_hole_between_necrosis_and_enhancing_tumour_becomes_necrosis() -> None:
    array = a_ball_of(postprocess.ET)
    array[5:10, 5:10, 7:10] = postprocess.NCR
    array[7, 7, 6] = 0
    found = cleaned(array, Postprocessing(fill_holes_mm3=3.0))
    assert found[7, 7, 6] == postprocess.NCR


def test_a_hole_of_3_mm3_is_not_smaller_than_3_mm3() -> None:
    array = a_ball_of(postprocess.NCR)
    array[7, 7, 6:9] = 0
    assert np.array_equal(cleaned(array, Postprocessing(fill_holes_mm3=3.0)), array)
    assert np.any(cleaned(array, Postprocessing(fill_holes_mm3=3.0), voxel_mm=0.9) != array)


def test_a_dent_at_the_edge_of_the_image_is_no_hole() -> None:
    array = np.full((4, 4, 4), postprocess.ED, dtype=np.uint8)
    array[0, 1, 1] = 0
    assert np.array_equal(cleaned(array, Postprocessing(fill_holes_mm3=3.0)), array)


def test_what_is_dropped_falls_to_the_next_larger_region() -> None:
    array = a_ball_of(postprocess.NCR)
    array[7, 7, 7] = postprocess.ET
    array[3, 3, 3] = postprocess.NCR
    array[0, 0, 0] = postprocess.ET
    found = cleaned(array, Postprocessing(smallest_mm3=2.0))
    assert found[7, 7, 7] == postprocess.NCR
    assert found[3, 3, 3] == postprocess.ED
    assert found[0, 0, 0] == 0


def test_a_second_tumour_of_a_tenth_of_the_first_stays() -> None:
    array = blocks(10, 4, 5).astype(np.uint8) * postprocess.ED
    found = cleaned(array, Postprocessing(component_share=0.1))
    assert sizes(found > 0) == [125, 1000]
    assert sizes(cleaned(array, Postprocessing(component_share=0.125)) > 0) == [125, 1000]
    assert sizes(cleaned(array, Postprocessing(component_share=0.126)) > 0) == [1000]


def test_a_core_is_measured_against_the_cores_of_the_tumours_that_stayed() -> None:
    array = np.zeros((20, 20, 40), dtype=np.uint8)
    array[2:18, 2:18, 2:18] = postprocess.ED
    array[4, 4, 4] = postprocess.NCR  # small, but the only core in a tumour that stays
    array[10:14, 10:14, 30:34] = postprocess.NCR
    found = cleaned(array, Postprocessing(component_share=0.1))
    assert np.argwhere(found == postprocess.NCR).tolist() == [[4, 4, 4]]
