"""Climbs from a position of two series to the nearest one where they fit best.

Fit is mutual information in the form of Mattes et al. 2003 (doi:10.1109/TMI.2003.809072) with
its gradient; the climb is the quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno
over rigid movements. ITK's own climb stops a tenth or two of a millimetre early (decision 9).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from node.imaging.volume import Affine, Array, Volume

BINS: Final = 32
"""Grey levels of the joint histogram along each axis."""

HEAD_RADIUS_MM: Final = 60.0
"""A rotation of 1 rad moves a usual point of the head so far; so turns are counted in mm."""

LEAST_SEEN: Final = 0.05
"""Share of the points below which a similarity would be chance."""

MOST_STEPS: Final = 40
MOST_TRIALS: Final = 6
"""Bounds of the climb: steps, and shorter trials of each step."""

SHORTER: Final = 0.4
LEAST_GAIN: Final = 1e-4
"""A step is shortened until it gains this part of what the slope promised (Armijo 1966)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slope:
    """Fit at a position and how it changes.

    similarity: nats. uphill: (6,), change for each mm of a turn about x, y and z through the
    pivot, counted at HEAD_RADIUS_MM, and of a shift along x, y and z, LPS.
    """

    similarity: float
    uphill: Affine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What one series shows at fixed points, ready to be held against another.

    points_mm: (3, n) LPS. classes: (n,), grey level of the one series there, 0 to BINS - 1.
    other: float32 values; lowest, scale: from a value to its grey level.
    """

    points_mm: Affine
    classes: Array
    other: Volume
    lowest: float
    scale: float

    @classmethod
    def of(cls, points_mm: Affine, values: Array, other: Volume) -> "Comparison":
        """Prepare points, (n, 3), with the values, (n,), of the one series for the other."""
        low, high = float(values.min()), float(values.max())
        classes = (values - low) / max(high - low, 1e-9) * BINS
        lowest, highest = float(other.array.min()), float(other.array.max())
        return cls(
            points_mm=np.ascontiguousarray(points_mm.T),
            classes=np.minimum(classes.astype(np.intp), BINS - 1),
            other=other.with_array(np.ascontiguousarray(other.array, dtype=np.float32)),
            lowest=lowest,
            scale=(BINS - 4) / max(highest - lowest, 1e-9),
        )

    def slope(self, matrix: Affine) -> Slope:
        """Judge a position. matrix: (4, 4), point of the one series -> point of the other."""
        moved = matrix[:3, :3] @ self.points_mm + matrix[:3, 3:]
        into = np.linalg.inv(self.other.grid.affine)
        indices = into[:3, :3] @ moved + into[:3, 3:]
        last = np.array(self.other.grid.shape)[:, None] - 1
        seen = np.flatnonzero(((indices >= 0.0) & (indices < last)).all(axis=0))
        if seen.size < LEAST_SEEN * self.classes.size:
            return Slope(similarity=0.0, uphill=np.zeros(6))
        values, gradients = _interpolated(self.other.array, indices.take(seen, axis=1))
        similarity, pull = self._information(self.classes.take(seen), values)
        forces = (into[:3, :3].T @ gradients) * pull
        arms = moved.take(seen, axis=1) - self.pivot_mm(matrix)[:, None]
        torque = np.cross(arms, forces, axis=0).sum(axis=1) / HEAD_RADIUS_MM
        return Slope(similarity=similarity, uphill=np.concatenate([torque, forces.sum(axis=1)]))

    def pivot_mm(self, matrix: Affine) -> Affine:
        """Middle of the points in the other series, (3,): turns about it leave shifts alone."""
        pivot: Affine = matrix[:3, :3] @ self.points_mm.mean(axis=1) + matrix[:3, 3]
        return pivot

    def _information(self, classes: Array, values: Array) -> tuple[float, Array]:
        """Mutual information and its derivative by each value, (n,)."""
        levels = (values - self.lowest) * self.scale + 1.0
        whole = np.clip(levels.astype(np.intp), 1, BINS - 3)
        weights, slopes = _windows((levels - whole).astype(np.float32))
        cells = [classes * BINS + (whole - 1 + k) for k in range(4)]
        counts = np.zeros(BINS * BINS)
        for cell, weight in zip(cells, weights, strict=True):
            counts += np.bincount(cell, weights=weight, minlength=BINS * BINS)
        joint = np.maximum(counts.reshape(BINS, BINS) / classes.size, 1e-12)
        ratio = np.log(joint / joint.sum(axis=0))
        similarity = float((joint * (ratio - np.log(joint.sum(axis=1, keepdims=True)))).sum())
        flat, pull = ratio.ravel().astype(np.float32), np.zeros(classes.size, dtype=np.float32)
        for cell, slope in zip(cells, slopes, strict=True):
            pull += flat.take(cell) * slope
        return similarity, pull * np.float32(self.scale / classes.size)


def climb(
    comparison: Comparison, start: Affine, *, first_step_mm: float, last_step_mm: float
) -> Affine:
    """Return the position, (4, 4), from which no step longer than last_step_mm leads higher.

    No step is longer than twice first_step_mm. A mirroring start stays mirroring.
    """
    matrix, here = start, comparison.slope(start)
    bend = _first_bend(here, first_step_mm)
    for _ in range(MOST_STEPS):
        step = bend @ here.uphill
        length = float(np.linalg.norm(step))
        step *= min(1.0, 2.0 * first_step_mm / max(length, 1e-12))
        if min(length, 2.0 * first_step_mm) < last_step_mm:
            break
        taken = _tried(comparison, matrix, here, step)
        if taken is None:
            break
        share, matrix, there = taken
        bend = _bent(bend, share * step, here.uphill - there.uphill)
        here = there
    return matrix


def _tried(
    comparison: Comparison, matrix: Affine, here: Slope, step: Affine
) -> tuple[float, Affine, Slope] | None:
    """Take the step or a part of it: (part, position, slope there); None when none gains."""
    pivot, part = comparison.pivot_mm(matrix), 1.0
    for _ in range(MOST_TRIALS):
        moved = _twist(part * step, pivot) @ matrix
        there = comparison.slope(moved)
        promised = part * float(here.uphill @ step)
        if there.similarity > here.similarity + LEAST_GAIN * promised:
            return part, moved, there
        part *= SHORTER
    return None


def _first_bend(here: Slope, first_step_mm: float) -> Affine:
    return np.eye(6) * first_step_mm / max(float(np.linalg.norm(here.uphill)), 1e-12)


def _bent(bend: Affine, step: Affine, fall: Affine) -> Affine:
    """BFGS update of the inverse curvature; left alone where the ground is not convex."""
    both = float(step @ fall)
    if both <= 1e-3 * float(np.linalg.norm(step) * np.linalg.norm(fall)):
        return bend
    side = np.eye(6) - np.outer(step, fall) / both
    updated: Affine = side @ bend @ side.T + np.outer(step, step) / both
    return updated


def _twist(step: Affine, pivot_mm: Affine) -> Affine:
    """Rigid movement, (4, 4), of a step in mm: a turn about the pivot and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(step[:3] / HEAD_RADIUS_MM).as_matrix()
    matrix[:3, 3] = pivot_mm + step[3:] - matrix[:3, :3] @ pivot_mm
    return matrix


