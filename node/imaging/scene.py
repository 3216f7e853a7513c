"""Two series, held against each other: how well a position fits, and where the best one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from node.imaging.climb import LEAST_SEEN, Comparison, climb
from node.imaging.pyramid import Pyramid
from node.imaging.similarity import mutual_information, values_at
from node.imaging.volume import Affine, Array

LEAST_OVERLAP: Final = 0.3
"""Share of the head that both series must show."""

LEAST_SIMILARITY: Final = 0.05
"""Mutual information, nats, below which two series have nothing to do with each other."""

THICKER: Final = 1.2
"""From this ratio of slice distances on, the points lie in the series of thicker slices."""

POINTS: Final = (20_000, 40_000, 50_000)
"""Points at which the levels are compared, coarse to fine."""

FIRST_STEP_MM: Final = (1.5, 1.5, 1.0)
LAST_STEP_MM: Final = (0.05, 0.03, 0.01)
"""Of the climb at each level."""

SURVEY_POINTS: Final = 4_000
HEAD_POINTS: Final = 5_000
JUDGED_POINTS: Final = 60_000
"""Points at which positions are judged; not those that are climbed with."""

TURNS_DEG: Final = (-15.0, 0.0, 15.0)
"""Turns about each axis from which a lost head is looked for."""

HALF_TURNS: Final = ((0.0, 0.0, 0.0), (180.0, 0.0, 0.0), (0.0, 180.0, 0.0), (0.0, 0.0, 180.0))
"""A wrong patient position (prone, feet first) turns the whole head about one axis."""

BEST_NEAR: Final = 6
BEST_TURNED: Final = 3
"""Of a survey: so many are climbed from, without and with a half turn."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Position:
    """A position and how well it fits.

    matrix: (4, 4), LPS mm, point in the reference -> point in the moving series.
    metric: mutual information, nats. overlap: share of the reference's head that the moving
    series shows. moved_mm: largest displacement inside the head.
    """

    matrix: Affine
    metric: float
    overlap: float
    moved_mm: float

    @property
    def fit(self) -> float:
        """Similarity of a position that shows enough of the head, else 0."""
        return self.metric if self.overlap >= LEAST_OVERLAP else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Two series, ready to be compared and aligned.

    Values are compared at points of the series with thicker slices, where its own values
    are exact and only the finer series is interpolated.
    swapped: that is the moving series. comparisons: coarse to fine, from the one with the
    points to the other; matrices between these two are called inward.
    head_mm: points in the head of the reference.
    """

    fixed: Pyramid
    moving: Pyramid
    swapped: bool
    comparisons: tuple[Comparison, ...]
    head_mm: Affine
    judged_mm: Affine
    judged: Array

    @classmethod
    def of(cls, *, moving: Pyramid, fixed: Pyramid) -> "Scene":
        """Choose the points of comparison at every level."""
        swapped = max(moving.grid.spacing_mm) > THICKER * max(fixed.grid.spacing_mm)
        sampled, other = (moving, fixed) if swapped else (fixed, moving)
        judged_mm = sampled.points_in_head(JUDGED_POINTS)
        return cls(
            fixed=fixed,
            moving=moving,
            swapped=swapped,
            comparisons=tuple(
                compare(sampled, other, level, number) for level, number in enumerate(POINTS)
            ),
            head_mm=fixed.points_in_head(HEAD_POINTS),
            judged_mm=judged_mm,
            judged=values_at(sampled.levels[-1], judged_mm)[0],
        )

    @property
    def sampled(self) -> Pyramid:
        """The series in which the points lie."""
        return self.moving if self.swapped else self.fixed

    @property
    def other(self) -> Pyramid:
        """The series that is interpolated."""
        return self.fixed if self.swapped else self.moving

    def inward(self, matrix: Affine) -> Affine:
        """Matrix between the series as the comparisons have it, from one as the result has it.

        The same function leads back.
        """
        return inverse(matrix) if self.swapped else matrix

    def judge(self, matrix: Affine) -> Position:
        """Judge a position at points that no climb has used."""
        moved = apply(matrix, self.head_mm)
        others, both = values_at(self.other.levels[-1], apply(self.inward(matrix), self.judged_mm))
        seen = float(both.mean()) >= LEAST_SEEN
        return Position(
            matrix=matrix,
            metric=mutual_information(self.judged[both], others[both]) if seen else 0.0,
            overlap=self._overlap(matrix),
            moved_mm=float(np.linalg.norm(moved - self.head_mm, axis=1).max()),
        )

    def align(self, starts: Sequence[Affine]) -> Position:
        """Climb from each start, coarse to fine; the finest level only from the best of them.

        The middle level tells which is best: the right one has twice the similarity of the
        wrong ones there, while at the coarsest some wrong ones have as much.
        """
        coarsest, middle, finest = range(len(POINTS))
        climbed = [self._climbed(middle, self._climbed(coarsest, start)) for start in starts]
        best = max(climbed, key=self._middle_fit) if len(climbed) > 1 else climbed[0]
        return self.judge(self._climbed(finest, best))

    def centred(self) -> tuple[Affine, ...]:
        """Header's geometry, centre of the field of view and of the head on each other."""
        middles = [
            series.grid.positions_mm((np.array(series.grid.shape) - 1) / 2)
            for series in (self.fixed, self.moving)
        ]
        heads = [
            series.head.grid.positions_mm(series.head_voxels).mean(axis=0)
            for series in (self.fixed, self.moving)
        ]
        return (np.eye(4), _shift(middles[1] - middles[0]), _shift(heads[1] - heads[0]))

    def survey(self) -> tuple[Affine, ...]:
        """Best starts when those of centred lead nowhere: with turns, and with half turns."""
        middle_mm = self.head_mm.mean(axis=0)
        rough = compare(self.sampled, self.other, 0, SURVEY_POINTS)
        best: list[Affine] = []
        for halves, number in ((HALF_TURNS[:1], BEST_NEAR), (HALF_TURNS[1:], BEST_TURNED)):
            starts = [
                shift @ _turn(half, middle_mm) @ _turn(angles, middle_mm)
                for shift in self.centred()
                for half in halves
                for angles in product(TURNS_DEG, repeat=3)
            ]
            scores = [rough.slope(self.inward(start)).similarity for start in starts]
            best += [starts[index] for index in np.argsort(scores)[::-1][:number]]
        return tuple(best)

    def _middle_fit(self, matrix: Affine) -> float:
        """Similarity at the middle level; 0 where too little of the head is seen."""
        if self._overlap(matrix) < LEAST_OVERLAP:
            return 0.0
        return self.comparisons[1].slope(self.inward(matrix)).similarity

    def _overlap(self, matrix: Affine) -> float:
        return float(self.moving.grid.holds(apply(matrix, self.head_mm)).mean())

    def _climbed(self, level: int, start: Affine) -> Affine:
        return self.inward(climb_at(self.comparisons, level, self.inward(start)))


def compare(sampled: Pyramid, other: Pyramid, level: int, number: int) -> Comparison:
    """Hold a level of one series against the same of another at points of its head."""
    points = sampled.on_slices(sampled.points_in_head(number), level)
    values, _ = values_at(sampled.levels[level], points)
    return Comparison.of(points, values, other.levels[level])


def climb_at(comparisons: Sequence[Comparison], level: int, start: Affine) -> Affine:
    """Climb at one level, from and to an inward matrix."""
    return climb(
        comparisons[level],
        start,
        first_step_mm=FIRST_STEP_MM[level],
        last_step_mm=LAST_STEP_MM[level],
    )


def inverse(matrix: Affine) -> Affine:
    """Return the movement back."""
    back: Affine = np.linalg.inv(matrix).astype(np.float64)
    return back


def apply(matrix: Affine, positions_mm: Affine) -> Affine:
    """Positions, (n, 3), after a movement."""
    moved: Affine = positions_mm @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def _shift(millimetres: Affine) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = millimetres
    return matrix


def _turn(angles_deg: tuple[float, ...], centre_mm: Affine) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = centre_mm - matrix[:3, :3] @ centre_mm
    return matrix
