"""Whether a study is all here: a function from evidence and rules to an explained decision.

No image says that it is the last one, so a study is complete when every required role of a
rule has a usable series and nothing has come for the rule's quiet period. Where the modality
tells of its work (MPPS), the study need not be quiet once all that it listed is here, and is
waited for, until it would be given up, while the modality has more to send.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.domain.errors import RoleMissing, RuleInvalid
from node.domain.ids import SeriesInstanceUID
from node.domain.states import RevisionState
from node.domain.study import (
    CompletionDecision,
    Evidence,
    Reason,
    RoleChoice,
    RoleDecision,
    SeriesFacts,
)
from node.rules.grammar import Rule
from node.rules.roles import applies, decide
from node.studies.steps import Testimony, Word, weigh

OK: Final = "ok"

CLOCK_TOLERANCE_S: Final = 0.001
"""Times are kept in microseconds; a look that comes at the limit counts as after it."""

LOOK_WITHOUT_RULES_S: Final = 60.0
"""Rules are mended while the node runs, so a study is not given up for want of them."""

CANDIDATES_NAMED: Final = 3
"""How many series are named for a missing role; the decision keeps all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A study under one rule that wants it."""

    rule: Rule
    roles: RoleDecision
    evidence: Evidence
    testimony: Testimony

    @property
    def limit_s(self) -> float:
        """Seconds of quiet until the next thing is decided."""
        completion = self.rule.completion
        if self.roles.missing or self.testimony.word is Word.MORE_TO_COME:
            return completion.give_up_s
        return 0.0 if self.testimony.word is Word.ALL_HERE else completion.quiet_s

    @property
    def is_due(self) -> bool:
        """Whether nothing came for so long that this view decides."""
        return self.evidence.quiet_s + CLOCK_TOLERANCE_S >= self.limit_s


def judge(evidence: Evidence, rules: Sequence[Rule]) -> CompletionDecision:
    """Decide about a study: COMPLETE, WAITING, NOT_ELIGIBLE or GAVE_UP, with the evidence.

    Of several rules that want the study, the first that is complete takes it; it is given up
    only when each of them gives it up. Series that no role wants have no say.
    """
    testimony = weigh(evidence)
    if not rules:
        return _without_rules(evidence, testimony)
    wanted = [(rule, applies(rule, evidence.series)) for rule in rules]
    views = [
        _View(
            rule=rule,
            roles=decide(rule, evidence.series),
            evidence=evidence,
            testimony=testimony,
        )
        for rule, why in wanted
        if why.code == OK
    ]
    if not views:
        return _not_wanted(evidence, testimony, wanted)
    complete = next((v for v in views if v.is_due and not v.roles.missing), None)
    if complete is not None:
        return _complete(complete)
    waiting = [v for v in views if not v.is_due]
    return _wait(waiting) if waiting else _give_up(views[0])


def _without_rules(evidence: Evidence, testimony: Testimony) -> CompletionDecision:
    return CompletionDecision(
        state=RevisionState.WAITING,
        reason=Reason(code=RuleInvalid.code, text="no rule is in force, so nothing is analysed"),
        evidence=(
            _quiet(evidence.quiet_s),
            *testimony.sentences,
            *_series_in_words(evidence),
        ),
        look_again_s=LOOK_WITHOUT_RULES_S,
    )


def _not_wanted(
    evidence: Evidence, testimony: Testimony, refusals: Sequence[tuple[Rule, Reason]]
) -> CompletionDecision:
    """Wait as long as any rule would, then say that none wants the study."""
    limit = max(rule.completion.quiet_s for rule, _ in refusals)
    sentences = (
        _quiet(evidence.quiet_s, limit),
        *testimony.sentences,
        *(f"rule {rule.name}: {why.text}" for rule, why in refusals),
        *_series_in_words(evidence),
    )
    if evidence.quiet_s + CLOCK_TOLERANCE_S < limit:
        return CompletionDecision(
            state=RevisionState.WAITING,
            reason=Reason(code=OK, text=f"images may still come: {sentences[0]}"),
            evidence=sentences,
            look_again_s=limit - evidence.quiet_s,
        )
    rule, why = refusals[0]
    others = f" (and no other of {len(refusals)} rules wants it)" if len(refusals) > 1 else ""
    return CompletionDecision(
        state=RevisionState.NOT_ELIGIBLE,
        reason=Reason(code=why.code, text=f"not for rule {rule.name}: {why.text}{others}"),
        evidence=sentences,
    )


def _complete(view: _View) -> CompletionDecision:
    quiet, word = _quiet(view.evidence.quiet_s, view.limit_s), view.testimony
    why = word.text if word.word is Word.ALL_HERE else quiet
    if word.word is Word.MORE_TO_COME:
        why = f"{quiet}, and no longer waited for: {word.text}"
    return CompletionDecision(
        state=RevisionState.COMPLETE,
        reason=Reason(code=OK, text=f"every required role has a series; {why}"),
        evidence=_sentences(view),
        roles=view.roles,
    )


def _wait(views: Sequence[_View]) -> CompletionDecision:
    """Wait for the view that will decide first."""
    first = min(views, key=lambda v: v.limit_s)
    sentences = _sentences(first)
    missing = _missing(first)
    if missing:
        reason = Reason(code=_telling_code(missing), text=f"waits for {_in_words(missing)}")
    elif first.testimony.word is Word.MORE_TO_COME:
        reason = Reason(code=OK, text=f"images are still to come: {first.testimony.text}")
    else:
        reason = Reason(code=OK, text=f"images may still come: {sentences[0]}")
    return CompletionDecision(
        state=RevisionState.WAITING,
        reason=reason,
        evidence=sentences,
        roles=first.roles,
        look_again_s=max(0.0, first.limit_s - first.evidence.quiet_s),
    )


def _give_up(view: _View) -> CompletionDecision:
    missing = _missing(view)
    return CompletionDecision(
        state=RevisionState.GAVE_UP,
        reason=Reason(code=_telling_code(missing), text=f"missing: {_in_words(missing)}"),
        evidence=_sentences(view),
        roles=view.roles,
    )


def _missing(view: _View) -> list[RoleChoice]:
    return [c for c in view.roles.choices if c.role in view.roles.missing]


def _telling_code(missing: Sequence[RoleChoice]) -> str:
    """Return the code of what an administrator can mend: a damaged series before none."""
    damaged = [c.reason.code for c in missing if c.reason.code != RoleMissing.code]
    return damaged[0] if damaged else RoleMissing.code


def _in_words(missing: Sequence[RoleChoice]) -> str:
    return "; ".join(_why_missing(choice) for choice in missing)


def _why_missing(choice: RoleChoice) -> str:
    """Say why a role has no series; the best candidates are named by number only."""
    text = f"{choice.role}: {choice.reason.text}"
    if choice.reason.code != RoleMissing.code:
        return text
    named = [
        f"series {_number(c.series_number)}: {c.reasons[-1]}"
        for c in choice.candidates[:CANDIDATES_NAMED]
        if c.reasons
    ]
    return f"{text} ({', '.join(named)})" if named else text


def _sentences(view: _View) -> tuple[str, ...]:
    """Return what was weighed, in order: quiet, the modality's word, rule, each role."""
    facts = {s.header.series_instance_uid: s for s in view.evidence.series}
    return (
        _quiet(view.evidence.quiet_s, view.limit_s or None),
        *view.testimony.sentences,
        f"rule {view.rule.name} wants the study",
        *(_role_in_words(choice, view, facts) for choice in view.roles.choices),
    )


