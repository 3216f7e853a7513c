"""Diameters of lesions in axial planes, as RANO measures them.

Wen et al. 2010 (doi:10.1200/JCO.2009.26.3541) and RANO 2.0, Wen et al. 2023
(doi:10.1200/JCO.23.01059): the longest diameter in an axial slice and the longest one at right
angles to it. Which slice is not said there in terms of a mask; here it is the one with the
largest product.

Planes are those of the array that lie nearest to the patient's axial plane: the native slices
of an axial series, as a reader sees them, and rows or columns of slices of a coronal or
sagittal one. Nothing is interpolated. The outline runs through the middles of the pixels'
edges: a single pixel is as long as its edge, and ellipses of 12 to 40 pixels come out 0.4
pixels too long, because the longest of many lines is taken; it would be 0.8 with the corners
of the pixels and -0.5 with their centres. A line stays inside the lesion as a reader draws it:
it may cross a necrosis or another hole, and graze a dent of a pixel, but no bay.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from node.domain.measurement import Diameters, Point, Segment
from node.imaging.lines import Room
from node.imaging.volume import Affine, Grid, Volume

Mask = NDArray[np.bool_]
Parts = NDArray[np.int32]

LEAST_MM: Final = 10.0
"""Both diameters of a measurable lesion are at least this long (RANO)."""

THICK_MM: Final = 5.0
"""On slices further apart than this both must be twice as long as the slices are apart (RANO)."""

LEAST_PLANES: Final = 2
"""A measurable lesion is seen in at least so many slices (RANO)."""

MOST_PARTS: Final = 512
MOST_MEASURED: Final = 64
"""Of more parts of a lesion in all planes the widest are looked at, and of these those with the
largest hulls measured; bounds the time."""

SAME_MM: Final = 1e-6
"""Lengths that differ by less are equal."""

MOST_ENDS: Final = 160
MOST_NEAR: Final = 48
"""So many points of a bayed outline are tried as ends, then so many near the best ones."""

SQUARE: Final = (0.05, 0.1, 0.2, 0.4, math.inf)
"""Cosine to the longest diameter up to which lines of a bayed outline count as perpendicular;
the larger ones are for lesions of a few, or of very oblong, pixels that have no line at 87 to
93 degrees. The other lesions' perpendiculars are exact."""

IN_PLANE: Final = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))], dtype=bool)
"""Neighbours in a plane: pixels that share an edge or a corner."""

BY_EDGES: Final = np.array(
    [np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))]
)
"""Of what is around a mask: pixels that share an edge."""


def with_axial_planes(volume: Volume) -> Volume:
    """Return the same voxels, indexed so that the first axis is nearest to the patient's S."""
    across = int(np.abs(volume.grid.directions[2]).argmax())
    order = [across, *(axis for axis in range(3) if axis != across)]
    array = volume.array.transpose(order)
    grid = Grid(
        shape=(array.shape[0], array.shape[1], array.shape[2]),
        affine=volume.grid.affine[:, [*order, 3]],
        frame_of_reference_uid=volume.grid.frame_of_reference_uid,
    )
    return Volume(array=array, grid=grid)


def tilt_degrees(grid: Grid) -> float:
    """Return the angle between the planes of a grid and the patient's axial plane."""
    cosine = min(1.0, abs(float(grid.directions[2, 0])))
    return float(np.rad2deg(np.arccos(cosine)))


