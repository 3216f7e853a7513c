"""What the judgement of studies reads and writes, on SQLite and PostgreSQL."""

import pytest

from node.domain.errors import StepCrashed
from node.domain.ids import RevisionNumber, StudyInstanceUID
from node.domain.states import AnalysisState, RevisionState
from node.domain.study import AnalysisOrder
from node.store.ledger import Ledger, Transaction
from tests.support.ledger_values import (
    STUDY,
    a_decision,
    a_header,
    an_order,
    at,
    complete,
    no_queue,
    receive,
    receive_series,
)

FIRST = RevisionNumber(1)


def _state(ledger: Ledger) -> RevisionState:
    story = ledger.stories.story(STUDY)
    assert story is not None
    return story.current.state


def test_evidence_tells_how_long_nothing_came_and_what_the_slices_form(ledger: Ledger) -> None:
    receive_series(ledger, slices=6, seconds=0)
    receive(ledger, a_header(7), seconds=20)
    evidence = ledger.studies.evidence(STUDY, at(81))
    assert (evidence.revision, evidence.quiet_s, evidence.age_s) == (1, 61.0, 81.0)
    (series,) = evidence.series
    assert (series.instances, series.stack.slices) == (7, 7)
    assert series.stack.problem is None
    assert series.stack.spacing_mm == pytest.approx(1.0)


def test_evidence_of_an_unknown_study_is_a_defect(ledger: Ledger) -> None:
    with pytest.raises(StepCrashed, match="not in the ledger"):
        ledger.studies.evidence(STUDY, at(0))


def test_a_waiting_study_is_due_when_it_said_so(ledger: Ledger) -> None:
    receive(ledger, a_header())
    decision = a_decision(RevisionState.WAITING, look_again_s=60)
    assert ledger.studies.record(STUDY, FIRST, decision, now=at(1))
    assert ledger.studies.due(at(60.9)) == ()
    assert ledger.studies.seconds_to_next_look(at(21)) == pytest.approx(40)
    assert ledger.studies.due(at(61)) == (STUDY,)
    assert ledger.studies.seconds_to_next_look(at(70)) == 0.0


def test_nothing_is_due_when_nothing_waits(ledger: Ledger) -> None:
    assert ledger.studies.seconds_to_next_look(at(0)) is None
    receive(ledger, a_header())
    ledger.studies.record(STUDY, FIRST, a_decision(RevisionState.GAVE_UP), now=at(1))
    assert ledger.studies.due(at(10_000)) == ()
    assert ledger.studies.seconds_to_next_look(at(0)) is None


def test_a_decision_is_read_back_as_it_was_made(ledger: Ledger) -> None:
    receive(ledger, a_header())
    decision = a_decision(RevisionState.GAVE_UP, code="role-missing")
    ledger.studies.record(STUDY, FIRST, decision, now=at(1))
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.current.decision == decision


def test_a_decision_about_a_study_that_grew_meanwhile_is_not_written(ledger: Ledger) -> None:
    receive(ledger, a_header(1))
    seen = ledger.studies.evidence(STUDY, at(0))
    receive(ledger, a_header(2))
    decision = a_decision(RevisionState.GAVE_UP)
    assert not ledger.studies.record(STUDY, FIRST, decision, now=at(1), seen=seen)
    assert _state(ledger) is RevisionState.RECEIVING
    seen = ledger.studies.evidence(STUDY, at(1))
    assert ledger.studies.record(STUDY, FIRST, decision, now=at(1), seen=seen)


def test_completing_makes_the_analysis_in_the_same_transaction(ledger: Ledger) -> None:
    receive_series(ledger)
    order = complete(ledger)
    record = ledger.analyses.get(order.analysis_id)
    assert (record.order, record.state, record.attempt) == (order, AnalysisState.QUEUED, 1)
    assert ledger.analyses.of_study(STUDY) == (record,)
    assert ledger.analyses.is_current(order.analysis_id)
    assert _state(ledger) is RevisionState.COMPLETE


def test_when_enqueueing_fails_nothing_is_left_behind(ledger: Ledger) -> None:
    receive_series(ledger)

    def broken(_order: AnalysisOrder, _transaction: Transaction) -> None:
        raise StepCrashed("the queue is broken")

    decision = a_decision(RevisionState.COMPLETE)
    with pytest.raises(StepCrashed, match="the queue is broken"):
        ledger.studies.complete(STUDY, FIRST, decision, an_order(), broken, now=at(61))
    assert _state(ledger) is RevisionState.RECEIVING
    assert ledger.analyses.of_study(STUDY) == ()
    assert ledger.studies.due(at(61)) == (STUDY,)


def test_a_study_completes_once_however_often_it_is_asked(ledger: Ledger) -> None:
    receive_series(ledger)
    complete(ledger)
    decision = a_decision(RevisionState.COMPLETE)
    assert not ledger.studies.complete(STUDY, FIRST, decision, an_order(), no_queue, now=at(62))
    assert len(ledger.analyses.of_study(STUDY)) == 1


def test_a_revision_that_grew_meanwhile_is_not_completed(ledger: Ledger) -> None:
    receive_series(ledger, slices=5)
    seen = ledger.studies.evidence(STUDY, at(1))
    receive_series(ledger, slices=6)
    decision = a_decision(RevisionState.COMPLETE)
    assert not ledger.studies.complete(
        STUDY, FIRST, decision, an_order(), no_queue, now=at(61), seen=seen
    )
    assert ledger.analyses.of_study(STUDY) == ()


def test_unchanged_inputs_complete_without_an_analysis(ledger: Ledger) -> None:
    receive_series(ledger)
    decision = a_decision(RevisionState.COMPLETE)
    assert ledger.studies.complete_unchanged(STUDY, FIRST, decision, now=at(61))
    assert _state(ledger) is RevisionState.COMPLETE
    assert ledger.analyses.of_study(STUDY) == ()


@pytest.mark.parametrize("state", [RevisionState.NOT_ELIGIBLE, RevisionState.GAVE_UP])
def test_an_operator_reopens_what_was_given_up(ledger: Ledger, state: RevisionState) -> None:
    receive(ledger, a_header())
    ledger.studies.record(STUDY, FIRST, a_decision(state), now=at(1))
    ledger.studies.reopen(STUDY, now=at(500))
    assert _state(ledger) is RevisionState.RECEIVING
    assert ledger.studies.due(at(500)) == (STUDY,)
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.transitions[-1].who == "operator"


def test_a_complete_study_cannot_be_reopened(ledger: Ledger) -> None:
    receive_series(ledger)
    complete(ledger)
    with pytest.raises(StepCrashed, match="from COMPLETE to RECEIVING"):
        ledger.studies.reopen(STUDY, now=at(500))


def test_an_unknown_study_cannot_be_reopened(ledger: Ledger) -> None:
    with pytest.raises(StepCrashed, match="not in the ledger"):
        ledger.studies.reopen(StudyInstanceUID("1.2.3"), now=at(0))


def test_complete_is_not_recorded_without_an_order(ledger: Ledger) -> None:
    receive(ledger, a_header())
    with pytest.raises(StepCrashed, match="not recorded this way"):
        ledger.studies.record(STUDY, FIRST, a_decision(RevisionState.COMPLETE), now=at(1))
