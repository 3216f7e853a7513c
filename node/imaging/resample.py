"""Volumes on other grids, and labels on the way home."""

from typing import Final, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.imaging.bridges import from_sitk, place, to_sitk, to_sitk_transform
from node.imaging.grids import Box, box_around, box_seen, cut, divided, merged, model_grid
from node.imaging.volume import Affine, Array, Grid, Volume

__all__ = ["Order", "model_grid", "resample", "to_native"]

Order = Literal["nearest", "linear", "cubic", "anisotropic"]

_INTERPOLATORS: Final = {
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
}

POINTS_AT_ONCE: Final = 1_000_000
"""Points of a spline that are looked up together; a bound on memory, 50 MB."""

THICK: Final = 3.0
"""Slice distance, in voxels of the slice, from which on slices are thick (as nnU-Net has it)."""

FINER: Final = 2
"""A source with so many voxels to one of the grid is averaged first, or it would alias."""

REACH: Final = 12
"""Voxels around those that are looked at which matter to a cubic spline (0.27 ** 12 = 1e-7)."""

SAME_VOXEL: Final = 0.01
"""Distance, in voxels, up to which two voxel centres are one, so nothing is interpolated."""

MARGIN_MM: Final = 2.0

MOST_WEIGHT: Final = 2.0
"""A label may take a voxel of which it has a third, and leave one of which it has two thirds."""

TIE_BREAK: Final = 0.01
AMID_MM: Final = 2.5
"""Share that being amid the label is worth, and how far around a voxel that is looked for."""

ROUNDS: Final = 3
"""Sweeps over the labels in the search for their weights."""

SURE: Final = 0.82
"""Share from which on a label has a voxel whatever the weights: 0.8, and for the tie-break."""

MOST_FINE_VOXELS: Final = 64_000_000
"""Bound of the divided grid, 256 MB; above it voxels are divided less."""


def resample(
    volume: Volume,
    grid: Grid,
    *,
    matrix: Affine | None = None,
    order: Order = "linear",
    where: Array | None = None,
    threads: int = 0,
) -> Volume:
    """Return the values of a volume at the voxel centres of a grid, 0 outside of it.

    matrix: (4, 4) LPS mm, point of the grid -> point of the volume; None for the same place.
    where: bool, of the grid's shape: elsewhere the result is 0, and a spline is not computed.
    threads: 0 for as many as ITK likes; a spline takes one. Where the voxel centres of both
    coincide, values are only moved. Otherwise bool stays bool (half of a voxel is enough),
    "nearest" keeps the type, the others give float32. "cubic" never leaves the range of the
    values; "anisotropic" is cubic, but linear across thick slices, and averages a much finer
    source. What is no number counts as 0 when interpolated. Only the part of the volume that
    the grid lies over is worked on.
    """
    move = np.eye(4) if matrix is None else matrix
    exact = _moved(volume, grid, np.linalg.inv(volume.grid.affine) @ move @ grid.affine)
    if exact is not None:
        return Volume(array=_only(exact, where), grid=grid)
    if volume.array.dtype == np.bool_:
        indicator = volume.with_array(volume.array.view(np.uint8))
        share = resample(indicator, grid, matrix=move, where=where, threads=threads)
        return share.with_array(share.array >= 0.5)
    box = box_seen(volume.grid, grid, move, (REACH, REACH, REACH))
    if box is None:
        kind = volume.array.dtype if order == "nearest" else np.float32
        return Volume(array=np.zeros(grid.shape, dtype=kind), grid=grid)
    part = Volume(array=_numbers(volume.array[box]), grid=cut(volume.grid, box))
    if order in ("nearest", "linear"):
        return Volume(array=_only(_sampled(part, grid, move, order, threads), where), grid=grid)
    if order == "anisotropic":
        part = _even(_averaged(part, grid))
    return Volume(array=_splined(part, grid, move, where), grid=grid)


def _only(array: Array, where: Array | None) -> Array:
    if where is not None:
        array[~where] = 0
    return array


