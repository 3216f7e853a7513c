"""Left and right: whether a series shows the head of the reference or its mirror image.

A head is nearly symmetric, so a mirrored series registers almost as well as a right one. What
tells them apart are folds, vessels, ventricles and the tumour. So the series is aligned a second
time as its own mirror image, and the two similarities inside the head are compared.
"""

from collections.abc import Mapping
from itertools import product
from typing import Final

import numpy as np

from node.domain.errors import MirroredSeries
from node.imaging.climb import LEAST_SEEN
from node.imaging.scene import SURVEY_POINTS, Scene, apply, climb_at, compare
from node.imaging.similarity import mutual_information, values_at
from node.imaging.volume import Affine

SIDE_POINTS: Final = 60_000

FEWEST_INNER_ML: Final = 200.0
"""Of the head, without which no side is judged."""

TILTS_DEG: Final = (-20.0, -10.0, 0.0, 10.0, 20.0)
"""Turns of the plane of symmetry, about the patient's long and sagittal axis, that are tried."""

CLEAR: Final = 0.2
"""Relative difference of similarity from which on a side is sure; see decision 17."""


def sidedness(scene: Scene, matrix: Affine) -> float | None:
    """Return how much better the series fits than its mirror image, -1 to 1.

    matrix: the registration, point of the reference -> point of the moving series.
    The difference of mutual information inside the head over the larger of both: positive
    for a series as it should be, negative for a mirrored one, about 0 for one that shows
    another head. None when too little of the inside of the head is seen.
    """
    sampled = scene.sampled
    inner_ml = len(sampled.inner_voxels) * sampled.head.grid.voxel_mm3 / 1000.0
    if inner_ml < FEWEST_INNER_ML:
        return None
    own = scene.inward(matrix)
    mirrored = _best_mirror(scene, own)
    for level in range(len(scene.comparisons)):
        mirrored = climb_at(scene.comparisons, level, mirrored)
    points = sampled.on_slices(sampled.points_in_head(SIDE_POINTS, inner=True), -1)
    values, _ = values_at(sampled.levels[-1], points)
    similarities = []
    for candidate in (own, mirrored):
        others, seen = values_at(scene.other.levels[-1], apply(candidate, points))
        if float(seen.mean()) < LEAST_SEEN:
            return None
        similarities.append(mutual_information(values[seen], others[seen]))
    return (similarities[0] - similarities[1]) / max(*similarities, 1e-6)


def check_sides(sides: Mapping[str, float | None]) -> None:
    """Raise MirroredSeries when a series is clearly mirrored against the reference.

    sides: the sidedness of each registered series by its name in a sentence. When all of
    several are mirrored, the reference itself may be the one, and the error says so.
    """
    judged = {name: side for name, side in sides.items() if side is not None}
    mirrored = [name for name, side in judged.items() if side <= -CLEAR]
    if not mirrored:
        return
    names = " and ".join(mirrored)
    if len(mirrored) < len(judged):
        which = f"so left and right are exchanged in {names}"
    elif len(mirrored) > 1:
        which = "all of them, so the reference itself may be the mirrored one"
    else:
        which = "so one of the two is mirrored; which one is not known"
    raise MirroredSeries(
        f"The mirror image of {names} fits the reference far better than what was sent, {which}. "
        "It may also be of another patient."
    )


def _best_mirror(scene: Scene, own: Affine) -> Affine:
    """Inward matrix that mirrors the sampled series at about its plane of symmetry."""
    middle_mm = scene.head_mm.mean(axis=0) if not scene.swapped else _middle_mm(scene)
    rough = compare(scene.sampled, scene.other, 0, SURVEY_POINTS)
    starts = [own @ _reflection(tilt, middle_mm) for tilt in product(TILTS_DEG, repeat=2)]
    scores = [rough.slope(start).similarity for start in starts]
    return starts[int(np.argmax(scores))]


def _middle_mm(scene: Scene) -> Affine:
    sampled = scene.sampled
    middle: Affine = sampled.head.grid.positions_mm(sampled.head_voxels).mean(axis=0)
    return middle


def _reflection(tilt_deg: tuple[float, ...], middle_mm: Affine) -> Affine:
    """Reflection, (4, 4) LPS, at a plane through a point that is sagittal but for two turns."""
    about_z, about_y = np.deg2rad(tilt_deg)
    normal = np.array(
        [np.cos(about_z) * np.cos(about_y), np.sin(about_z) * np.cos(about_y), np.sin(about_y)]
    )
    matrix = np.eye(4)
    matrix[:3, :3] -= 2.0 * np.outer(normal, normal)
    matrix[:3, 3] = 2.0 * normal * float(normal @ middle_mm)
    return matrix
