"""How large each region is in the eyes of single views, folds or mirrored inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.domain.regions import Region
from node.imaging.measure import REGION_LABELS


def count_labels(labels: NDArray[Any], scale: float = 1.0) -> dict[int, float]:
    """Return how many voxels each label has, times scale."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): float(n) * scale for v, n in zip(values, counts, strict=True)}


def gather(
    views: Sequence[Mapping[int, float]], meaning: Mapping[int, int]
) -> dict[Region, tuple[float, ...]]:
    """Return the voxels of each region, view by view; nothing if there is but one view.

    views: voxels of each of the engine's labels. meaning: from those to Segnode's labels.
    """
    if len(views) < 2:
        return {}
    return {
        region: tuple(
            sum(voxels for label, voxels in view.items() if meaning.get(label) in parts)
            for view in views
        )
        for region, parts in REGION_LABELS.items()
    }
