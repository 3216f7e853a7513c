"""What jobs write: analyses, steps and deliveries, on SQLite and PostgreSQL."""

from dataclasses import replace

import pytest

from node.domain.errors import StepCrashed
from node.domain.ids import AnalysisId, BundleName, DestinationName, RuleName, Sha256
from node.domain.ids import SOPInstanceUID as Sop
from node.domain.states import AnalysisState, DeliveryState
from node.domain.study import AnalysisOrder, AnalysisRecord, DeliveryRecord, Reason
from node.store.ledger import Ledger, Transaction
from tests.support.ledger_values import STUDY, a_delivery, at, complete, receive_series

CRASH = Reason(code="step-crashed", text="the step crashed")
PACS = DestinationName("pacs")


@pytest.fixture
def order(ledger: Ledger) -> AnalysisOrder:
    receive_series(ledger)
    return complete(ledger)


def _go(ledger: Ledger, order: AnalysisOrder, *states: AnalysisState) -> None:
    for number, state in enumerate(states):
        reason = CRASH if state is AnalysisState.FAILED else None
        ledger.analyses.move(
            order.analysis_id, state, reason=reason, who="work", now=at(100 + number)
        )


def test_an_analysis_goes_from_queued_to_delivered(ledger: Ledger, order: AnalysisOrder) -> None:
    A = AnalysisState  # noqa: N806 - read as the table of states is
    _go(ledger, order, A.RUNNING, A.ENCODED, A.DELIVERED)
    record = ledger.analyses.get(order.analysis_id)
    assert (record.state, record.changed_at) == (A.DELIVERED, at(102))
    assert ledger.analyses.in_state(A.DELIVERED) == (record,)


def test_a_replayed_step_changes_nothing(ledger: Ledger, order: AnalysisOrder) -> None:
    _go(ledger, order, AnalysisState.RUNNING, AnalysisState.RUNNING)
    assert ledger.analyses.get(order.analysis_id).changed_at == at(100)
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert [t.to_state for t in story.transitions if t.entity == "analysis"] == [
        "QUEUED",
        "RUNNING",
    ]