def plane_parts(mask: Mask) -> Parts:
    """Give each connected part of a mask in a plane (first axis) its own number, from 1.

    Holes that a part encloses in its plane belong to it.
    """
    outside = np.pad(~mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    numbers, _ = ndimage.label(outside, BY_EDGES)
    around = numbers[:, 0, 0][:, None, None]  # the frame is one piece in each plane
    solid = (numbers != around)[:, 1:-1, 1:-1]
    parts: Parts = ndimage.label(solid, IN_PLANE)[0]
    return parts


def diameters(lesion: Mask, parts: Parts, grid: Grid) -> Diameters:
    """Return the diameters of a lesion that is not empty.

    lesion: bool, (plane, row, column) of the grid. parts: what belongs together in a plane;
    of a ring that is broken up that is its core, not the ring itself.
    """
    found = _widest(lesion, parts, grid)
    least = LEAST_MM
    if grid.spacing_mm[0] > THICK_MM:
        least = 2.0 * grid.spacing_mm[0]
    planes = int(np.count_nonzero(lesion.any(axis=(1, 2))))
    return Diameters(
        longest=_segment(found.longest, found.plane, grid),
        perpendicular=_segment(found.perpendicular, found.plane, grid),
        measurable=bool(found.lengths_mm.min() >= least - 1e-6) and planes >= LEAST_PLANES,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cross:
    """Two lines in a plane; ends (2, 2) as (row, column) in mm from the first pixel's centre."""

    plane: int
    longest: Affine
    perpendicular: Affine

    @property
    def lengths_mm(self) -> Affine:
        lines = np.stack([self.longest, self.perpendicular])
        lengths: Affine = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)
        return lengths

    @property
    def product_mm2(self) -> float:
        return float(self.lengths_mm.prod())


def _widest(lesion: Mask, parts: Parts, grid: Grid) -> _Cross:
    """Find the part with the largest product, the most promising ones first."""
    pixel = np.array(grid.spacing_mm[1:])
    outlines = sorted(_outlines(lesion, parts), key=lambda one: -one.extent(pixel))
    bounded = [(2.0 * one.hull_area(pixel), one) for one in outlines[:MOST_PARTS]]
    bounded.sort(key=lambda pair: -pair[0])
    best = _cross(bounded[0][1], pixel, parts)
    for bound, outline in bounded[1:MOST_MEASURED]:
        # Lines at right angles span half their product, all inside the hull.
        if bound < best.product_mm2 - SAME_MM:
            break
        cross = _cross(outline, pixel, parts)
        best = max(best, cross, key=_size)
    return best


def _size(cross: _Cross) -> tuple[float, float]:
    """Product and longest diameter, so rounded that equal ones are equal."""
    return round(cross.product_mm2, 6), round(float(cross.lengths_mm[0]), 6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outline:
    """Middles of the pixels' edges around one part in one plane, (n, 2) as (row, column)."""

    plane: int
    part: int
    points: Affine

    def extent(self, pixel: Affine) -> float:
        """Length of the diagonal of its box, mm."""
        size = (self.points.max(axis=0) - self.points.min(axis=0)) * pixel
        return float(np.hypot(*size))

    def hull_area(self, pixel: Affine) -> float:
        """Area of its convex hull, mm2."""
        return float(ConvexHull(self.points * pixel).volume)


def _outlines(lesion: Mask, parts: Parts) -> list[_Outline]:
    """Collect the edges at which runs of voxels in rows and columns begin and end."""
    found = []
    for axis in (1, 2):
        for side in (-1, 1):
            edge = lesion & ~_neighbour(lesion, axis, side)
            places = np.argwhere(edge)
            middles = places[:, 1:].astype(np.float64)
            middles[:, axis - 1] += 0.5 * side
            found.append(np.column_stack([parts[edge], places[:, 0], middles]))
    table = np.concatenate(found)
    table = table[np.lexsort(table.T[::-1])]
    starts = np.flatnonzero(np.diff(table[:, 0], prepend=-1.0))
    return [
        _Outline(plane=int(rows[0, 1]), part=int(rows[0, 0]), points=rows[:, 2:])
        for rows in np.split(table, starts[1:])
    ]


def _neighbour(mask: Mask, axis: int, side: int) -> Mask:
    """Return whether the next voxel along an axis is in the mask."""
    moved = np.zeros_like(mask)
    to, come = [slice(None)] * 3, [slice(None)] * 3
    to[axis], come[axis] = (slice(1, None), slice(None, -1))[::-side]
    moved[tuple(to)] = mask[tuple(come)]
    return moved


def _cross(outline: _Outline, pixel: Affine, parts: Parts) -> _Cross:
    """Measure one part: its convex hull where the lines stay inside, else line by line."""
    hull = outline.points[ConvexHull(outline.points * pixel).vertices] * pixel
    apart = np.triu(cdist(hull, hull))
    # Regular shapes have several longest diameters; that with the longest perpendicular counts.
    pairs = np.argwhere(apart >= apart.max() - SAME_MM)
    crosses = [
        _Cross(
            plane=outline.plane,
            longest=hull[[first, last]],
            perpendicular=_longest_chord(hull, int(first), int(last)),
        )
        for first, last in pairs
    ]
    found = max(crosses, key=lambda cross: round(float(cross.lengths_mm[1]) / SAME_MM))
    room = Room(parts[outline.plane] == outline.part)
    if room.holds(np.stack([found.longest, found.perpendicular]) / pixel).all():
        return found
    longest, perpendicular = _inside(outline.points, pixel, room)
    return _Cross(plane=outline.plane, longest=longest, perpendicular=perpendicular)


def _inside(points: Affine, pixel: Affine, room: Room) -> tuple[Affine, Affine]:
    """Return the longest line between points that stays inside, and that across it, mm."""
    ends, reach = _thinned(points)
    first, last = np.triu_indices(len(ends), 1)
    lines = np.stack([ends[first], ends[last]], axis=1)
    longest = _best(lines, pixel, room)
    longest = _best(_close_by(points, longest, reach), pixel, room)
    along = (longest[1] - longest[0]) * pixel
    across = _best(lines, pixel, room, along)
    across = _best(_close_by(points, across, reach), pixel, room, along)
    return longest * pixel, across * pixel


def _thinned(points: Affine) -> tuple[Affine, float]:
    """Return at most MOST_ENDS of points, and the distance within which each other one has one."""
    side = 1.0
    ends = points
    while len(ends) > MOST_ENDS:
        side *= 1.25
        squares = np.floor((points - points.min(axis=0)) / side).astype(np.intp)
        _, kept = np.unique(squares @ (1 << 20, 1), return_index=True)
        ends = points[np.sort(kept)]
    return ends, side * math.sqrt(2.0)


def _close_by(points: Affine, line: Affine, reach: float) -> Affine:
    """Return lines between the points that are nearest to the ends of a line, itself the last."""
    near = []
    for end in line:
        away = np.hypot(*(points - end).T)
        nearest = np.argsort(away, kind="stable")[:MOST_NEAR]
        near.append(points[nearest[away[nearest] <= reach]])
    first, last = np.indices((len(near[0]), len(near[1]))).reshape(2, -1)
    return np.concatenate([np.stack([near[0][first], near[1][last]], axis=1), line[None]])


def _best(lines: Affine, pixel: Affine, room: Room, along: Affine | None = None) -> Affine:
    """Return the longest line that stays inside; with a direction, of those at right angles."""
    ways = (lines[:, 1] - lines[:, 0]) * pixel
    lengths = np.hypot(*ways.T).round(6)
    wanted = lengths > 0.0
    if along is not None:
        cosines = np.abs(ways @ along) / (np.maximum(lengths, SAME_MM) * np.hypot(*along))
        cosines = cosines.round(6)
        limit = next(limit for limit in SQUARE if np.any(wanted & (cosines <= limit)))
        wanted &= cosines <= limit
    some = np.flatnonzero(wanted)
    return room.first_held(lines[some[np.argsort(-lengths[some], kind="stable")]])


def _longest_chord(hull: Affine, first: int, last: int) -> Affine:
    """Return the ends (2, 2) of the longest chord at right angles to a hull's diameter."""
    along = (hull[last] - hull[first]) / np.linalg.norm(hull[last] - hull[first])
    across = np.array([-along[1], along[0]])
    # Of a convex outline the longest chord in a direction passes through a corner.
    corners = np.sort(hull @ along)
    chains = [_chain(hull, first, last), _chain(hull, last, first)]
    sides = [np.interp(corners, *_rising(chain @ along, chain @ across)) for chain in chains]
    longest = int(np.abs(sides[0] - sides[1]).argmax())
    return np.array([corners[longest] * along + side[longest] * across for side in sides])


def _chain(hull: Affine, first: int, last: int) -> Affine:
    """Corners of a hull from one to another, both included."""
    steps = (last - first) % len(hull)
    return hull[(first + np.arange(steps + 1)) % len(hull)]


def _rising(along: Affine, across: Affine) -> tuple[Affine, Affine]:
    return (along, across) if along[0] <= along[-1] else (along[::-1], across[::-1])


def _segment(ends: Affine, plane: int, grid: Grid) -> Segment:
    indices: Any = ends / np.array(grid.spacing_mm[1:])
    placed = grid.positions_mm(np.column_stack([np.full(2, plane), indices]))
    return Segment(start_mm=_point(placed[0]), end_mm=_point(placed[1]))


def _point(position: Affine) -> Point:
    x, y, z = (round(float(value), 3) for value in position)
    return (x, y, z)
