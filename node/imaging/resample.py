"""Volumes on other grids, and labels on the way home."""

from typing import Final, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.imaging.bridges import from_sitk, place, to_sitk, to_sitk_transform
from node.imaging.grids import cut, divided, model_grid
from node.imaging.volume import Affine, Array, Grid, Volume

__all__ = ["Order", "model_grid", "resample", "to_native"]

Order = Literal["nearest", "linear", "cubic"]

_INTERPOLATORS: Final = {
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
    "cubic": sitk.sitkBSpline,
}

SAME_VOXEL: Final = 0.01
"""Distance, in voxels, up to which two voxel centres are one, so nothing is interpolated."""

MARGIN_MM: Final = 2.0

MOST_WEIGHT: Final = 2.0
"""A label may take a voxel of which it has a third, and leave one of which it has two thirds."""

TIE_BREAK: Final = 0.01
AMID_MM: Final = 2.5
"""Share that being amid the label is worth, and how far around a voxel that is looked for."""

ROUNDS: Final = 3
BISECTIONS: Final = 18
"""Of the search for the weights: sweeps over the labels, and halvings for each."""

MOST_FINE_VOXELS: Final = 64_000_000
"""Bound of the divided grid, 256 MB; above it voxels are divided less."""


def resample(
    volume: Volume, grid: Grid, *, matrix: Affine | None = None, order: Order = "linear"
) -> Volume:
    """Return the values of a volume at the voxel centres of a grid, 0 outside of it.

    matrix: (4, 4) LPS mm, point of the grid -> point of the volume; None for the same place.
    Where the voxel centres of both coincide, values are only moved. Otherwise bool stays
    bool (half of a voxel is enough), "nearest" keeps the type, the others give float32;
    "cubic" never leaves the range of the values.
    """
    move = np.eye(4) if matrix is None else matrix
    exact = _moved(volume, grid, np.linalg.inv(volume.grid.affine) @ move @ grid.affine)
    if exact is not None:
        return Volume(array=exact, grid=grid)
    if volume.array.dtype == np.bool_:
        share = resample(volume.with_array(volume.array.astype(np.float32)), grid, matrix=matrix)
        return share.with_array(share.array >= 0.5)
    image = to_sitk(volume)
    if order != "nearest":
        image = sitk.Cast(image, sitk.sitkFloat32)
    like = place(sitk.Image([int(n) for n in grid.shape[::-1]], sitk.sitkUInt8), grid)
    found = sitk.Resample(image, like, to_sitk_transform(move), _INTERPOLATORS[order], 0.0)
    array = from_sitk(found).array
    if order == "cubic":
        low, high = min(float(volume.array.min()), 0.0), max(float(volume.array.max()), 0.0)
        array = array.clip(low, high)
    return Volume(array=array, grid=grid)


def to_native(labels: Volume, native: Grid) -> Volume:
    """Return labels (uint8) on the native grid of the reference series.

    The share of each label in a voxel is its indicator function, interpolated linearly and
    averaged over the voxel where that is larger than the model's. Voxels outside the model's
    grid are background. A voxel goes to the label, or background, that has the largest share
    of it, after the shares are weighed so that each label keeps its volume: plain rounding
    changes that of a sphere of 20 mm by up to 7 % on slices of 5 mm.
    """
    found = np.zeros(native.shape, dtype=np.uint8)
    box = _box(labels, native)
    present = [int(label) for label in np.unique(labels.array) if label > 0]
    if box is None or not present:
        return Volume(array=found, grid=native)
    part = cut(native, box)
    shares = np.stack([_share(labels, label, part) for label in present])
    codes = np.array([0, *present], dtype=np.uint8)
    found[box] = codes[_decide(shares, part.spacing_mm)]
    return Volume(array=found, grid=native)


