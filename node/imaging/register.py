"""Rigid registration of one series to another by mutual information.

The patient may have moved between two series; inside a series it is one rigid head. The
header's geometry is the start, and stays the answer unless moving the head is clearly better.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from node.domain.errors import RegistrationFailed
from node.domain.quality import Finding
from node.domain.regions import Role
from node.imaging.brain import LEAST_BACKGROUND, is_stripped, signal_of
from node.imaging.chirality import CLEAR, check_sides, sidedness
from node.imaging.measure import dice
from node.imaging.pyramid import Pyramid
from node.imaging.scene import JUDGED_POINTS, LEAST_OVERLAP, LEAST_SIMILARITY, Position, Scene
from node.imaging.similarity import mutual_information
from node.imaging.volume import Affine, Volume

CLEARLY_BETTER: Final = 0.02
"""Relative gain of similarity below which the header's geometry is kept.

Measured on phantoms: heads that did not move gain 0 to 0.4 %, 0.5 mm of movement 2 to 6 %.
"""

CLEARLY_BETTER_ELSEWHERE: Final = 0.1
"""Gain that a position far from the header's needs when that one fits as well."""

SAME_PLACE_MM: Final = 0.3
"""A head of which no point moved further is left where the header puts it."""

WHOLE_HEAD: Final = 0.8
"""Share of the head below which a series shows only a part of it."""

WEAK_SIMILARITY: Final = 0.25
"""Below it a registration is doubtful. Measured: right 0.35 to 1.2, wrong 0.02 to 0.2."""

FAR_MM: Final = 60.0
"""No patient moves so far between two series of one frame of reference."""

SERIES: Final = "The series"
REFERENCE: Final = "The reference series"

SAME_MASK: Final = 0.99
"""Dice coefficient from which on two constant backgrounds are one and the same."""


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
    moved_mm: largest displacement inside the head. sidedness: how much better the series fits
    than its mirror image, -1 to 1, None where not judged. findings: what lowers the trust.
    """

    matrix: Affine
    metric: float
    gate: str
    seconds: float
    start_metric: float = 0.0
    overlap: float = 1.0
    moved_mm: float = 0.0
    sidedness: float | None = None
    findings: tuple[Finding, ...] = ()


def register(moving: Volume, fixed: Volume, *, same_frame: bool) -> Registration:
    """Find the rigid movement of the head between two series.

    same_frame: both have one Frame of Reference UID, so the header's geometry is the start;
    otherwise the centres of the fields of view and of the heads are tried as well.
    Raises RegistrationFailed when the series show no common part of a head, MirroredSeries
    when left and right of one are exchanged.
    """
    found = _masked_together(moving, fixed)
    if found is None or not is_stripped(fixed):
        found = _register(
            moving, Pyramid.of(fixed, name=REFERENCE), same_frame=same_frame, name=SERIES
        )
    check_sides({SERIES: found.sidedness})
    return found


def register_all(
    moving: Mapping[Role, Volume],
    fixed: Volume,
    *,
    same_frame: Mapping[Role, bool],
    threads: int,
) -> dict[Role, Registration]:
    """Register several series to one reference, some at a time; the same for any threads.

    Errors and findings name the role; see register. The first failing role, in the order of
    the mapping, is the one that is raised; sides are judged together.
    """
    found = {role: _masked_together(volume, fixed) for role, volume in moving.items()}
    if any(one is not None for one in found.values()) and not is_stripped(fixed):
        found = dict.fromkeys(found)
    open_roles = [role for role, one in found.items() if one is None]
    if open_roles:
        pyramid = Pyramid.of(fixed, name=REFERENCE)
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            jobs = {
                role: pool.submit(
                    _register,
                    moving[role],
                    pyramid,
                    same_frame=same_frame[role],
                    name=f"The {role} series",
                )
                for role in open_roles
            }
        found |= {role: job.result() for role, job in jobs.items()}
    registrations = {role: one for role, one in found.items() if one is not None}
    check_sides({f"the {role} series": one.sidedness for role, one in registrations.items()})
    return registrations


def _register(moving: Volume, fixed: Pyramid, *, same_frame: bool, name: str) -> Registration:
    begun = time.monotonic()
    scene = Scene.of(moving=Pyramid.of(moving, name=name), fixed=fixed)
    header = scene.judge(np.eye(4))
    found, side = _best(scene, trusted=same_frame and header.overlap >= LEAST_OVERLAP)
    if header.overlap >= LEAST_OVERLAP and not _clearly_better(found, header):
        found = header
    _check(found, name)
    return Registration(
        matrix=found.matrix,
        metric=found.metric,
        gate=_gate(found).value,
        seconds=time.monotonic() - begun,
        start_metric=header.metric,
        overlap=found.overlap,
        moved_mm=found.moved_mm,
        sidedness=side,
        findings=_findings(found, side, name, same_frame=same_frame),
    )


def _best(scene: Scene, *, trusted: bool) -> tuple[Position, float | None]:
    """Best position and its sidedness; from many starts when the first ones lead nowhere."""
    found = scene.align(scene.centred()[: 1 if trusted else None])
    side = _side(scene, found)
    if found.fit >= WEAK_SIMILARITY and (side is None or side >= CLEAR):
        return found, side
    again = scene.align(scene.survey())
    if again.fit <= found.fit * (1.0 + CLEARLY_BETTER_ELSEWHERE):
        return found, side
    return again, _side(scene, again)


def _side(scene: Scene, found: Position) -> float | None:
    return sidedness(scene, found.matrix) if found.fit >= LEAST_SIMILARITY else None


def _clearly_better(found: Position, header: Position) -> bool:
    if found.moved_mm < SAME_PLACE_MM:
        return False
    return found.metric - header.metric > CLEARLY_BETTER * header.metric


def _masked_together(moving: Volume, fixed: Volume) -> Registration | None:
    """Keep the header of two series whose backgrounds were cut out in the very same voxels.

    Whoever did that to a brain had them registered; what remains between them is not for us
    to judge. A scanner's padding around a head says nothing: callers ask for `is_stripped`.
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