def _windows(fraction: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Cubic B-spline weights of the four nearest grey levels, and their derivatives."""
    t, t2 = fraction, fraction * fraction
    t3 = t2 * t
    weights = (
        (1 - 3 * t + 3 * t2 - t3) / 6,
        (4 - 6 * t2 + 3 * t3) / 6,
        (1 + 3 * t + 3 * t2 - 3 * t3) / 6,
        t3 / 6,
    )
    slopes = ((2 * t - 1 - t2) / 2, (3 * t2 - 4 * t) / 2, (1 + 2 * t - 3 * t2) / 2, t2 / 2)
    return weights, slopes


def _interpolated(array: Array, indices: Affine) -> tuple[Array, Array]:
    """Linear values, (n,), and their derivatives by the three indices, (3, n)."""
    flat, (_, rows, columns) = array.ravel(), array.shape
    whole = indices.astype(np.intp)
    z, y, x = (indices - whole).astype(np.float32)
    first = (whole[0] * rows + whole[1]) * columns + whole[2]
    # Values at the corners of the cell, then along columns, rows and slices.
    corners = [flat.take(first + dz + dy) for dz in (0, rows * columns) for dy in (0, columns)]
    rises = [
        flat.take(first + (dz + dy + 1)) - corner
        for corner, (dz, dy) in zip(
            corners, [(a, b) for a in (0, rows * columns) for b in (0, columns)], strict=True
        )
    ]
    edges = [corner + x * rise for corner, rise in zip(corners, rises, strict=True)]
    near, far = edges[1] - edges[0], edges[3] - edges[2]
    low, high = edges[0] + y * near, edges[2] + y * far
    by_column = [rises[0] + y * (rises[1] - rises[0]), rises[2] + y * (rises[3] - rises[2])]
    slopes = np.stack(
        [high - low, near + z * (far - near), by_column[0] + z * (by_column[1] - by_column[0])]
    )
    return low + z * (high - low), slopes
