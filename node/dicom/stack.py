"""What the positions of slices say: one volume, or why not (PS3.3 C.7.6.2.1.1).

Pure and free of order: slices arrive in any order and the answer is the same. Slice
Thickness and Spacing Between Slices are never used; only positions tell where slices lie.
"""

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from node.domain.errors import (
    DoubledSlice,
    MixedOrientation,
    NoGeometry,
    SegnodeError,
    ShearedGeometry,
    SliceGap,
    TiledImages,
    TooFewSlices,
)
from node.domain.header import Header, Plane, Vector3, Vector6
from node.domain.study import Reason, StackFacts

MINIMUM_SLICES: Final = 5
"""Fewer slices are a localizer or a fragment, not a volume."""

ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference of a direction cosine within one orientation (0.06 degrees)."""

UNIT_TOLERANCE: Final = 0.01
"""How far the two direction vectors may be from length 1 and from a right angle."""

SAME_POSITION_MM: Final = 0.01
"""Slices closer than this lie at one position."""

STEP_RATIO: Final = 0.01
"""Largest deviation of a step from the median step, as a part of it ..."""

STEP_MM: Final = 0.01
"""... and the deviation that rounded positions may always show."""

DRIFT_RATIO: Final = 1e-3
"""Largest drift of slices off their normal, as a part of the way along it ..."""

DRIFT_MM: Final = 0.05
"""... and the drift that rounded positions may always show."""

OBLIQUE_BELOW: Final = 0.8
"""A normal whose largest component is smaller belongs to no anatomical plane (37 degrees)."""

MOST_ORIENTATIONS: Final = 32
"""Where counting ends: a series with so many is no volume whatever the number is."""

TILED: Final = frozenset({"MOSAIC", "VFRAME"})
"""Values of Image Type by which Siemens and UIH say that many slices lie tiled in one image."""

_PLANE_NAMES: Final = ("sagittal", "coronal", "axial")
_ENDS: Final = (("right", "left"), ("front", "back"), ("feet", "head"))


def is_tiled(header: Header) -> bool:
    """Whether the image is a mosaic: its rows, columns and position are not those of a slice."""
    return header.number_of_frames == 1 and not TILED.isdisjoint(header.image_type)


def describe_stack(
    planes: Sequence[Plane], *, minimum_slices: int = MINIMUM_SLICES, tiled: bool = False
) -> StackFacts:
    """Say what the planes of a series (one for each slice or frame, any order) form.

    tiled: whether the images are mosaics, whose planes mean nothing.
    The problem is the first that holds of: tiled-images, no-geometry, mixed-orientation,
    too-few-slices, sheared-geometry, doubled-slice, slice-gap; its text names the place.
    """
    if tiled:
        return _no_volume(planes, 0, _reason(TiledImages, "many slices as tiles in each image"))
    orientations = _distinct_orientations(planes)
    if not planes or not all(map(_is_placed, planes)):
        return _no_volume(planes, len(orientations), _no_geometry(planes))
    if len(orientations) > 1:
        text = f"{len(planes)} slices in {_count(len(orientations))} different orientations"
        return _no_volume(planes, len(orientations), _reason(MixedOrientation, text))
    normal = _normal(_mean_orientation(planes))
    heights = sorted(_dot(p.position, normal) for p in planes)
    places = _distinct(heights)
    problem = (
        _too_few(planes, minimum_slices)
        or _sheared(planes, normal)
        or _doubled(heights, places, normal)
        or _gap(places, normal)
    )
    return StackFacts(
        slices=len(planes),
        orientations=1,
        spacing_mm=_spacing(places, even=problem is None),
        plane=_plane_name(normal),
        problem=problem,
    )


def slice_order(planes: Sequence[Plane]) -> tuple[int, ...]:
    """Return the indices of the planes, sorted along their common normal.

    The normal is the cross product of row and column direction, so that (slice, row,
    column) is right-handed. Planes at one height keep a stable order by position.
    """
    if not planes:
        return ()
    normal = slice_normal(planes)
    return tuple(
        sorted(
            range(len(planes)),
            key=lambda i: (_dot(planes[i].position, normal), planes[i].position, i),
        )
    )


def orientation_groups(planes: Sequence[Plane]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the planes of each orientation; of all when there are too many."""
    kinds = _distinct_orientations(planes)
    if len(kinds) >= MOST_ORIENTATIONS:
        return (tuple(range(len(planes))),)
    groups: list[list[int]] = [[] for _ in kinds]
    for index, plane in enumerate(planes):
        kind = next(k for k, other in enumerate(kinds) if _same(plane.orientation, other))
        groups[kind].append(index)
    return tuple(map(tuple, groups))


