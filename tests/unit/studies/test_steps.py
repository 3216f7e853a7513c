"""What a modality says of its work (MPPS) counts, within limits."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.ids import AETitle, SOPInstanceUID
from node.domain.states import RevisionState, StepState
from node.domain.study import CompletionDecision, Evidence, ProcedureStep, SeriesFacts
from node.studies.completion import judge
from tests.unit.studies.world import (
    GIVE_UP_S,
    QUIET_S,
    a_rule,
    a_series,
    all_four,
    some_evidence,
    without,
)

RULE = a_rule()
S, P = RevisionState, StepState


def a_step(state: StepState, *, images: int = 80, missing: int = 0) -> ProcedureStep:
    return ProcedureStep(
        sop_instance_uid=SOPInstanceUID("1.2.3"),
        calling_ae_title=AETitle("MR1"),
        state=state,
        images=images,
        missing=missing,
    )


def evidence_with(
    *steps: ProcedureStep,
    quiet_s: float,
    series: Sequence[SeriesFacts] = all_four(),
    unlisted: int = 0,
) -> Evidence:
    return replace(some_evidence(series, quiet_s=quiet_s), steps=steps, unlisted=unlisted)


def test_when_all_that_was_listed_is_here_the_quiet_time_is_not_waited_for() -> None:
    decision = judge(evidence_with(a_step(P.COMPLETED), quiet_s=0.5), [RULE])
    assert decision.state is S.COMPLETE
    assert decision.reason.text == (
        "every required role has a series; all 80 images that MR1 listed are here"
    )
    assert decision.evidence[:2] == ("quiet for 0 s", "MR1 says COMPLETED, 80 images listed")


def test_listed_images_that_are_not_here_are_waited_for_and_counted() -> None:
    step = a_step(P.COMPLETED, missing=12)
    decision = judge(evidence_with(step, quiet_s=QUIET_S + 1), [RULE])
    assert decision.state is S.WAITING
    assert decision.reason.text == (
        "images are still to come: 12 of the 80 images that MR1 listed are not here"
    )
    assert decision.look_again_s == pytest.approx(GIVE_UP_S - QUIET_S - 1)
    assert "MR1 says COMPLETED, 80 images listed, 12 of them not here" in decision.evidence


def test_a_modality_that_is_at_work_is_waited_for() -> None:
    decision = judge(evidence_with(a_step(P.IN_PROGRESS, images=0), quiet_s=QUIET_S), [RULE])
    assert decision.state is S.WAITING
    assert decision.reason.text == "images are still to come: MR1 is still at work on the study"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (a_step(P.IN_PROGRESS, images=0), "MR1 is still at work on the study"),
        (a_step(P.COMPLETED, missing=3), "3 of the 80 images that MR1 listed are not here"),
    ],
)
def test_a_modality_is_not_waited_for_longer_than_a_study_is(
    step: ProcedureStep, words: str
) -> None:
    decision = judge(evidence_with(step, quiet_s=GIVE_UP_S), [RULE])
    assert decision.state is S.COMPLETE
    assert decision.reason.text.endswith(f"limit 600 s, and no longer waited for: {words}")


def test_a_step_that_was_discontinued_is_no_evidence() -> None:
    step = a_step(P.DISCONTINUED, missing=70)
    assert judge(evidence_with(step, quiet_s=QUIET_S - 1), [RULE]).state is S.WAITING
    decision = judge(evidence_with(step, quiet_s=QUIET_S), [RULE])
    assert decision.state is S.COMPLETE
    assert "MR1 says DISCONTINUED, 80 images listed, 70 of them not here" in decision.evidence


def test_a_step_that_lists_nothing_is_no_evidence() -> None:
    step = a_step(P.COMPLETED, images=0)
    assert judge(evidence_with(step, quiet_s=QUIET_S - 1), [RULE]).state is S.WAITING
    assert judge(evidence_with(step, quiet_s=QUIET_S), [RULE]).state is S.COMPLETE


def test_images_that_nobody_announced_bring_the_quiet_time_back() -> None:
    evidence = evidence_with(a_step(P.COMPLETED), quiet_s=1.0, unlisted=2)
    decision = judge(evidence, [RULE])
    assert (decision.state, decision.look_again_s) == (S.WAITING, QUIET_S - 1)
    assert "2 images are here that no COMPLETED step lists" in decision.evidence
    assert judge(replace(evidence, quiet_s=QUIET_S), [RULE]).state is S.COMPLETE


def test_one_step_of_several_that_goes_on_is_enough_to_wait() -> None:
    steps = (a_step(P.COMPLETED), a_step(P.IN_PROGRESS, images=0))
    assert judge(evidence_with(*steps, quiet_s=QUIET_S), [RULE]).state is S.WAITING


def test_a_role_that_is_missing_stays_the_reason_whatever_the_modality_says() -> None:
    evidence = evidence_with(a_step(P.COMPLETED), quiet_s=1.0, series=without("T2"))
    decision = judge(evidence, [RULE])
    assert (decision.state, decision.reason.code) == (S.WAITING, "role-missing")
    assert judge(replace(evidence, quiet_s=GIVE_UP_S), [RULE]).state is S.GAVE_UP


def test_the_word_of_the_modality_is_told_of_studies_that_no_rule_wants() -> None:
    knee = evidence_with(a_step(P.COMPLETED), quiet_s=QUIET_S, series=(a_series("PD", 1),))
    for rules in ([RULE], []):
        assert "MR1 says COMPLETED, 80 images listed" in judge(knee, rules).evidence


@st.composite
def steps(draw: st.DrawFn) -> ProcedureStep:
    images = draw(st.integers(0, 500))
    missing = draw(st.one_of(st.just(0), st.integers(0, images)))
    return a_step(draw(st.sampled_from(StepState)), images=images, missing=missing)


all_steps = st.lists(steps(), max_size=4).map(tuple)
some_series = st.sampled_from([all_four(), without("T2"), (a_series("PD", 1),)])
quiets = st.floats(0, 2 * GIVE_UP_S)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    return evidence_with(
        *draw(all_steps),
        quiet_s=draw(quiets),
        series=draw(some_series),
        unlisted=draw(st.sampled_from([0, 0, 5])),
    )


def is_word_that_all_is_here(evidence: Evidence) -> bool:
    ended = [s for s in evidence.steps if s.state is P.COMPLETED]
    return (
        sum(s.images for s in ended) > 0
        and all(s.missing == 0 for s in ended)
        and all(s.state is not P.IN_PROGRESS for s in evidence.steps)
        and evidence.unlisted == 0
    )


@given(evidences())
def test_nothing_is_complete_early_but_on_the_word_that_all_is_here(evidence: Evidence) -> None:
    decision = judge(evidence, [RULE])
    if decision.state is S.COMPLETE and evidence.quiet_s < QUIET_S - 0.001:
        assert is_word_that_all_is_here(evidence)


@given(evidences())
def test_no_word_makes_a_study_complete_without_its_roles(evidence: Evidence) -> None:
    decision = judge(evidence, [RULE])
    if decision.state is S.COMPLETE:
        assert decision.roles is not None
        assert decision.roles.missing == ()


@given(evidences())
def test_no_word_keeps_a_study_beyond_the_time_in_which_it_is_given_up(evidence: Evidence) -> None:
    late = replace(evidence, quiet_s=GIVE_UP_S)
    assert judge(late, [RULE]).state is not S.WAITING


@given(evidences())
def test_every_wait_names_its_end_and_comes_to_one(evidence: Evidence) -> None:
    decision, looks = judge(evidence, [RULE]), 0
    while decision.state is S.WAITING:
        assert decision.look_again_s is not None
        assert decision.look_again_s > 0
        evidence = replace(evidence, quiet_s=evidence.quiet_s + decision.look_again_s)
        decision, looks = judge(evidence, [RULE]), looks + 1
        assert looks <= 2


def _outcome(decision: CompletionDecision) -> tuple[object, ...]:
    return decision.state, decision.reason, decision.roles, decision.look_again_s


@given(evidences(), st.randoms(use_true_random=False))
def test_the_order_of_the_steps_never_changes_the_decision(
    evidence: Evidence, chance: object
) -> None:
    shuffled = list(evidence.steps)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    other = replace(evidence, steps=tuple(shuffled))
    assert _outcome(judge(evidence, [RULE])) == _outcome(judge(other, [RULE]))


@given(evidences(), st.integers(0, 500))
def test_a_discontinued_step_never_changes_the_decision(evidence: Evidence, images: int) -> None:
    step = a_step(P.DISCONTINUED, images=images, missing=images)
    more = replace(evidence, steps=(*evidence.steps, step))
    assert _outcome(judge(evidence, [RULE])) == _outcome(judge(more, [RULE]))


@given(evidences())
def test_every_step_is_told(evidence: Evidence) -> None:
    told = [s for s in judge(evidence, [RULE]).evidence if s.startswith("MR1 says ")]
    assert len(told) == len(evidence.steps)
