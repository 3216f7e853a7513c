"""Rigid registration of one series to another by mutual information.

The patient may have moved between two series; inside a series it is one rigid head. The
header's geometry is the start, and stays the answer unless moving the head is clearly better.
Method: Mattes et al. 2003 (doi:10.1109/TMI.2003.809072), as in ITK, coarse to fine.
"""

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from node.domain.errors import RegistrationFailed
from node.imaging.brain import LEAST_BACKGROUND, signal_of
from node.imaging.measure import dice
from node.imaging.pyramid import SEED, LevelPair, as_volumes, pyramid
from node.imaging.similarity import head_mask, mutual_information, points_in, values_at
from node.imaging.volume import Affine, Grid, Volume

CLEARLY_BETTER: Final = 0.03
"""Relative gain of similarity below which the header's geometry is kept.

Measured on BraTS channels: 1 mm of movement costs 5 to 14 %, noise and interpolation 0.2 %.
"""

SMALL_MOVE_MM: Final = 2.0
CLEARLY_BETTER_IF_SMALL: Final = 0.1
"""A head that moved less than SMALL_MOVE_MM needs this gain: the header is worth a voxel."""

SAME_PLACE_MM: Final = 0.3
"""A head that moved less than this is left where the header puts it."""

LEAST_OVERLAP: Final = 0.3
"""Share of the head that both series must show."""

WHOLE_HEAD: Final = 0.8
"""Share of the head below which a series shows only a part of it."""

LEAST_SIMILARITY: Final = 0.05
"""Mutual information, nats, below which two series have nothing to do with each other."""

WEAK_SIMILARITY: Final = 0.15
"""Below it a registration is doubtful. Measured: right 0.4 to 1.2, 70 mm off 0.02 to 0.1."""

LEAST_SEEN: Final = 0.05
"""Share of the points below which a similarity would be chance."""

THICKER: Final = 1.2
"""From this ratio of slice distances on, the points lie in the series of thicker slices."""

SAME_MASK: Final = 0.99
"""Dice coefficient from which on two constant backgrounds are one and the same."""

HEAD_POINTS: Final = 5_000
JUDGED_POINTS: Final = 60_000
"""Points at which positions are judged; not those that the optimiser uses."""


class Gate(StrEnum):
    """How far a registration may be trusted."""

    HEADER = "header"  # the header's geometry was right and is kept
    ALIGNED = "aligned"  # the head moved, and the result is clearly better than the header
    PARTIAL = "partial"  # either of the two, but the series shows only a part of the head
    WEAK = "weak"  # the series tell little about each other: a person should look


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """Where the points of the reference lie in the moving series.

    matrix: (4, 4), LPS mm, point in the reference -> point in the moving series.
    metric: mutual information at the result, nats; start_metric: at the header's geometry.
    gate: one of Gate. overlap: share of the reference's head that the moving series shows.
    moved_mm: largest displacement inside the head.
    """

    matrix: Affine
    metric: float
    gate: str
    seconds: float
    start_metric: float = 0.0
    overlap: float = 1.0
    moved_mm: float = 0.0


def register(moving: Volume, fixed: Volume, *, same_frame: bool) -> Registration:
    """Find the rigid movement of the head between two series.

    same_frame: both have one Frame of Reference UID, so the header's geometry is the start;
    otherwise the centres of the fields of view and of the heads are tried as well.
    Raises RegistrationFailed when the series show no common part of a head.
    """
    begun = time.monotonic()
    together = _masked_together(moving, fixed)
    if together is not None:
        return replace(together, seconds=time.monotonic() - begun)
    scene = _Scene.of(moving=moving, fixed=fixed)
    header = scene.position(np.eye(4))
    trusted = same_frame and header.overlap >= LEAST_OVERLAP
    found = scene.align((np.eye(4),) if trusted else scene.guesses())
    if trusted and found.metric < WEAK_SIMILARITY:
        found = max(found, scene.align(scene.guesses()), key=lambda one: one.metric)
    if header.overlap >= LEAST_OVERLAP and not _clearly_better(found, header):
        found = header
    _check(found)
    return replace(found, start_metric=header.metric, seconds=time.monotonic() - begun)


def _clearly_better(found: Registration, header: Registration) -> bool:
    if found.moved_mm < SAME_PLACE_MM:
        return False
    small = found.moved_mm < SMALL_MOVE_MM
    needed = CLEARLY_BETTER_IF_SMALL if small else CLEARLY_BETTER
    return found.metric - header.metric > needed * header.metric


def _masked_together(moving: Volume, fixed: Volume) -> Registration | None:
    """Keep the header of two series whose backgrounds were cut out in the very same voxels.

    Whoever did that had them registered; what remains between them is not for us to judge.
    """
    if not moving.grid.matches(fixed.grid):
        return None
    signals = [signal_of(volume) for volume in (moving, fixed)]
    if max(float(signal.mean()) for signal in signals) > 1.0 - LEAST_BACKGROUND:
        return None
    if dice(*signals) < SAME_MASK:
        return None
    step = np.count_nonzero(signals[1]) // JUDGED_POINTS + 1
    values = [volume.array[signals[1]][::step] for volume in (fixed, moving)]
    metric = mutual_information(values[0], values[1])
    return Registration(
        matrix=np.eye(4), metric=metric, gate=Gate.HEADER.value, seconds=0.0, start_metric=metric
    )