def _splined(volume: Volume, grid: Grid, move: Affine, where: Array | None) -> Array:
    """Values of the cubic spline through a volume, kept in the range of its values."""
    low, high = min(float(volume.array.min()), 0.0), max(float(volume.array.max()), 0.0)
    coefficients = volume.array.astype(np.float32)
    for axis in range(3):
        ndimage.spline_filter1d(coefficients, 3, axis, output=coefficients, mode="mirror")
    index_map = np.linalg.inv(volume.grid.affine) @ move @ grid.affine
    last = np.array(volume.grid.shape).reshape(3, 1) - 1.0
    values = np.zeros(int(np.prod(grid.shape)), dtype=np.float32)
    points = None if where is None else np.flatnonzero(where)
    for start in range(0, values.size if points is None else points.size, POINTS_AT_ONCE):
        stop = start + POINTS_AT_ONCE
        some = np.arange(start, min(stop, values.size)) if points is None else points[start:stop]
        indices = np.stack(np.unravel_index(some, grid.shape)).astype(np.float64)
        there = index_map[:3, :3] @ indices + index_map[:3, 3:]
        inside = np.all((there >= -0.5) & (there < last + 0.5), axis=0)
        found = ndimage.map_coordinates(
            coefficients,
            there[:, inside].clip(0.0, last),
            output=np.float32,
            order=3,
            mode="mirror",
            prefilter=False,
        )
        values[some[inside]] = found.clip(low, high)
    return values.reshape(grid.shape)