def _check(found: Position, name: str) -> None:
    if found.overlap < LEAST_OVERLAP:
        raise RegistrationFailed(
            f"{name} shows {found.overlap:.0%} of the reference's head; "
            f"{LEAST_OVERLAP:.0%} are needed."
        )
    if found.metric < LEAST_SIMILARITY:
        raise RegistrationFailed(
            f"{name} tells {found.metric:.2f} nats about the reference; "
            f"{LEAST_SIMILARITY:.2f} are needed."
        )


def _gate(found: Position) -> Gate:
    if found.metric < WEAK_SIMILARITY:
        return Gate.WEAK
    if found.overlap < WHOLE_HEAD:
        return Gate.PARTIAL
    return Gate.ALIGNED if found.moved_mm > 0.0 else Gate.HEADER


def _findings(
    found: Position, side: float | None, name: str, *, same_frame: bool
) -> tuple[Finding, ...]:
    findings = []
    if found.metric < WEAK_SIMILARITY:
        text = f"{name} resembles the reference little, so its registration may be wrong."
        findings.append(Finding(code="registration-weak", text=text))
    if found.overlap < WHOLE_HEAD:
        text = f"{name} shows only {found.overlap:.0%} of the reference's head."
        findings.append(Finding(code="head-partly-seen", text=text))
    if same_frame and found.moved_mm > FAR_MM:
        text = f"{name} lies {found.moved_mm:.0f} mm from where its header puts it."
        findings.append(Finding(code="moved-far", text=text))
    if side is not None and abs(side) < CLEAR:
        text = (
            f"{name} fits the reference hardly better than its mirror image does: it may show "
            "another head, or too little to tell left from right."
        )
        findings.append(Finding(code="side-doubtful", text=text))
    return tuple(findings)
