"""How one series stands for one role: points and sentences, or why it cannot take it.

Three voices are weighed: what the description says, what the physics say, and what is known
about contrast agent. Physics outrank the description: a series whose echo and repetition times
cannot be a role's never takes it, and a description whose every claim is so refuted counts as
silent. A description alone may name a series when the header has no physics; physics alone may
when they are typical enough (`alone` in the rule).

A series belongs to the one role that it fits best: if it is not chosen there, it is not moved to
another, because a wrong series in a role is worse than a missing one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from node.domain.ids import SeriesInstanceUID
from node.domain.regions import Role
from node.domain.study import Reason, SeriesFacts
from node.rules.conditions import Series, Verdict, judge, judge_words, look_at
from node.rules.contrast import (
    Contrast,
    ContrastFacts,
    Injections,
    acquired_at,
    contrast_of,
    injections_of,
)
from node.rules.grammar import RoleRule, Rule
from node.rules.patterns import hits

BY_TIME_ONLY: Final = -30.0
"""Points for a series that counts as after contrast only because it was made later than one."""


class Fit(Enum):
    """What the physics say about a role, the more the higher."""

    TYPICAL = 3  # so typical that no description is needed
    FITS = 2
    OPEN = 1  # the header has too few values to tell
    FAILS = 0


class Voice(Enum):
    """What the description says about a role."""

    SAYS = "says"
    SILENT = "silent"
    DENIES = "denies"
    REFUTED = "refuted"  # it names other roles, and the physics exclude all of them


_AGREE = (100.0, "description and physics agree ({why})")
_UNLIKE = "the description does not say so, and the physics are not typical enough"

WEIGHTS: Final[Mapping[tuple[Voice, Fit], tuple[float | None, str]]] = MappingProxyType(
    {
        (Voice.SAYS, Fit.TYPICAL): _AGREE,
        (Voice.SAYS, Fit.FITS): _AGREE,
        (Voice.SAYS, Fit.OPEN): (80.0, "the description says so; the header has too few values"),
        (Voice.SAYS, Fit.FAILS): (None, "the description says so, but the physics do not fit"),
        (Voice.SILENT, Fit.TYPICAL): (60.0, "the physics say so ({why}); the description nothing"),
        (Voice.SILENT, Fit.FITS): (None, _UNLIKE),
        (Voice.SILENT, Fit.OPEN): (None, _UNLIKE),
        (Voice.SILENT, Fit.FAILS): (None, "the physics do not fit"),
        (Voice.DENIES, Fit.TYPICAL): (None, "the description denies it"),
        (Voice.DENIES, Fit.FITS): (None, "the description denies it"),
        (Voice.DENIES, Fit.OPEN): (None, "the description denies it"),
        (Voice.DENIES, Fit.FAILS): (None, "the physics do not fit"),
        (Voice.REFUTED, Fit.TYPICAL): (40.0, "the physics ({why}) refute the description"),
        (Voice.REFUTED, Fit.FITS): (None, _UNLIKE),
        (Voice.REFUTED, Fit.OPEN): (None, _UNLIKE),
        (Voice.REFUTED, Fit.FAILS): (None, "the physics do not fit"),
    }
)
"""Points (None: cannot take the role) and sentence for each pair of voices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one series stands for one role; points is None when it cannot take it."""

    series: Series
    points: float | None
    reasons: tuple[str, ...]

    @property
    def uid(self) -> SeriesInstanceUID:
        """The series' identifier."""
        return self.series.header.series_instance_uid

    @property
    def problem(self) -> Reason | None:
        """What is wrong with the geometry of its slices, if anything."""
        return self.series.facts.stack.problem

    def barred(self, because: str) -> "Standing":
        """Return the standing of a series that cannot take the role after all."""
        return Standing(series=self.series, points=None, reasons=(*self.reasons, because))

    def plus(self, points: float, because: str) -> "Standing":
        """Return the standing with points added and the reason for them."""
        sign = f" ({points:+g})" if points else ""
        return Standing(
            series=self.series,
            points=(self.points or 0.0) + points,
            reasons=(*self.reasons, because + sign),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """What is known about all series before any role is asked for."""

    open: tuple[Series, ...]
    barred: tuple[Standing, ...]
    contrast: Mapping[SeriesInstanceUID, ContrastFacts]
    injections: Injections


def stand(rule: Rule, series: Sequence[SeriesFacts]) -> dict[Role, list[Standing]]:
    """Return how every series stands for each role of the rule, in no particular order."""
    study = _look(rule, series)
    by_series = [_roles_of(rule, one, study) for one in study.open]
    return {role: [roles[role] for roles in by_series] + list(study.barred) for role in rule.roles}


def _look(rule: Rule, series: Sequence[SeriesFacts]) -> _Study:
    seen = [look_at(facts) for facts in series]
    barred, may = [], []
    for one in seen:
        why_never = _never(rule, one)
        if why_never:
            barred.append(Standing(series=one, points=None, reasons=(why_never,)))
        else:
            may.append(one)
    contrast = {one.header.series_instance_uid: contrast_of(one, rule.contrast) for one in may}
    marked = [
        one
        for one in may
        if contrast[one.header.series_instance_uid].verdict is Contrast.GIVEN
        and any(_fit(asked, one)[0] is not Fit.FAILS for asked in rule.roles.values())
    ]
    return _Study(
        open=tuple(may),
        barred=tuple(barred),
        contrast=contrast,
        injections=injections_of(marked, seen, rule.contrast),
    )


def _never(rule: Rule, series: Series) -> str:
    """Return why a series takes no role whatever, or an empty text."""
    if series.header.modality not in rule.applies_to.modality:
        return f"the modality is not {' or '.join(rule.applies_to.modality)}"
    for clause in rule.never:
        if judge(clause, series) is Verdict.HOLDS:
            return f"never taken: {clause.why}"
    return ""


def _fit(asked: RoleRule, series: Series) -> tuple[Fit, str]:
    """Return how the physics fit a role and the name of the way in which they do."""
    best, why = Fit.FAILS, ""
    for physics in asked.physics:
        verdict = judge(physics, series)
        fit = Fit.OPEN
        if verdict is Verdict.HOLDS:
            fit = Fit.TYPICAL if physics.alone else Fit.FITS
        if verdict is not Verdict.FAILS and fit.value > best.value:
            best, why = fit, physics.why
    return best, why


def _roles_of(rule: Rule, series: Series, study: _Study) -> dict[Role, Standing]:
    """Judge one series for every role, and leave it only the one that it fits best."""
    said = {
        role: judge_words(asked.description, series.description) is Verdict.HOLDS
        for role, asked in rule.roles.items()
    }
    fits = {role: _fit(asked, series) for role, asked in rule.roles.items()}
    named = [role for role, is_said in said.items() if is_said]
    refuted = bool(named) and all(fits[role][0] is Fit.FAILS for role in named)
    standings = {}
    for role, asked in rule.roles.items():
        voice = Voice.SAYS if said[role] else _silence(asked, series, refuted=refuted)
        fit, why = fits[role]
        points, sentence = WEIGHTS[voice, fit]
        standing = Standing(series=series, points=points, reasons=(sentence.format(why=why),))
        standings[role] = _with_contrast(rule, role, standing, study)
    return _only_the_best(rule, standings)


def _silence(asked: RoleRule, series: Series, *, refuted: bool) -> Voice:
    """Return what a description means for a role that it does not name."""
    if refuted:
        return Voice.REFUTED
    denied = hits(asked.description.none_of, series.description)
    return Voice.DENIES if denied else Voice.SILENT


def _with_contrast(rule: Rule, role: Role, standing: Standing, study: _Study) -> Standing:
    """Add what is known about contrast agent, and the preferences."""
    if standing.points is None:
        return standing
    asked = rule.roles[role]
    if asked.contrast != "any":
        standing = _judge_contrast(rule, standing, study, required=asked.contrast == "required")
    if standing.points is None:
        return standing
    for preference in asked.prefer:
        if judge(preference, standing.series) is Verdict.HOLDS:
            standing = standing.plus(preference.points, preference.why)
    return standing


def _judge_contrast(rule: Rule, standing: Standing, study: _Study, *, required: bool) -> Standing:
    facts = study.contrast[standing.uid]
    if facts.verdict is Contrast.UNSAID:
        hint = _after_by_time(rule, standing.series, study)
        if hint:
            return standing.plus(BY_TIME_ONLY, hint) if required else standing.barred(hint)
    fitting = {Contrast.GIVEN} if required else {Contrast.NOT_GIVEN, Contrast.UNSAID}
    if facts.verdict in fitting:
        return standing.plus(0.0, facts.because)
    return standing.barred(facts.because)


def _after_by_time(rule: Rule, series: Series, study: _Study) -> str:
    """Return a sentence when an unmarked series must have been acquired after contrast.

    A series marked "after contrast" that is older settles it: the agent does not leave the body
    within the hour. An older perfusion series settles it only when another series of the same
    kind lies before it, because perfusion without agent exists (arterial spin labelling).
    """
    moment = acquired_at(series.header)
    if study.injections.marked_before(moment):
        return "acquired after a series that was made after contrast"
    if not study.injections.bolus_before(moment):
        return ""
    first = min(study.injections.bolus)
    for other in study.open:
        time = acquired_at(other.header)
        if time is not None and time < first and _same_kind(rule, series, other):
            return "acquired after perfusion; a series of the same kind was acquired before it"
    return ""


def _same_kind(rule: Rule, one: Series, other: Series) -> bool:
    """Return whether two series fit the physics of a contrast-dependent role in the same way."""
    asked = [role for role in rule.roles.values() if role.contrast != "any"]
    fits = [(_fit(role, one), _fit(role, other)) for role in asked]
    return any(a == b and a[0].value >= Fit.FITS.value for a, b in fits)


def _only_the_best(rule: Rule, standings: dict[Role, Standing]) -> dict[Role, Standing]:
    """Bar a series from every role but the one it fits best; from all if two are equal."""
    points = {role: one.points for role, one in standings.items() if one.points is not None}
    if len(points) < 2:
        return standings
    most = max(points.values())
    best = [role for role in rule.roles if points.get(role) == most]
    kept = best[0] if len(best) == 1 else None
    because = f"fits {kept} better" if kept else f"fits {' and '.join(best)} equally"
    return {
        role: one.barred(because) if role in points and role is not kept else one
        for role, one in standings.items()
    }
