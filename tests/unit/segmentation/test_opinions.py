"""Volumes as single views see them."""

import numpy as np

from node.domain.regions import Region
from node.segmentation.opinions import count_labels, gather

BRATS = {0: 0, 1: 1, 2: 2, 4: 3}


def test_each_view_gives_the_voxels_of_nested_regions() -> None:
    views: list[dict[int, float]] = [{0: 9, 1: 1, 2: 2, 4: 4}, {0: 12, 2: 8}]
    assert gather(views, BRATS) == {
        Region.WT: (7, 8),
        Region.TC: (5, 0),
        Region.ET: (4, 0),
    }


def test_one_view_is_no_opinion() -> None:
    assert gather([{0: 1, 1: 1}], BRATS) == {}
    assert gather([], BRATS) == {}


def test_labels_are_counted_to_scale() -> None:
    assert count_labels(np.array([[0, 4, 4], [1, 0, 0]]), 2.5) == {0: 7.5, 1: 2.5, 4: 5.0}
