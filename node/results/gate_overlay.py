"""Reads an overlay series as a viewer would and holds its outlines to the labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.domain.errors import EncodingRefused
from node.imaging.measure import labels_to_region
from node.imaging.volume import Affine, Grid, Volume
from node.results.codes import STYLES, Colour
from node.results.gate_seg import Mask, side_of

LINE_PIXELS: Final = 3
"""Pixels by which an outline may run outside its region: two of its own and one of rounding."""

RIM_VOXELS: Final = 0.75
"""How far the border of an interpolated mask runs beside the nearest voxel: 0.71 in a notch."""

EVEN: Final = 0.01
"""Part of a step by which the distance of two pictures may differ from the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Series:
    """The pictures of a series in the order of their positions.

    affine: (3, 3), LPS steps of picture, row and column. origins: (n, 3), LPS mm.
    thickness_mm: of the slab of each picture.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    affine: Affine
    origins: Affine
    thickness_mm: float

    def positions_mm(self, colour: Colour) -> Affine:
        """Return the LPS positions, (n, 3), of all pixels of exactly this colour."""
        found = []
        for picture, origin in zip(self.pictures, self.origins, strict=True):
            red, green, blue = (picture[:, :, i] == colour[i] for i in range(3))
            pixels = np.argwhere(red & green & blue)
            found.append(origin + pixels @ self.affine[:, 1:].T)
        return np.concatenate(found)


def check_overlay(datasets: Sequence[Dataset], labels: Volume) -> None:
    """Raise EncodingRefused unless the outlines surround the labels where they are."""
    series = _series(datasets)
    _check_cover(series, labels.grid)
    for style in STYLES:
        inside = labels_to_region(labels, style.region)
        _check_outline(f"overlay: {style.region}", series, style.rgb, inside, labels.grid)


def _series(datasets: Sequence[Dataset]) -> _Series:
    geometry = {
        (
            tuple(float(c) for c in dataset.ImageOrientationPatient),
            tuple(float(mm) for mm in dataset.PixelSpacing),
            float(dataset.SliceThickness),
            (int(dataset.Rows), int(dataset.Columns)),
        )
        for dataset in datasets
    }
    if len(geometry) != 1:
        raise EncodingRefused("overlay: pictures differ in orientation, spacing or size")
    cosines, spacing, thickness, _ = geometry.pop()
    right, down = np.array(cosines).reshape(2, 3)
    normal = np.cross(right, down)
    origins = np.array([[float(mm) for mm in d.ImagePositionPatient] for d in datasets])
    order = np.argsort(origins @ normal)
    return _Series(
        pictures=tuple(np.asarray(datasets[number].pixel_array) for number in order),
        affine=np.stack([normal * thickness, down * spacing[0], right * spacing[1]], axis=1),
        origins=origins[order],
        thickness_mm=thickness,
    )


def _check_cover(series: _Series, grid: Grid) -> None:
    """No picture is missing: they follow each other evenly and cover all slices."""
    normal = series.affine[:, 0] / series.thickness_mm
    heights = series.origins @ normal
    steps = np.diff(series.origins, axis=0)
    uneven = np.abs(steps - series.affine[:, 0]).max(initial=0.0)
    if uneven > EVEN * series.thickness_mm:
        raise EncodingRefused("overlay: the pictures do not follow each other evenly")
    ends = np.array([[0, 0, 0], np.array(grid.shape) - 1])
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1).T
    reach = grid.positions_mm(corners) @ normal
    half = series.thickness_mm / 2
    if heights[0] - half > reach.min() or heights[-1] + half < reach.max():
        raise EncodingRefused("overlay: the pictures do not cover the reference series")


def _check_outline(name: str, series: _Series, colour: Colour, inside: Mask, grid: Grid) -> None:
    """Raise unless the outline reaches the region's extent all round and runs nowhere else."""
    indices = grid.indices_of(series.positions_mm(colour))
    # The legend shows the colours too, below the picture, so outside the volume.
    within = ((indices > -0.5) & (indices < np.array(grid.shape) - 0.5)).all(axis=1)
    indices = indices[within]
    if not inside.any() or not len(indices):
        if inside.any() or len(indices):
            raise EncodingRefused(f"{name} is outlined or labelled, but not both")
        return
    tolerance = _tolerance(series, grid)
    voxels = np.argwhere(inside)
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    _check_side(name, (indices.min(axis=0) + indices.max(axis=0)) / 2, (low + high) / 2, grid)
    beside = np.maximum(np.abs(indices.min(axis=0) - low), np.abs(indices.max(axis=0) - high))
    if (beside > tolerance).any():
        off_mm = float((beside * np.array(grid.spacing_mm)).max())
        raise EncodingRefused(f"{name} is outlined {off_mm:.1f} mm beside the labels")
    if not _all_near(indices, inside[tuple(map(slice, low, high + 1))], low, tolerance):
        raise EncodingRefused(f"{name} is outlined where nothing is labelled")


def _check_side(name: str, outlined: Affine, labelled: Affine, grid: Grid) -> None:
    places = grid.positions_mm(np.array([outlined, labelled]))
    sides = side_of(places[0], grid), side_of(places[1], grid)
    if set(sides) == {"left", "right"}:
        raise EncodingRefused(
            f"{name} is outlined on the {sides[0]} but labelled on the {sides[1]}"
        )


def _tolerance(series: _Series, grid: Grid) -> Affine:
    """Return how many voxels an outline may lie beside a labelled one, along each axis.

    Half a slab along the normal of the pictures, the width of the lines within them, and
    RIM_VOXELS because outlines run around voxels and not through their centres.
    """
    lengths = np.linalg.norm(series.affine, axis=0)
    allowed = np.array([series.thickness_mm / 2, *(LINE_PIXELS * lengths[1:])])
    along = np.abs(grid.directions.T @ (series.affine / lengths)) @ allowed
    tolerance: Affine = along / np.array(grid.spacing_mm) + RIM_VOXELS
    return tolerance


def _all_near(indices: Affine, inside: Mask, low: NDArray[np.int64], tolerance: Affine) -> bool:
    """Whether each position has a voxel of the region within the tolerance, boxwise.

    inside: the region's bounding box, whose first voxel is low. A running sum answers it for
    every position with eight look-ups.
    """
    sums = np.zeros(np.array(inside.shape) + 1, dtype=np.int64)
    sums[1:, 1:, 1:] = inside.cumsum(0, dtype=np.int64).cumsum(1).cumsum(2)
    top = np.array(inside.shape)
    start = np.clip(np.ceil(indices - low - tolerance).astype(np.int64), 0, top)
    stop = np.clip(np.floor(indices - low + tolerance).astype(np.int64) + 1, start, top)
    counts = np.zeros(len(indices), dtype=np.int64)
    for corner in np.ndindex(2, 2, 2):
        at = np.where(np.array(corner) == 1, stop, start)
        sign = -1 if sum(corner) % 2 == 0 else 1
        counts += sign * sums[at[:, 0], at[:, 1], at[:, 2]]
    return bool((counts > 0).all())