def _role_in_words(
    choice: RoleChoice, view: _View, facts: dict[SeriesInstanceUID, SeriesFacts]
) -> str:
    if choice.chosen is None:
        need = "missing" if choice.role in view.roles.required else "not needed and not there"
        return f"{choice.role}: {need}: {choice.reason.text}"
    return f"{choice.role}: {_series_sentence(facts[choice.chosen])}"


def _series_in_words(evidence: Evidence) -> tuple[str, ...]:
    return tuple(_series_sentence(series) for series in evidence.series)


def _series_sentence(series: SeriesFacts) -> str:
    header, stack = series.header, series.stack
    name = f"series {_number(header.series_number)} '{header.series_description}'"
    if stack.problem is not None:
        return f"{name}: {series.instances} instances: {stack.problem.text}"
    return f"{name}: {stack.slices} slices without gap"


def _number(series_number: int | None) -> str:
    return "without number" if series_number is None else str(series_number)


def _quiet(quiet_s: float, limit_s: float | None = None) -> str:
    """Say how long nothing came; rounded down, so that it never claims more than was."""
    quiet = math.floor(quiet_s + CLOCK_TOLERANCE_S)
    text = f"quiet for {quiet} s"
    return text if limit_s is None else f"{text}, limit {limit_s:g} s"
