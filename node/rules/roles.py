"""Which series takes which role: a function from a rule and headers to an explained decision."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from node.domain.errors import RoleMissing, StudyUnusable
from node.domain.regions import Role
from node.domain.study import Candidate, Reason, RoleChoice, RoleDecision, SeriesFacts
from node.rules.conditions import Verdict, judge_words
from node.rules.contrast import acquired_at
from node.rules.grammar import Rule
from node.rules.patterns import readable
from node.rules.standing import Standing, stand

OK: Final = "ok"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def decide(rule: Rule, series: Sequence[SeriesFacts]) -> RoleDecision:
    """Choose a series for every role of the rule, or say why there is none.

    The order of the series does not matter, nor do series that no role wants. A series with a
    stack problem is never chosen; if it was the best one and nothing else can take the role, the
    choice carries the code of its problem. Candidates are listed best first. Never raises on odd
    headers.
    """
    standings = stand(rule, series)
    choices = []
    for role, asked in rule.roles.items():
        rank = partial(_rank, late=asked.contrast != "forbidden")
        choices.append(_choose(role, sorted(standings[role], key=rank)))
    return RoleDecision(
        rule=rule.name, rule_sha256=rule.sha256, choices=tuple(choices), required=rule.required
    )


def applies(rule: Rule, series: Sequence[SeriesFacts]) -> Reason:
    """Say whether a study is one for this rule: code "ok", or why not.

    A study whose series look like none of the rule's marker roles (a knee, a CT) is not for it;
    one that has some of them, even damaged, is, and a missing role is then worth a message.
    """
    asked = rule.applies_to
    wanted = [one.header for one in series if one.header.modality in asked.modality]
    if not wanted:
        return _no(f"no series of modality {' or '.join(asked.modality)}")
    words = asked.study_description
    if words is not None:
        texts = {readable(header.study_description) for header in wanted}
        if all(judge_words(words, text) is Verdict.FAILS for text in texts):
            return _no("the study description is not one that this rule is for")
    markers = asked.any_of_roles or tuple(rule.roles)
    standings = stand(rule, series)
    if any(one.points is not None for role in markers for one in standings[role]):
        return Reason(code=OK, text="the study is one for this rule")
    return _no(f"no series looks like {' or '.join(markers)}")


def _no(because: str) -> Reason:
    return Reason(code=StudyUnusable.code, text=because)


def _rank(standing: Standing, *, late: bool) -> tuple[float, int, float, int, str]:
    """Order standings, best first, the same on every machine.

    Points, then more slices, then the later acquisition (a repeat is made because the first was
    bad), then the higher series number. Where agent is forbidden the earlier comes first: an
    unmarked series is the less likely to be after contrast the earlier it was made.
    """
    header = standing.series.header
    sign = -1 if late else 1
    seconds = ((acquired_at(header) or _LONG_AGO) - _LONG_AGO).total_seconds()
    return (
        float("inf") if standing.points is None else -standing.points,
        -standing.series.facts.stack.slices,
        sign * seconds,
        sign * (header.series_number or 0),
        header.series_instance_uid,
    )


def _choose(role: Role, ranked: Sequence[Standing]) -> RoleChoice:
    """Take the best usable series."""
    able = [one for one in ranked if one.points is not None]
    usable = [one for one in able if one.problem is None]
    if usable:
        chosen, reason = usable[0].uid, Reason(code=OK, text=_why_chosen(able, usable))
    else:
        chosen, reason = None, _why_none(role, able)
    candidates = tuple(_candidate(one) for one in ranked)
    return RoleChoice(role=role, chosen=chosen, reason=reason, candidates=candidates)


def _why_chosen(able: Sequence[Standing], usable: Sequence[Standing]) -> str:
    text = "the only series that can take the role"
    if len(usable) > 1:
        text = f"the best of {len(usable)} series that can take the role"
    if able[0] is not usable[0]:
        text += "; a better one cannot be used"
    return text


def _why_none(role: Role, able: Sequence[Standing]) -> Reason:
    problem = able[0].problem if able else None
    if problem is None:
        return Reason(code=RoleMissing.code, text=f"no series can take the role {role}")
    which = "the only" if len(able) == 1 else "the best"
    text = f"{which} series for {role} cannot be used: {problem.text}"
    return Reason(code=problem.code, text=text)


def _candidate(standing: Standing) -> Candidate:
    header, problem = standing.series.header, standing.problem
    points, reasons = standing.points, standing.reasons
    if points is not None and problem is not None:
        points, reasons = None, (*reasons, f"cannot be used: {problem.text}")
    return Candidate(
        series_instance_uid=header.series_instance_uid,
        series_number=header.series_number,
        series_description=header.series_description,
        score=points,
        reasons=reasons,
    )