def _numbers(array: Array) -> Array:
    """Return the array, or a copy with 0 where it is no number: a spline would spread that."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    return np.nan_to_num(array, posinf=0.0, neginf=0.0)


def _sampled(volume: Volume, grid: Grid, move: Affine, order: Order, threads: int) -> Array:
    sampler = sitk.ResampleImageFilter()
    sampler.SetReferenceImage(place(sitk.Image([1, 1, 1], sitk.sitkUInt8), grid))
    sampler.SetSize([int(n) for n in grid.shape[::-1]])
    sampler.SetTransform(to_sitk_transform(move))
    sampler.SetInterpolator(_INTERPOLATORS[order])
    if order == "linear":
        sampler.SetOutputPixelType(sitk.sitkFloat32)
    if threads > 0:
        sampler.SetNumberOfThreads(threads)
    return from_sitk(sampler.Execute(to_sitk(volume))).array


def _even(volume: Volume) -> Volume:
    """Return thick slices as thin ones, linear between them: what is cubic then is linear there.

    Their number is odd for each slice, so that its own values stay.
    """
    spacing = volume.grid.spacing_mm
    slice_axis = int(np.argmax(spacing))
    within = max(mm for axis, mm in enumerate(spacing) if axis != slice_axis)
    if spacing[slice_axis] <= THICK * within:
        return volume
    parts = [1, 1, 1]
    parts[slice_axis] = 2 * round((spacing[slice_axis] / within - 1.0) / 2.0) + 1
    fine = divided(volume.grid, (parts[0], parts[1], parts[2]))
    return Volume(array=_sampled(volume, fine, np.eye(4), "linear", 1), grid=fine)


def _averaged(volume: Volume, grid: Grid) -> Volume:
    """Return the means of as many voxels as fit into one of the grid along each axis."""
    fitting = [int(min(grid.spacing_mm) / mm + 1e-3) for mm in volume.grid.spacing_mm]
    parts = tuple(n if n >= FINER else 1 for n in fitting)
    array = volume.array
    for axis, part in enumerate(parts):
        if part > 1:
            array = _means(array, axis, part)
    return Volume(array=array, grid=merged(volume.grid, (parts[0], parts[1], parts[2])))


def _means(array: Array, axis: int, part: int) -> Array:
    """Means of part neighbours along an axis; the last voxel is repeated to fill it."""
    missing = -array.shape[axis] % part
    if missing:
        last = np.take(array, [-1] * missing, axis=axis)
        array = np.concatenate([array, last], axis=axis)
    shape = (*array.shape[:axis], -1, part, *array.shape[axis + 1 :])
    means: Array = array.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return means


def to_native(
    labels: Volume, native: Grid, *, matrix: Affine | None = None, threads: int = 0
) -> Volume:
    """Return labels (uint8) on the native grid of the reference series.

    matrix: (4, 4) LPS mm, point of the native grid -> point of the labels' grid; None for the
    same place. The share of each label in a voxel is its indicator function, interpolated
    linearly and averaged over the voxel where that is larger than the model's. Voxels outside
    the model's grid are background. A voxel goes to the label, or background, that has the
    largest share of it, after the shares are weighed so that each label keeps its volume:
    plain rounding changes that of a sphere of 20 mm by up to 7 % on slices of 5 mm.
    """
    found = np.zeros(native.shape, dtype=np.uint8)
    move = np.eye(4) if matrix is None else matrix
    inner = box_around(labels.array > 0, (1, 1, 1))
    if inner is None:
        return Volume(array=found, grid=native)
    model = Volume(array=labels.array[inner], grid=cut(labels.grid, inner))
    box = _box(model.grid, native, move)
    if box is None:
        return Volume(array=found, grid=native)
    part = cut(native, box)
    present = [int(label) for label in np.flatnonzero(np.bincount(model.array.ravel())) if label]
    exact = _moved(model, part, np.linalg.inv(model.grid.affine) @ move @ part.affine)
    if exact is not None:
        found[box] = exact
        return Volume(array=found, grid=native)
    shares = np.stack([_share(model, label, part, move, threads) for label in present])
    codes = np.array([0, *present], dtype=np.uint8)
    found[box] = codes[_decide(shares, part.spacing_mm)]
    return Volume(array=found, grid=native)


def _decide(shares: Array, spacing_mm: tuple[float, float, float]) -> Array:
    """Index of the label of each voxel (0 background); shares: (labels, slice, row, column).

    Only voxels that no label has for sure are weighed against each other.
    """
    most = shares.max(axis=0)
    result = np.where(most >= SURE, shares.argmax(axis=0) + 1, 0).astype(np.uint8)
    doubtful = (most > 0.0) & (most < SURE)
    sure = np.bincount(result.ravel(), minlength=len(shares) + 1)
    wanted = shares.sum(axis=(1, 2, 3), dtype=np.float64) - sure[1:]
    columns = shares[:, doubtful].astype(np.float64)
    background = np.clip(1.0 - columns.sum(axis=0), 0.0, 1.0)
    # Thick voxels have few different shares; of equal ones those amid the label are its own.
    reach = [AMID_MM / mm for mm in spacing_mm]
    amid = np.stack([ndimage.gaussian_filter(share, reach)[doubtful] for share in shares])
    weighed = np.vstack([background, columns + TIE_BREAK * (amid - 0.5)])
    weights = np.ones((len(weighed), 1))
    for _ in range(ROUNDS):
        for label in range(1, len(weighed)):
            weights[label] = _weight_for(wanted[label - 1], label, weighed, weights)
    result[doubtful] = (weighed * weights).argmax(axis=0)
    return result


def _weight_for(wanted: float, label: int, shares: Array, weights: Array) -> float:
    """Weight, 1/MOST_WEIGHT to MOST_WEIGHT, with which a label wins in so many voxels."""
    others = np.delete(shares * weights, label, axis=0).max(axis=0)
    own = shares[label]
    needed = np.maximum(others, 0.0)[own > 0.0] / own[own > 0.0]  # it wins above this weight
    count = int(np.ceil(wanted))
    if count <= 0:
        return 1.0 / MOST_WEIGHT
    if count >= needed.size:
        return MOST_WEIGHT
    last, first_lost = np.partition(needed, (count - 1, count))[count - 1 : count + 1]
    between = float(np.sqrt(last * first_lost))
    return min(max(between, 1.0 / MOST_WEIGHT), MOST_WEIGHT)


def _share(labels: Volume, label: int, native: Grid, move: Affine, threads: int) -> Array:
    """Share of a label in each voxel, averaged over parts of a voxel that is a large one."""
    indicator = labels.with_array((labels.array == label).astype(np.float32))
    parts = _parts(labels.grid, native)
    fine = divided(native, parts)
    values = resample(indicator, fine, matrix=move, threads=threads).array
    shape = [size for n, part in zip(native.shape, parts, strict=True) for size in (n, part)]
    averaged: Array = values.reshape(shape).mean(axis=(1, 3, 5))
    return averaged


def _parts(model: Grid, native: Grid) -> tuple[int, int, int]:
    finest = min(model.spacing_mm)
    parts = [max(1, round(mm / finest)) for mm in native.spacing_mm]
    while np.prod(native.shape) * np.prod(parts) > MOST_FINE_VOXELS and max(parts) > 1:
        parts[int(np.argmax(parts))] -= 1
    return (parts[0], parts[1], parts[2])


def _box(model: Grid, native: Grid, move: Affine) -> Box | None:
    """Native voxels that may hold a label; None when there are none."""
    margin = [int(np.ceil(MARGIN_MM / mm)) + 1 for mm in native.spacing_mm]
    back = np.linalg.inv(move).astype(np.float64)
    return box_seen(native, model, back, (margin[0], margin[1], margin[2]))


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