def _check(found: Registration) -> None:
    if found.overlap < LEAST_OVERLAP:
        raise RegistrationFailed(
            f"The series shows {found.overlap:.0%} of the reference's head; "
            f"{LEAST_OVERLAP:.0%} are needed."
        )
    if found.metric < LEAST_SIMILARITY:
        raise RegistrationFailed(
            f"The series tells {found.metric:.2f} nats about the reference; "
            f"{LEAST_SIMILARITY:.2f} are needed."
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """Two series, ready to be compared and aligned.

    Values are compared at points of the series with thicker slices, where its own values
    are exact and only the finer series is interpolated.
    swapped: that is the moving series, so matrices are inverted on the way to the levels.
    head_mm: points in the head of the reference; centres_mm: (2, 3), of the head in the
    reference and in the moving series.
    """

    levels: tuple[LevelPair, ...]
    grids: tuple[Grid, Grid]  # of the reference and of the moving series
    swapped: bool
    head_mm: Affine
    centres_mm: Affine
    judged_mm: Affine
    finest: tuple[Volume, Volume]

    @classmethod
    def of(cls, *, moving: Volume, fixed: Volume) -> "_Scene":
        """Prepare both series at every resolution."""
        swapped = max(moving.grid.spacing_mm) > THICKER * max(fixed.grid.spacing_mm)
        levels = pyramid(moving, fixed) if swapped else pyramid(fixed, moving)
        heads = [
            points_in(mask, HEAD_POINTS, SEED)
            for mask in (levels[0].mask, head_mask(levels[0].other))
        ]
        in_fixed, in_moving = heads[::-1] if swapped else heads
        return cls(
            levels=levels,
            grids=(fixed.grid, moving.grid),
            swapped=swapped,
            head_mm=in_fixed,
            centres_mm=np.stack([in_fixed.mean(axis=0), in_moving.mean(axis=0)]),
            judged_mm=points_in(levels[-1].mask, JUDGED_POINTS, SEED),
            finest=as_volumes(levels[-1]),
        )

    def guesses(self) -> tuple[Affine, ...]:
        """Header's geometry, centre of field of view and centre of head on each other."""
        middles = [grid.positions_mm((np.array(grid.shape) - 1) / 2) for grid in self.grids]
        return (
            np.eye(4),
            _shift(middles[1] - middles[0]),
            _shift(np.diff(self.centres_mm, axis=0)[0]),
        )

    def align(self, starts: tuple[Affine, ...]) -> Registration:
        """Align from each start at the coarsest level, and from the best of them at the finer.

        Where the coarsest finds nothing in common, the finer ones would only take longer.
        """
        coarsest, *finer = self.levels
        candidates = [self.position(self._step(coarsest, start)) for start in starts]
        found = max(candidates, key=lambda c: c.metric if c.overlap >= LEAST_OVERLAP else 0.0)
        for level in finer if found.metric >= LEAST_SIMILARITY else ():
            found = self.position(self._step(level, found.matrix))
        return found

    def position(self, matrix: Affine) -> Registration:
        """Judge a position."""
        inward = _inverse(matrix) if self.swapped else matrix
        moved = _apply(matrix, self.head_mm)
        values, inside = values_at(self.finest[0], self.judged_mm)
        others, visible = values_at(self.finest[1], _apply(inward, self.judged_mm))
        both = inside & visible
        moved_mm = float(np.linalg.norm(moved - self.head_mm, axis=1).max())
        overlap = float(self.grids[1].holds(moved).mean())
        seen = float(both.mean()) >= LEAST_SEEN
        metric = mutual_information(values[both], others[both]) if seen else 0.0
        return Registration(
            matrix=matrix,
            metric=metric,
            gate=_gate(metric, overlap, moved_mm).value,
            seconds=0.0,
            overlap=overlap,
            moved_mm=moved_mm,
        )

    def _step(self, level: LevelPair, start: Affine) -> Affine:
        if self.swapped:
            return _inverse(level.align(_inverse(start)))
        return level.align(start)


def _gate(metric: float, overlap: float, moved_mm: float) -> Gate:
    if metric < WEAK_SIMILARITY:
        return Gate.WEAK
    if overlap < WHOLE_HEAD:
        return Gate.PARTIAL
    return Gate.ALIGNED if moved_mm > 0.0 else Gate.HEADER


def _shift(millimetres: Affine) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = millimetres
    return matrix


def _inverse(matrix: Affine) -> Affine:
    inverse: Affine = np.linalg.inv(matrix).astype(np.float64)
    return inverse


def _apply(matrix: Affine, positions_mm: Affine) -> Affine:
    moved: Affine = positions_mm @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
