"""When a study is all here, when it is waited for, and when it is given up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.states import RevisionState
from node.domain.study import CompletionDecision, SeriesFacts
from node.studies.completion import judge
from tests.unit.studies.world import (
    GAP,
    GIVE_UP_S,
    KINDS,
    QUIET_S,
    a_rule,
    a_series,
    all_four,
    some_evidence,
    without,
)

RULE = a_rule()
S = RevisionState


def _judge(series: tuple[SeriesFacts, ...], quiet_s: float) -> CompletionDecision:
    return judge(some_evidence(series, quiet_s=quiet_s), [RULE])


def test_a_quiet_study_with_every_role_is_complete_and_says_why() -> None:
    decision = _judge(all_four(), 61.0)
    assert decision.state is S.COMPLETE
    assert decision.reason.code == "ok"
    assert decision.evidence[0] == "quiet for 61 s, limit 60 s"
    assert "T1C: series 2 't1_mprage +c': 20 slices without gap" in decision.evidence
    assert decision.roles is not None
    assert decision.roles.missing == ()
    assert decision.look_again_s is None


def test_while_images_come_it_waits_for_the_rest_of_the_quiet_time() -> None:
    decision = _judge(all_four(), 12.5)
    assert decision.state is S.WAITING
    assert decision.look_again_s == pytest.approx(47.5)
    assert decision.reason.code == "ok"
    assert "quiet for 12 s, limit 60 s" in decision.reason.text


def test_a_look_exactly_at_the_limit_decides() -> None:
    assert _judge(all_four(), QUIET_S).state is S.COMPLETE
    assert _judge(all_four(), QUIET_S - 0.0005).state is S.COMPLETE


def test_a_missing_role_outweighs_a_long_silence() -> None:
    decision = _judge(without("FLAIR"), 61.0)
    assert decision.state is S.WAITING
    assert decision.look_again_s == pytest.approx(GIVE_UP_S - 61.0)
    assert decision.reason.code == "role-missing"
    assert "FLAIR" in decision.reason.text


def test_a_study_whose_role_stays_missing_is_given_up_with_the_role_named() -> None:
    decision = _judge((*without("FLAIR"), a_series("DWI", 9)), GIVE_UP_S)
    assert decision.state is S.GAVE_UP
    assert decision.reason.code == "role-missing"
    assert decision.reason.text.startswith("missing: FLAIR: no series can take the role FLAIR")
    assert "series 9: the physics do not fit" in decision.reason.text
    assert decision.look_again_s is None


def test_a_gap_in_the_only_candidate_is_the_reason_that_is_told() -> None:
    series = (*without("T2"), a_series("T2", 7, problem=GAP))
    waiting = _judge(series, 61.0)
    assert (waiting.state, waiting.reason.code) == (S.WAITING, "slice-gap")
    decision = _judge(series, GIVE_UP_S + 1)
    assert (decision.state, decision.reason.code) == (S.GAVE_UP, "slice-gap")
    assert "1 slice missing between slice 34 and 35" in decision.reason.text


def test_a_gap_is_told_before_a_role_that_nothing_could_take() -> None:
    series = tuple(
        replace(s, stack=replace(s.stack, problem=GAP))
        if s.header.series_description == KINDS["T2"][0]
        else s
        for s in without("T1C")
    )
    decision = _judge(series, GIVE_UP_S)
    assert decision.reason.code == "slice-gap"
    assert "T1C:" in decision.reason.text
    assert "T2:" in decision.reason.text


def test_a_damaged_series_does_not_block_when_another_takes_its_role() -> None:
    series = (*all_four(), a_series("T2", 7, problem=GAP))
    assert _judge(series, 61.0).state is S.COMPLETE


def test_a_study_that_no_rule_wants_is_not_eligible_once_it_is_quiet() -> None:
    knee = (a_series("PD", 1),)
    waiting = _judge(knee, 10.0)
    assert (waiting.state, waiting.look_again_s) == (S.WAITING, 50.0)
    decision = _judge(knee, QUIET_S)
    assert decision.state is S.NOT_ELIGIBLE
    assert decision.reason.text == "not for rule glioma: no series looks like T1C or FLAIR"
    assert decision.reason.code == "study-unusable"
    assert decision.evidence[0] == "quiet for 60 s, limit 60 s"


def test_a_ct_is_not_eligible() -> None:
    ct = a_series("T1", 1)
    ct = replace(ct, header=replace(ct.header, modality="CT"))
    assert _judge((ct,), QUIET_S).state is S.NOT_ELIGIBLE


def test_without_rules_a_study_is_not_given_up_but_looked_at_again() -> None:
    decision = judge(some_evidence(all_four(), quiet_s=1e6), [])
    assert (decision.state, decision.reason.code) == (S.WAITING, "rule-invalid")
    assert decision.look_again_s is not None
    assert decision.look_again_s > 0


def test_of_several_rules_the_first_that_is_complete_takes_the_study() -> None:
    slow, fast = a_rule("slow", quiet_s=300), a_rule("fast", quiet_s=30)
    decision = judge(some_evidence(all_four(), quiet_s=40.0), [slow, fast])
    assert decision.state is S.COMPLETE
    assert decision.roles is not None
    assert decision.roles.rule == "fast"
    both = judge(some_evidence(all_four(), quiet_s=301.0), [slow, fast])
    assert both.roles is not None
    assert both.roles.rule == "slow"


def test_a_study_is_given_up_only_when_every_rule_gives_it_up() -> None:
    short, long = a_rule("short", give_up_s=100), a_rule("long", give_up_s=900)
    waiting = judge(some_evidence(without("T2"), quiet_s=200.0), [short, long])
    assert (waiting.state, waiting.look_again_s) == (S.WAITING, 700.0)
    assert judge(some_evidence(without("T2"), quiet_s=900.0), [short, long]).state is S.GAVE_UP


kinds = st.lists(st.sampled_from([*KINDS, "DWI", "SWI"]), max_size=7)
problems = st.sampled_from([None, None, GAP])


@st.composite
def series_lists(draw: st.DrawFn) -> tuple[SeriesFacts, ...]:
    return tuple(
        a_series(kind, number, problem=draw(problems))
        for number, kind in enumerate(draw(kinds), start=1)
    )


quiets = st.floats(0, 2 * GIVE_UP_S)


@given(series_lists(), quiets, st.randoms(use_true_random=False))
def test_the_order_of_the_series_never_changes_the_decision(
    series: tuple[SeriesFacts, ...], quiet_s: float, chance: object
) -> None:
    shuffled = list(series)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = _judge(series, quiet_s), _judge(tuple(shuffled), quiet_s)
    assert (first.state, first.reason, first.roles) == (second.state, second.reason, second.roles)


@given(series_lists(), quiets)
def test_nothing_is_complete_before_its_quiet_time_or_without_its_roles(
    series: tuple[SeriesFacts, ...], quiet_s: float
) -> None:
    decision = _judge(series, quiet_s)
    if decision.state is S.COMPLETE:
        assert quiet_s + 0.001 >= QUIET_S
        assert decision.roles is not None
        assert decision.roles.missing == ()
        assert set(decision.roles.chosen) == set(RULE.required)


@given(series_lists(), quiets)
def test_every_wait_names_its_end_and_comes_to_one(
    series: tuple[SeriesFacts, ...], quiet_s: float
) -> None:
    decision, looks = _judge(series, quiet_s), 0
    while decision.state is S.WAITING:
        assert decision.look_again_s is not None
        assert decision.look_again_s > 0
        quiet_s += decision.look_again_s
        decision, looks = _judge(series, quiet_s), looks + 1
        assert looks <= 2
    assert decision.look_again_s is None


@given(series_lists(), quiets)
def test_series_that_no_role_wants_never_change_the_state(
    series: tuple[SeriesFacts, ...], quiet_s: float
) -> None:
    more = (*series, a_series("DWI", 90, problem=GAP), a_series("ADC", 91))
    assert _judge(more, quiet_s).state is _judge(series, quiet_s).state


@given(series_lists(), quiets)
def test_every_decision_has_a_reason_and_evidence(
    series: tuple[SeriesFacts, ...], quiet_s: float
) -> None:
    decision = _judge(series, quiet_s)
    assert decision.reason.text
    assert decision.evidence
    assert all(decision.evidence)