def test_a_step_that_the_table_does_not_have_is_refused(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    with pytest.raises(StepCrashed, match="from QUEUED to DELIVERED"):
        _go(ledger, order, AnalysisState.DELIVERED)
    assert ledger.analyses.get(order.analysis_id).state is AnalysisState.QUEUED


def test_an_unknown_analysis_is_a_defect(ledger: Ledger) -> None:
    with pytest.raises(StepCrashed, match="not in the ledger"):
        ledger.analyses.get(AnalysisId("0" * 32))
    assert ledger.analyses.find(AnalysisId("0" * 32)) is None


def test_a_failed_analysis_keeps_its_reason(ledger: Ledger, order: AnalysisOrder) -> None:
    _go(ledger, order, AnalysisState.RUNNING, AnalysisState.FAILED)
    assert ledger.analyses.get(order.analysis_id).reason == CRASH


def test_a_retry_is_the_next_attempt_and_revives_deliveries(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    D = DeliveryState  # noqa: N806 - read as the table of states is
    ends = {"2.25.1": D.DEAD, "2.25.2": D.REFUSED, "2.25.3": D.RETRY, "2.25.4": D.SENT}
    ledger.deliveries.plan([a_delivery(order, sop=sop) for sop in ends])
    for sop, state in ends.items():
        ledger.deliveries.move(
            order.analysis_id, PACS, Sop(sop), state, status=0xA700, reason=CRASH, now=at(110)
        )
    _go(ledger, order, AnalysisState.RUNNING, AnalysisState.FAILED)
    enqueued: list[AnalysisRecord] = []
    record = ledger.analyses.requeue(
        order.analysis_id, lambda r, _transaction: enqueued.append(r), now=at(500)
    )
    assert enqueued == [record]
    assert (record.state, record.attempt, record.reason) == (AnalysisState.QUEUED, 2, None)
    found = {d.sop_instance_uid: (d.state, d.attempts) for d in _deliveries(ledger, order)}
    assert found == {
        "2.25.1": (D.PENDING, 0),
        "2.25.2": (D.PENDING, 0),
        "2.25.3": (D.RETRY, 0),
        "2.25.4": (D.SENT, 1),
    }


def _deliveries(ledger: Ledger, order: AnalysisOrder) -> tuple[DeliveryRecord, ...]:
    return ledger.deliveries.of(order.analysis_id)


def test_a_retry_that_cannot_be_enqueued_leaves_the_analysis_failed(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    _go(ledger, order, AnalysisState.FAILED)

    def broken(_record: AnalysisRecord, _transaction: Transaction) -> None:
        raise StepCrashed("the queue is broken")

    with pytest.raises(StepCrashed, match="the queue is broken"):
        ledger.analyses.requeue(order.analysis_id, broken, now=at(500))
    record = ledger.analyses.get(order.analysis_id)
    assert (record.state, record.attempt) == (AnalysisState.FAILED, 1)


def test_only_a_failed_analysis_is_retried(ledger: Ledger, order: AnalysisOrder) -> None:
    with pytest.raises(StepCrashed, match="from QUEUED to QUEUED"):
        ledger.analyses.requeue(order.analysis_id, lambda _r, _t: None, now=at(500))


def test_delivered_inputs_are_found_again_and_no_others(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    def find(inputs: str) -> AnalysisRecord | None:
        return ledger.analyses.with_inputs(
            STUDY, RuleName("glioma"), BundleName("intensity-glioma"), Sha256(inputs * 64)
        )

    _go(ledger, order, AnalysisState.RUNNING, AnalysisState.ENCODED)
    assert find("a") is None
    ledger.analyses.move(
        order.analysis_id, AnalysisState.DELIVERED, reason=None, who="work", now=at(120)
    )
    assert find("a") == ledger.analyses.get(order.analysis_id)
    assert find("b") is None


def test_steps_are_kept_once_each_in_the_order_in_which_they_began(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    analyses, key = ledger.analyses, order.analysis_id
    analyses.begin_step(key, "register", at(11))
    analyses.begin_step(key, "assemble", at(10))
    analyses.end_step(key, "assemble", 1.5, {"slices": {"T1C": 176}, "note": None})
    analyses.begin_step(key, "register", at(12))
    steps = analyses.steps(key)
    assert [(s.step, s.started_at, s.seconds) for s in steps] == [
        ("assemble", at(10), 1.5),
        ("register", at(12), None),
    ]
    assert steps[0].summary == {"slices": {"T1C": 176}, "note": None}


def test_a_step_that_did_not_begin_cannot_end(ledger: Ledger, order: AnalysisOrder) -> None:
    with pytest.raises(StepCrashed, match="without having begun"):
        ledger.analyses.end_step(order.analysis_id, "infer", 1.0, {})


def test_planning_again_leaves_deliveries_as_they_are(ledger: Ledger, order: AnalysisOrder) -> None:
    planned = a_delivery(order)
    ledger.deliveries.plan([planned])
    assert _deliveries(ledger, order) == (planned,)
    ledger.deliveries.move(
        order.analysis_id,
        PACS,
        planned.sop_instance_uid,
        DeliveryState.SENT,
        status=0,
        reason=None,
        now=at(120),
    )
    ledger.deliveries.plan([planned])
    (found,) = _deliveries(ledger, order)
    assert (found.state, found.status, found.attempts) == (DeliveryState.SENT, 0, 1)


def test_retries_count_attempts_and_a_repeated_success_does_not(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    D = DeliveryState  # noqa: N806 - read as the table of states is
    planned = a_delivery(order)
    ledger.deliveries.plan([planned])
    for state in (D.RETRY, D.RETRY, D.SENT, D.SENT, D.PROVEN, D.PROVEN):
        ledger.deliveries.move(
            order.analysis_id,
            PACS,
            planned.sop_instance_uid,
            state,
            status=0,
            reason=None,
            now=at(130),
        )
    (found,) = _deliveries(ledger, order)
    assert (found.state, found.attempts) == (D.PROVEN, 3)


def test_an_unplanned_delivery_is_a_defect(ledger: Ledger, order: AnalysisOrder) -> None:
    with pytest.raises(StepCrashed, match="not in the ledger"):
        ledger.deliveries.move(
            order.analysis_id,
            PACS,
            Sop("2.25.9"),
            DeliveryState.SENT,
            status=0,
            reason=None,
            now=at(1),
        )


def test_an_object_that_came_back_is_recorded_as_seen_once(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    research = replace(a_delivery(order), destination=DestinationName("research"))
    other = a_delivery(order, sop="2.25.2")
    ledger.deliveries.plan([a_delivery(order), research, other])
    assert ledger.deliveries.record_seen(Sop("2.25.1"), at(500)) == 2
    assert ledger.deliveries.record_seen(Sop("2.25.1"), at(600)) == 0
    seen = {d.sop_instance_uid: d.seen_at for d in _deliveries(ledger, order)}
    assert seen == {"2.25.1": at(500), "2.25.2": None}


def test_an_object_that_another_node_wrote_is_news_for_no_delivery(ledger: Ledger) -> None:
    assert ledger.deliveries.record_seen(Sop("2.25.9"), at(500)) == 0


def test_what_was_seen_stays_so_when_the_delivery_moves_on(
    ledger: Ledger, order: AnalysisOrder
) -> None:
    planned = a_delivery(order)
    ledger.deliveries.plan([planned])
    ledger.deliveries.record_seen(planned.sop_instance_uid, at(500))
    ledger.deliveries.move(
        order.analysis_id,
        PACS,
        planned.sop_instance_uid,
        DeliveryState.SENT,
        status=0,
        reason=None,
        now=at(501),
    )
    (found,) = _deliveries(ledger, order)
    assert (found.state, found.seen_at) == (DeliveryState.SENT, at(500))
