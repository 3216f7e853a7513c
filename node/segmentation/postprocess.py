"""Clean-up of masks and labels that the engines share. All arrays are (slice, row, column).

Neighbours are the 18 voxels that share a face or an edge, as in the sources of the methods.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Box = tuple[slice, slice, slice]

NEIGHBOURS_18: Final = ndimage.generate_binary_structure(3, 2)
"""Faces and edges, not corners."""

NCR: Final = 1
ED: Final = 2
ET: Final = 3


def close(mask: Mask) -> Mask:
    """Return the morphological closing by one voxel."""
    closed: Mask = ndimage.binary_closing(mask, NEIGHBOURS_18)
    return closed


def open_by_one(mask: Mask) -> Mask:
    """Return the morphological opening by one voxel: bridges and specks go."""
    opened: Mask = ndimage.binary_opening(mask, NEIGHBOURS_18)
    return opened


def fill_holes(mask: Mask) -> Mask:
    """Return mask with every cavity filled that it encloses in three dimensions."""
    filled: Mask = ndimage.binary_fill_holes(mask)
    return filled


def components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return (numbers, sizes): components from 1, and the voxels of number i + 1 as sizes[i]."""
    numbers, count = ndimage.label(mask, NEIGHBOURS_18)
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:]


def keep_numbers(numbers: NDArray[np.int32], wanted: NDArray[np.bool_]) -> Mask:
    """Return where the component's number i + 1 has wanted[i]."""
    kept: Mask = np.concatenate([[False], wanted])[numbers]
    return kept


def keep_larger_than(mask: Mask, voxels: int) -> Mask:
    """Keep components of more than voxels; when none is, the largest one stays."""
    numbers, sizes = components(mask)
    if sizes.size == 0:
        return mask
    return keep_numbers(numbers, sizes > min(voxels, sizes.max() - 1))


def keep_above_share(mask: Mask, share: float, *, at_most: int | None = None) -> Mask:
    """Keep components of more than share of the largest one; of those the at_most largest."""
    numbers, sizes = components(mask)
    if sizes.size == 0:
        return mask
    wanted = (sizes > share * sizes.max()) | (sizes == sizes.max())
    if at_most is not None:
        beyond = np.argsort(-sizes, kind="stable")[at_most:]
        wanted[beyond] = False
    return keep_numbers(numbers, wanted)


def bounding_box(mask: Mask, margin: int = 0) -> Box:
    """Return the box of mask, margin voxels wider, cut at the array; all of it if empty."""
    slices = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if found.size == 0:
            return (slice(0, mask.shape[0]), slice(0, mask.shape[1]), slice(0, mask.shape[2]))
        stop = min(int(found[-1]) + 1 + margin, mask.shape[axis])
        slices.append(slice(max(int(found[0]) - margin, 0), stop))
    return (slices[0], slices[1], slices[2])


def nested_labels(whole: Mask, core: Mask, enhancing: Mask) -> Labels:
    """Turn regions into labels: core counts only inside whole, enhancing only inside core."""
    core = core & whole
    labels = np.zeros(whole.shape, dtype=np.uint8)
    labels[whole] = ED
    labels[core] = NCR
    labels[core & enhancing] = ET
    return labels
