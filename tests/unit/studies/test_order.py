"""What an analysis is told to do, and when two are the same."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import StepCrashed
from node.domain.ids import RevisionNumber, RuleName, SeriesInstanceUID, Sha256
from node.domain.regions import Role
from node.domain.study import StoredInstance
from node.studies.completion import judge
from node.studies.order import Inputs, analysis_id, chosen_series, inputs_sha256, order_of
from tests.support.ledger_values import STUDY, a_header, an_instance
from tests.unit.studies.world import a_rule, all_four, some_evidence, without

RULE = a_rule()
EVIDENCE = some_evidence(all_four(), quiet_s=61.0)
DECISION = judge(EVIDENCE, [RULE])


def _instances(series: SeriesInstanceUID, count: int = 3) -> tuple[StoredInstance, ...]:
    return tuple(an_instance(a_header(n, series=series)) for n in range(1, count + 1))


def _inputs() -> dict[SeriesInstanceUID, tuple[StoredInstance, ...]]:
    return {series: _instances(series) for series in chosen_series(DECISION)}


def test_an_order_holds_what_the_rule_and_the_decision_say() -> None:
    order = order_of(EVIDENCE, DECISION, RULE, _inputs())
    assert (order.rule, order.bundle, order.reference) == ("glioma", "intensity-glioma", Role.T1C)
    assert order.destinations == ("pacs",)
    assert [role for role, _ in order.roles] == list(Role)
    assert dict(order.roles)[Role.T1C] == f"{STUDY}.2"
    assert order.analysis_id == analysis_id(STUDY, RuleName("glioma"), RevisionNumber(1))


def test_an_analysis_id_is_the_same_whoever_computes_it_and_holds_no_uid() -> None:
    found = analysis_id(STUDY, RuleName("glioma"), RevisionNumber(1))
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == analysis_id(STUDY, RuleName("glioma"), RevisionNumber(1))
    assert found != analysis_id(STUDY, RuleName("glioma"), RevisionNumber(2))
    assert found != analysis_id(STUDY, RuleName("other"), RevisionNumber(1))


@given(st.randoms(use_true_random=False))
def test_the_hash_of_the_inputs_is_free_of_order(chance: object) -> None:
    roles = list(order_of(EVIDENCE, DECISION, RULE, _inputs()).roles)
    shuffled: Inputs = {s: tuple(chance.sample(i, 3)) for s, i in _inputs().items()}  # type: ignore[attr-defined]
    assert inputs_sha256(roles[::-1], shuffled) == inputs_sha256(roles, _inputs())


def test_one_more_slice_or_other_bytes_are_other_inputs() -> None:
    roles = order_of(EVIDENCE, DECISION, RULE, _inputs()).roles
    series = roles[0][1]
    more = {**_inputs(), series: _instances(series, 4)}
    first = replace(_instances(series)[0], sha256=Sha256("f" * 64))
    other = {**_inputs(), series: (first, *_instances(series)[1:])}
    hashes = {inputs_sha256(roles, inputs) for inputs in (_inputs(), more, other)}
    assert len(hashes) == 3


def test_a_series_that_no_required_role_uses_is_no_input() -> None:
    unrelated = {SeriesInstanceUID("1.2.3"): _instances(SeriesInstanceUID("1.2.3"))}
    order = order_of(EVIDENCE, DECISION, RULE, _inputs())
    assert order_of(EVIDENCE, DECISION, RULE, {**_inputs(), **unrelated}) == order


def test_an_optional_role_is_not_ordered() -> None:
    roles = DECISION.roles
    assert roles is not None
    fewer = replace(DECISION, roles=replace(roles, required=(Role.T1C, Role.FLAIR)))
    order = order_of(EVIDENCE, fewer, RULE, _inputs())
    assert [role for role, _ in order.roles] == [Role.T1C, Role.FLAIR]


def test_no_order_is_made_for_a_study_that_is_not_complete() -> None:
    evidence = some_evidence(without("T2"), quiet_s=61.0)
    with pytest.raises(StepCrashed, match="not complete"):
        order_of(evidence, judge(evidence, [RULE]), RULE, _inputs())


def test_no_order_is_made_for_a_series_without_instances() -> None:
    with pytest.raises(StepCrashed, match="no instances"):
        order_of(EVIDENCE, DECISION, RULE, {})
