"""Head space: LPS millimetres with the origin of the ICBM152 template, and its grids."""

from typing import Final

import numpy as np

from node.imaging.volume import Array
from node.phantom.fields import axis_grid

Point = tuple[float, float, float]
Window = tuple[slice, slice, slice]

LOWER_MM: Final[Point] = (-100.0, -124.0, -164.0)
UPPER_MM: Final[Point] = (100.0, 130.0, 106.0)
"""Corners of the space in which tissue is painted."""

HEAD_GRID: Final = axis_grid(LOWER_MM, UPPER_MM, 1.0)
COARSE_GRID: Final = axis_grid(LOWER_MM, UPPER_MM, 2.0)
BRAIN_GRID: Final = axis_grid((-84.0, -88.0, -80.0), (84.0, 120.0, 94.0), 1.0)
"""Part of HEAD_GRID in which the brain and its tumour lie."""


def window_between(low: Point, high: Point) -> Window:
    """Part of HEAD_GRID that holds the voxels between two corners, cut to the grid."""
    parts = [
        slice(
            min(max(0, int(np.floor(a - start))), size),
            min(max(0, int(np.ceil(b - start)) + 1), size),
        )
        for a, b, start, size in zip(low, high, LOWER_MM, HEAD_GRID.shape[::-1], strict=True)
    ]
    return (parts[2], parts[1], parts[0])


BRAIN_WINDOW: Final[Window] = window_between((-84.0, -88.0, -80.0), (84.0, 120.0, 94.0))


def in_head(array: Array) -> Array:
    """Values on BRAIN_GRID put into HEAD_GRID, zero elsewhere."""
    whole = np.zeros(HEAD_GRID.shape, dtype=array.dtype)
    whole[BRAIN_WINDOW] = array
    return whole