def _decide(shares: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """Index of the label of each voxel (0 background); shares: (labels, slice, row, column)."""
    inside = shares.sum(axis=0) > 0.0
    columns = shares[:, inside].astype(np.float64)
    background = np.clip(1.0 - columns.sum(axis=0), 0.0, 1.0)
    wanted = columns.sum(axis=1)
    # Thick voxels have few different shares; of equal ones those amid the label are its own.
    reach = [AMID_MM / mm for mm in spacing_mm]
    amid = np.stack([ndimage.gaussian_filter(share, reach)[inside] for share in shares])
    weighed = np.vstack([background, columns + TIE_BREAK * (amid - 0.5)])
    weights = np.ones((len(weighed), 1))
    for _ in range(ROUNDS):
        for label in range(1, len(weighed)):
            weights[label] = _weight_for(wanted[label - 1], label, weighed, weights)
    result = np.zeros(shares.shape[1:], dtype=np.intp)
    result[inside] = (weighed * weights).argmax(axis=0)
    return result


def _weight_for(wanted: float, label: int, shares: Array, weights: Array) -> float:
    """Weight, 1/MOST_WEIGHT to MOST_WEIGHT, with which a label wins in so many voxels."""
    others = np.delete(shares * weights, label, axis=0).max(axis=0)
    low, high = -1.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        won = np.count_nonzero(shares[label] * MOST_WEIGHT**middle > others)
        low, high = (middle, high) if won < wanted else (low, middle)
    return float(MOST_WEIGHT ** ((low + high) / 2.0))


def _share(labels: Volume, label: int, native: Grid) -> Array:
    """Share of a label in each voxel, averaged over parts of a voxel that is a large one."""
    indicator = labels.with_array((labels.array == label).astype(np.float32))
    parts = _parts(labels.grid, native)
    values = resample(indicator, divided(native, parts)).array
    shape = [size for n, part in zip(native.shape, parts, strict=True) for size in (n, part)]
    averaged: Array = values.reshape(shape).mean(axis=(1, 3, 5))
    return averaged


def _parts(model: Grid, native: Grid) -> tuple[int, int, int]:
    finest = min(model.spacing_mm)
    parts = [max(1, round(mm / finest)) for mm in native.spacing_mm]
    while np.prod(native.shape) * np.prod(parts) > MOST_FINE_VOXELS and max(parts) > 1:
        parts[int(np.argmax(parts))] -= 1
    return (parts[0], parts[1], parts[2])


def _box(labels: Volume, native: Grid) -> tuple[slice, slice, slice] | None:
    """Native voxels that may hold a label; None when there are none."""
    where = np.nonzero(labels.array)
    if where[0].size == 0:
        return None
    low, high = [i.min() - 0.5 for i in where], [i.max() + 0.5 for i in where]
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
    indices = native.indices_of(labels.grid.positions_mm(corners))
    margin = np.ceil(MARGIN_MM / np.array(native.spacing_mm)) + 1
    first = np.clip(np.floor(indices.min(axis=0) - margin), 0, native.shape).astype(int)
    last = np.clip(np.ceil(indices.max(axis=0) + margin) + 1, 0, native.shape).astype(int)
    if np.any(first >= last):
        return None
    box = [slice(int(a), int(b)) for a, b in zip(first, last, strict=True)]
    return (box[0], box[1], box[2])


def _moved(volume: Volume, grid: Grid, index_map: Affine) -> Array | None:
    """Values at the grid's voxels when an index map sends voxels to voxels; None otherwise.

    index_map: (4, 4), index on the grid -> index in the volume.
    """
    whole = np.rint(index_map)
    corners = np.array(np.meshgrid(*((0, n - 1) for n in grid.shape), indexing="ij"))
    indices = np.vstack([corners.reshape(3, -1), np.ones(8)])
    if np.abs((index_map - whole) @ indices).max() > SAME_VOXEL:
        return None
    turning = whole[:3, :3].astype(int)
    if not np.array_equal(np.abs(turning).sum(axis=0), [1, 1, 1]):
        return None
    sources = np.abs(turning).argmax(axis=0)
    turned = volume.array.transpose(tuple(sources))
    result = np.zeros(grid.shape, dtype=volume.array.dtype)
    to, come = [], []
    for axis, source in enumerate(sources):
        shift, length = int(whole[source, 3]), volume.array.shape[source]
        if turning[source, axis] < 0:
            turned = np.flip(turned, axis)
            shift = length - 1 - shift
        stop = min(grid.shape[axis], length - shift)
        to.append(slice(max(0, -shift), max(stop, 0)))
        come.append(slice(max(0, shift), max(stop + shift, 0)))
    result[tuple(to)] = turned[tuple(come)]
    return result
