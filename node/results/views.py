"""From a volume to pictures of it in a plane of the reading room, with the place of every pixel.

Pictures keep the axes of the volume (permuted and turned, never tilted), so a reformat is
three independent one-dimensional steps: averaging over slabs, and interpolation along rows
and along columns. Scanners make their multiplanar reconstructions in the same way.
"""

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.imaging.volume import Array, Grid

THICK_RATIO: Final = 2.0
"""Slice spacing over pixel spacing from which a series is a 2D one, shown as it is."""

ROUNDING: Final = 0.01
"""Part of a pixel or slab that may be cut off at the rim: spacings are decimal strings."""

_INSIDE: Final = 0.5
"""Share of a pixel's interpolated neighbourhood from which it counts as inside a region."""


class Plane(StrEnum):
    """How pictures lie in the patient; ACQUIRED keeps the slices as they are."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    ACQUIRED = "acquired"


_AXES: Final = {
    Plane.AXIAL: np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]),
    Plane.CORONAL: np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]),
    Plane.SAGITTAL: np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
"""LPS directions of next picture, downwards and rightwards, as radiologists hang them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Line:
    """Samples along one axis: count of them, and where they lie in indices of the volume."""

    count: int
    first: float
    step: float

    @property
    def positions(self) -> NDArray[np.float64]:
        positions: NDArray[np.float64] = self.first + self.step * np.arange(self.count, dtype=float)
        return positions

    def nearest(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sample nearest to each index of the volume."""
        samples: NDArray[np.int64] = np.rint((places - self.first) / self.step).astype(np.int64)
        return np.clip(samples, 0, self.count - 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """Pictures of a volume: where they lie and how they come from it.

    grid: of the pictures, (picture, row, column). thickness_mm: of the slab of one picture.
    axes: which axis of the volume each axis of the pictures is; flips: which run backwards.
    """

    plane: Plane
    grid: Grid
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    lines: tuple[_Line, _Line, _Line]
    native: tuple[int, int, int]

    @property
    def thickness_mm(self) -> float:
        """Thickness of the slab that one picture stands for."""
        return self.grid.spacing_mm[0]

    def grey(self, array: Array, picture: int) -> NDArray[np.float32]:
        """Return one picture, (row, column): mean over its slab, then linear interpolation.

        array: of the volume's shape.
        """
        shares = _shares(self.lines[0], self.native[0], picture)
        slices = np.flatnonzero(shares)
        slab = self._turn(array)[slices].astype(np.float32)
        return self._spread(np.tensordot(shares[slices], slab, axes=1))

    def mask(self, inside: Array, picture: int) -> NDArray[np.bool_]:
        """Return where a picture shows a region: wherever any voxel of its slab belongs to it.

        inside: bool, of the volume's shape. No voxel of the region is lost in the mean of a
        slab: it is shown in the picture whose slab holds its centre.
        """
        within = self._turn(inside)[self._slabs() == picture].any(axis=0)
        if not within.any():
            return np.zeros(self.grid.shape[1:], dtype=np.bool_)
        shown: NDArray[np.bool_] = self._spread(within.astype(np.float32)) >= _INSIDE
        # A lone voxel between pixels may weigh less than that at each of them.
        rows, columns = (
            line.nearest(places)
            for line, places in zip(self.lines[1:], within.nonzero(), strict=True)
        )
        shown[rows, columns] = True
        return shown

    def counts(self, inside: Array) -> NDArray[np.int64]:
        """Return how many voxels of a region each picture shows."""
        voxels = np.count_nonzero(self._turn(inside), axis=(1, 2))
        return np.bincount(self._slabs(), weights=voxels, minlength=self.grid.shape[0]).astype(int)

    def _slabs(self) -> NDArray[np.int64]:
        """Return, for each slice, the picture whose slab holds its centre."""
        return self.lines[0].nearest(np.arange(self.native[0]))

    def _turn(self, array: Array) -> Array:
        turned = np.transpose(array, self.axes)
        backwards = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return turned[backwards]

    def _spread(self, slab: Array) -> Array:
        """Interpolate one slab, (row, column), along its columns and its rows."""
        rows = _interpolated(slab, self.lines[1], self.native[1])
        return _interpolated(rows.T, self.lines[2], self.native[2]).T


def is_thick(grid: Grid, thickness_mm: float) -> bool:
    """Whether a series is made of thick 2D slices, which are shown as they are."""
    between, *within = grid.spacing_mm
    return between >= 0.75 * thickness_mm and between >= THICK_RATIO * min(within)


def overlay_view(grid: Grid, *, thickness_mm: float, min_pixels: int) -> View:
    """Return the view for the overlay series: thick slices as they are, else axial slabs.

    min_pixels: rows and columns are at least so many, by a whole factor on the finest spacing.
    """
    if is_thick(grid, thickness_mm):
        return make_view(grid, Plane.ACQUIRED, thickness_mm=0.0, pixel_mm=_pixel(grid, min_pixels))
    turned = make_view(grid, Plane.AXIAL, thickness_mm=0.0, pixel_mm=0.0).grid
    pixel_mm = _pixel(turned, min_pixels)
    return make_view(grid, Plane.AXIAL, thickness_mm=thickness_mm, pixel_mm=pixel_mm)


def make_view(grid: Grid, plane: Plane, *, thickness_mm: float, pixel_mm: float) -> View:
    """Return a view with square pixels and slabs; 0 mm keeps the volume's own step."""
    axes, flips = _nearest(grid, plane)
    turned = _turned(grid, axes, flips)
    steps = (max(thickness_mm, turned.spacing_mm[0]), pixel_mm, pixel_mm)
    lines = tuple(
        _line(count, spacing, step or spacing)
        for count, spacing, step in zip(turned.shape, turned.spacing_mm, steps, strict=True)
    )
    affine = turned.affine.copy()
    affine[:3, 3] += turned.affine[:3, :3] @ [line.first for line in lines]
    affine[:3, :3] = turned.affine[:3, :3] * [line.step for line in lines]
    shape = (lines[0].count, lines[1].count, lines[2].count)
    frame = grid.frame_of_reference_uid
    return View(
        plane=plane,
        grid=Grid(shape=shape, affine=affine, frame_of_reference_uid=frame),
        axes=axes,
        flips=flips,
        lines=(lines[0], lines[1], lines[2]),
        native=turned.shape,
    )


def _pixel(grid: Grid, min_pixels: int) -> float:
    """Finest spacing within the pictures, divided so that no side has under min_pixels."""
    finest = min(grid.spacing_mm[1:])
    sides = [n * mm / finest for n, mm in zip(grid.shape[1:], grid.spacing_mm[1:], strict=True)]
    return finest / max(1, math.ceil(min_pixels / min(sides) - ROUNDING))


def _nearest(grid: Grid, plane: Plane) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the grid runs along each axis of the plane, and which of them backwards."""
    if plane is Plane.ACQUIRED:
        return (0, 1, 2), (False, False, False)
    cosines = _AXES[plane] @ grid.directions
    best = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(cosines[i, axis]) for i, axis in enumerate(order)),
    )
    flips = [bool(cosines[i, axis] < 0) for i, axis in enumerate(best)]
    return (best[0], best[1], best[2]), (flips[0], flips[1], flips[2])


def _turned(grid: Grid, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Grid:
    signs = np.where(flips, -1.0, 1.0)
    first = np.zeros(3)
    for axis, flip in zip(axes, flips, strict=True):
        first[axis] = grid.shape[axis] - 1 if flip else 0
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, list(axes)] * signs
    affine[:3, 3] = grid.positions_mm(first[None])[0]
    shape = (grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]])
    return Grid(shape=shape, affine=affine)


def _line(count: int, spacing_mm: float, step_mm: float) -> _Line:
    """Return samples that cover the whole extent of the axis, centred on it."""
    samples = max(1, math.ceil(count * spacing_mm / step_mm - ROUNDING))
    step = step_mm / spacing_mm
    return _Line(count=samples, first=(count - samples * step + step - 1) / 2, step=step)


def _shares(line: _Line, native: int, slab: int) -> NDArray[np.float32]:
    """Share of every slice in one slab; they sum to one."""
    centre, slices = line.positions[slab], np.arange(native)
    above = np.minimum(centre + line.step / 2, slices + 0.5)
    below = np.maximum(centre - line.step / 2, slices - 0.5)
    overlap = np.clip(above - below, 0.0, None)
    shares: NDArray[np.float32] = (overlap / overlap.sum()).astype(np.float32)
    return shares


def _interpolated(values: Array, line: _Line, native: int) -> Array:
    """Return values, (voxel, other), at the samples of the line: linear, and level beyond."""
    if line.count == native and line.step == 1.0:
        return values
    places = np.clip(line.positions, 0, native - 1)
    before = np.minimum(places.astype(np.int64), max(native - 2, 0))
    part = (places - before).astype(np.float32)[:, None]
    lower = values[before]
    sampled: Array = lower + part * (values[np.minimum(before + 1, native - 1)] - lower)
    return sampled