def position_ranks(planes: Sequence[Plane]) -> tuple[int, ...]:
    """Return for each plane which position along the common normal it has, counted from 0."""
    normal = slice_normal(planes)
    heights = [_dot(plane.position, normal) for plane in planes]
    ranks, rank, previous = [0] * len(planes), -1, -math.inf
    for index in slice_order(planes):
        rank += heights[index] - previous >= SAME_POSITION_MM
        previous = heights[index]
        ranks[index] = rank
    return tuple(ranks)


def slice_normal(planes: Sequence[Plane]) -> Vector3:
    """Return the unit normal of planes of one orientation: row x column direction."""
    return _normal(_mean_orientation(planes))


def _reason(kind: type[SegnodeError], text: str) -> Reason:
    return Reason(code=kind.code, text=text)


def _count(orientations: int) -> str:
    most = orientations >= MOST_ORIENTATIONS
    return f"{orientations} or more" if most else str(orientations)


def _no_volume(planes: Sequence[Plane], orientations: int, problem: Reason) -> StackFacts:
    return StackFacts(
        slices=len(planes), orientations=orientations, spacing_mm=None, plane="", problem=problem
    )


def _no_geometry(planes: Sequence[Plane]) -> Reason:
    if not planes:
        return _reason(NoGeometry, "no slice says where it lies")
    return _reason(NoGeometry, "the direction of rows and columns is not two unit vectors")


def _too_few(planes: Sequence[Plane], least: int) -> Reason | None:
    if len(planes) >= least:
        return None
    slices = "1 slice" if len(planes) == 1 else f"{len(planes)} slices"
    return _reason(TooFewSlices, f"{slices}, a volume needs at least {least}")


def _doubled(heights: Sequence[float], places: Sequence[float], normal: Vector3) -> Reason | None:
    """Find two slices at (nearly) the same position."""
    if len(places) == len(heights):
        return None
    steps = (heights[i + 1] - heights[i] for i in range(len(heights) - 1))
    first = next(i for i, step in enumerate(steps) if step < SAME_POSITION_MM)
    return _reason(
        DoubledSlice,
        f"{len(heights)} slices at {_positions(len(places))}: more than one at position "
        f"{first + 1} counted from the {_first_end(normal)}",
    )


def _positions(number: int) -> str:
    return "1 position" if number == 1 else f"{number} positions"


def _sheared(planes: Sequence[Plane], normal: Vector3) -> Reason | None:
    """Find slices that do not lie above the first along the normal."""
    ordered = sorted((p.position for p in planes), key=lambda p: (_dot(p, normal), p))
    base = ordered[0]
    for position in ordered[1:]:
        way = (position[0] - base[0], position[1] - base[1], position[2] - base[2])
        height = _dot(way, normal)
        drift = math.sqrt(max(_dot(way, way) - height * height, 0.0))
        if drift > max(DRIFT_MM, DRIFT_RATIO * height):
            return _reason(
                ShearedGeometry,
                f"slices drift {drift:.2f} mm sideways over {height:.1f} mm of the stack",
            )
    return None


