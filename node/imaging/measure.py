"""Volumes and overlap, counted in voxels of the grid that the labels lie on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.domain.regions import Region, RegionVolume
from node.imaging.volume import Array, Volume

REGION_LABELS: Final = {
    Region.WT: (1, 2, 3),
    Region.TC: (1, 3),
    Region.ET: (3,),
}
"""Labels of Segnode (1 NCR, 2 ED, 3 ET) that make up each region."""

Mask = NDArray[np.bool_]


def labels_to_region(labels: Volume, region: Region) -> Mask:
    """Return where a region is, bool, of the shape of the labels."""
    found: Mask = np.isin(labels.array, REGION_LABELS[region])
    return found


def region_volumes(labels: Volume) -> tuple[RegionVolume, ...]:
    """Count WT, TC and ET."""
    return tuple(
        RegionVolume(
            region=region,
            voxels=int(np.count_nonzero(labels_to_region(labels, region))),
            voxel_mm3=labels.grid.voxel_mm3,
        )
        for region in Region
    )


def dice(first: Array, second: Array) -> float:
    """Return 2|A∩B| / (|A|+|B|) of two masks; 1.0 when both are empty (Dice 1945)."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    if total == 0:
        return 1.0
    return 2.0 * int(np.count_nonzero(np.logical_and(first, second))) / total
