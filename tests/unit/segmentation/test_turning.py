"""Arrays in the axes of a network's training."""

import itertools

import numpy as np
import pytest

from node.segmentation.turning import Turn

ALL_AXES = [
    "".join(letters)
    for order in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*order)
]


@pytest.mark.parametrize("axes", ALL_AXES)
def test_what_is_turned_and_turned_back_is_as_it_was(axes: str) -> None:
    image = np.arange(24).reshape(2, 3, 4)
    turn = Turn.to(axes)
    there = turn.there(image[None])[0]
    assert np.array_equal(turn.back(there), image)
    assert np.array_equal(turn.spacing((2.0, 3.0, 4.0)), there.shape)


def test_our_own_axes_are_left_alone() -> None:
    image = np.arange(24).reshape(1, 2, 3, 4)
    assert np.array_equal(Turn.to("SPL").there(image), image)


def test_the_axes_of_a_nifti_file_of_brats_begin_at_the_patients_right() -> None:
    image = np.zeros((1, 5, 6, 7))
    image[0, 4, 0, 1] = 1  # top slice, foremost row, second column from the right
    assert np.argwhere(Turn.to("LPS").there(image)[0]).tolist() == [[1, 0, 4]]
    assert np.argwhere(Turn.to("RAS").there(image)[0]).tolist() == [[5, 5, 4]]