def _gap(places: Sequence[float], normal: Vector3) -> Reason | None:
    """Find a step between neighbours that differs from the median step."""
    steps = [places[i + 1] - places[i] for i in range(len(places) - 1)]
    if not steps:
        return None
    usual = median(steps)
    limit = max(STEP_MM, STEP_RATIO * usual)
    odd = [i for i, step in enumerate(steps) if abs(step - usual) > limit]
    if not odd:
        return None
    step = steps[odd[0]]
    text = (
        f"{_what_is_odd(step, usual, limit)} between slice {odd[0] + 1} and {odd[0] + 2} "
        f"counted from the {_first_end(normal)}: step of {_mm(step)} against {_mm(usual)}"
    )
    if len(odd) > 1:
        text += f", and {len(odd) - 1} more uneven {'step' if len(odd) == 2 else 'steps'}"
    return _reason(SliceGap, text)


def _what_is_odd(step: float, usual: float, limit: float) -> str:
    missing = round(step / usual) - 1
    if missing >= 1 and abs(step - (missing + 1) * usual) <= (missing + 1) * limit:
        return "1 slice missing" if missing == 1 else f"{missing} slices missing"
    return "uneven step"


def _mm(length: float) -> str:
    return (
        f"{length:.1f} mm" if abs(length * 10 - round(length * 10)) < 0.05 else f"{length:.2f} mm"
    )


def _spacing(places: Sequence[float], *, even: bool) -> float | None:
    if len(places) < 2:
        return None
    if even:  # the mean is the better estimate when no step is odd
        return (places[-1] - places[0]) / (len(places) - 1)
    return median(places[i + 1] - places[i] for i in range(len(places) - 1))


def _distinct(heights: Sequence[float]) -> list[float]:
    """Return sorted heights without those that are (nearly) the one before."""
    places: list[float] = []
    previous = -math.inf
    for height in heights:
        if height - previous >= SAME_POSITION_MM:
            places.append(height)
        previous = height
    return places


def _distinct_orientations(planes: Sequence[Plane]) -> list[Vector6]:
    found: list[Vector6] = []
    # Sorted, so that the order of arrival cannot change which ones are the first of a group.
    for orientation in sorted({p.orientation for p in planes}):
        if not any(_same(orientation, other) for other in found):
            found.append(orientation)
        if len(found) >= MOST_ORIENTATIONS:
            break
    return found


def _same(a: Vector6, b: Vector6) -> bool:
    return all(abs(x - y) <= ORIENTATION_TOLERANCE for x, y in zip(a, b, strict=True))


def _mean_orientation(planes: Sequence[Plane]) -> Vector6:
    # fsum is exact, so that the order of the planes cannot change the last digit.
    sums = [math.fsum(p.orientation[i] for p in planes) / len(planes) for i in range(6)]
    return (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])


def _is_placed(plane: Plane) -> bool:
    """Whether the position is finite and the directions are unit vectors at a right angle."""
    row, column = plane.orientation[:3], plane.orientation[3:]
    return (
        all(map(math.isfinite, plane.position))
        and abs(math.hypot(*row) - 1) <= UNIT_TOLERANCE
        and abs(math.hypot(*column) - 1) <= UNIT_TOLERANCE
        and abs(_dot(row, column)) <= UNIT_TOLERANCE
    )


def _normal(orientation: Vector6) -> Vector3:
    """Return the unit cross product of row and column direction."""
    a, b, c, d, e, f = orientation
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(x, y, z) or 1.0
    return (x / length, y / length, z / length)


def _dot(a: Vector3, b: Vector3) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _main_axis(normal: Vector3) -> int:
    return max(range(3), key=lambda i: abs(normal[i]))


def _plane_name(normal: Vector3) -> str:
    axis = _main_axis(normal)
    return _PLANE_NAMES[axis] if abs(normal[axis]) >= OBLIQUE_BELOW else "oblique"


def _first_end(normal: Vector3) -> str:
    """Name the end of the patient at which counting along the normal begins (LPS)."""
    axis = _main_axis(normal)
    return _ENDS[axis][0 if normal[axis] > 0 else 1]
