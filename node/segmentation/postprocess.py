"""Clean-up of masks and labels that the engines share. All arrays are (slice, row, column).

Neighbours are the 18 voxels that share a face or an edge, as in the sources of the methods;
what is around a mask hangs together by faces only, so that no path slips through its wall.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from node.imaging.volume import Volume
from node.segmentation.postprocess_options import Postprocessing

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Box = tuple[slice, slice, slice]
Sizes = NDArray[np.int64]

NEIGHBOURS_18: Final = ndimage.generate_binary_structure(3, 2)
"""Faces and edges, not corners."""

SAME_VOLUME: Final = 1e-6
"""Relative difference of two volumes that counts as none, so that 3 voxels are 3 mm³."""

NCR: Final = 1
ED: Final = 2
ET: Final = 3


def close(mask: Mask) -> Mask:
    """Return the morphological closing by one voxel."""
    box = bounding_box(mask, 2)
    closed = np.zeros_like(mask)
    closed[box] = ndimage.binary_closing(mask[box], NEIGHBOURS_18)
    return closed


def open_by_one(mask: Mask) -> Mask:
    """Return the morphological opening by one voxel: bridges and specks go."""
    box = bounding_box(mask, 1)
    opened = np.zeros_like(mask)
    opened[box] = ndimage.binary_opening(mask[box], NEIGHBOURS_18)
    return opened


def fill_holes(mask: Mask, *, below: float = math.inf) -> Mask:
    """Return mask with the cavities filled that it encloses in three dimensions.

    below: only cavities of less than so many voxels. What opens to a face of the array is none.
    """
    box = bounding_box(mask)
    numbers, _ = ndimage.label(~mask[box])
    filled = np.bincount(numbers.ravel()) < below * (1.0 - SAME_VOLUME)
    filled[0] = True  # the mask itself
    for axis in range(3):
        ends = numbers.take([0, -1], axis=axis)
        filled[ends[ends > 0]] = False
    result = mask.copy()
    result[box] = filled[numbers]
    return result


def components(mask: Mask) -> tuple[NDArray[np.int32], Sizes]:
    """Return (numbers, sizes): components from 1, and the voxels of number i + 1 as sizes[i]."""
    numbers, count = ndimage.label(mask, NEIGHBOURS_18)
    return numbers, np.bincount(numbers.ravel(), minlength=count + 1)[1:]


def keep_numbers(numbers: NDArray[np.int32], wanted: NDArray[np.bool_]) -> Mask:
    """Return where the component's number i + 1 has wanted[i]."""
    kept: Mask = np.concatenate([[False], wanted])[numbers]
    return kept


def keep_larger_than(mask: Mask, voxels: int) -> Mask:
    """Keep components of more than voxels; when none is, the largest one stays."""
    return _keep_in_box(mask, lambda sizes: sizes > min(voxels, sizes.max() - 1))


def keep_above_share(mask: Mask, share: float, *, at_most: int | None = None) -> Mask:
    """Keep components of more than share of the largest one; of those the at_most largest."""

    def wanted(sizes: Sizes) -> Mask:
        above: Mask = (sizes > share * sizes.max()) | (sizes == sizes.max())
        if at_most is not None:
            above[np.argsort(-sizes, kind="stable")[at_most:]] = False
        return above

    return _keep_in_box(mask, wanted)


def _keep_in_box(mask: Mask, wanted: Callable[[Sizes], Mask]) -> Mask:
    """Keep the components that are wanted for their sizes; looks no further than the mask."""
    box = bounding_box(mask)
    numbers, sizes = components(mask[box])
    if sizes.size == 0:
        return mask
    kept = np.zeros_like(mask)
    kept[box] = keep_numbers(numbers, wanted(sizes))
    return kept


def bounding_box(mask: Mask, margin: int = 0) -> Box:
    """Return the box of mask, margin voxels wider, cut at the array; all of it if empty."""
    box = [slice(0, size) for size in mask.shape]
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        # Each axis looks only where the axes before it found something.
        found = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if found.size == 0:
            break
        box[axis] = slice(int(found[0]), int(found[-1]) + 1)
    wider = [
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, size in zip(box, mask.shape, strict=True)
    ]
    return (wider[0], wider[1], wider[2])


def nested_labels(whole: Mask, core: Mask, enhancing: Mask) -> Labels:
    """Turn regions into labels: core counts only inside whole, enhancing only inside core."""
    core = core & whole
    labels = np.zeros(whole.shape, dtype=np.uint8)
    labels[whole] = ED
    labels[core] = NCR
    labels[core & enhancing] = ET
    return labels


def clean(labels: Volume, options: Postprocessing) -> Volume:
    """Return labels (uint8: 1 NCR, 2 ED, 3 ET) without small holes and small components.

    Each region is treated by itself, from WT to ET. A hole is a part of the region's outside
    that the region closes in. A filled hole gets the label of the innermost region that
    closes it in: ET when enhancing tumour alone is around it, NCR when only the core is, ED
    otherwise; so no region gains a voxel that it did not surround. A component that is
    dropped falls to the next larger region: ET becomes NCR, core becomes ED, and what is
    dropped of the whole tumour becomes background with all that lies in it.

    The result is nested, and cleaning it again changes nothing: a hole of the inner region
    lies in the outer region or in one of its holes that is no larger, and dropping a whole
    component only widens openings that were too large to be filled.
    """
    if not (options.fill_holes_mm3 or options.smallest_mm3 or options.component_share):
        return labels
    box = bounding_box(labels.array > 0)
    part = labels.array[box]
    voxel_mm3 = labels.grid.voxel_mm3
    found = np.ones(part.shape, dtype=bool)
    regions = []
    for region in (part > 0, (part == NCR) | (part == ET), part == ET):
        filled = fill_holes(region, below=options.fill_holes_mm3 / voxel_mm3)
        found = _drop_small(filled & found, options, voxel_mm3)
        regions.append(found)
    array = np.zeros_like(labels.array)
    array[box] = nested_labels(*regions)
    return labels.with_array(array)


def _drop_small(mask: Mask, options: Postprocessing, voxel_mm3: float) -> Mask:
    """Drop components that are too small by themselves or beside the largest one."""
    numbers, sizes = components(mask)
    if sizes.size == 0:
        return mask
    least = max(options.component_share * float(sizes.max()), options.smallest_mm3 / voxel_mm3)
    return keep_numbers(numbers, sizes >= least * (1.0 - SAME_VOLUME))
