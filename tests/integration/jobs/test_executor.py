"""The executor on a real ledger: failures are told, dead executors' work is taken over."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from node.analysis.bench import Bench, BundleShelf
from node.delivery.send import close_analysis, withdraw_if_superseded
from node.domain.clock import SystemClock
from node.domain.ids import DestinationName
from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.domain.study import AnalysisOrder, AnalysisRecord
from node.jobs.executor import ExecutorOptions, executing
from node.jobs.queue import AnalysisQueue, prepare_database
from node.jobs.workflows import Backoff, Flow
from node.store.ledger import Ledger
from node.store.spool import Spool
from tests.support.ledger_values import (
    STUDY,
    a_decision,
    a_delivery,
    an_order,
    at,
    receive_series,
)
from tests.support.peers import wait_until

OPTIONS = ExecutorOptions(executor_id="here", polling_s=0.02, beat_s=0.05)
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A ledger with one study that was judged complete, and its analysis in the queue."""

    ledger: Ledger
    flow: Flow
    order: AnalysisOrder

    @property
    def record(self) -> AnalysisRecord:
        return self.ledger.analyses.get(self.order.analysis_id)

    def set_workflow(self, **columns: str) -> None:
        """Write the row of the workflow as a process that is gone would have left it."""
        table = "workflow_status" if self.is_sqlite else "dbos.workflow_status"
        changes = ", ".join(f"{column} = :{column}" for column in columns)
        with self.ledger.engine.begin() as connection:
            connection.execute(
                text(f"UPDATE {table} SET {changes} WHERE workflow_uuid = :id"),
                {**columns, "id": self.order.analysis_id},
            )

    @property
    def is_sqlite(self) -> bool:
        return self.ledger.engine.dialect.name == "sqlite"

    def wait_for(self, state: AnalysisState) -> AnalysisRecord:
        wait_until(lambda: self.record.state is state, f"the analysis is {state}", LIMIT_S)
        return self.record


@pytest.fixture
def site(ledger: Ledger, ledger_url: str, tmp_path: Path) -> Iterator[Site]:
    prepare_database(ledger_url)
    receive_series(ledger)
    order = an_order()
    queue = AnalysisQueue(ledger)
    assert ledger.studies.complete(
        STUDY,
        order.revision,
        a_decision(RevisionState.COMPLETE),
        order,
        queue.enqueue,
        now=at(61),
    )
    (tmp_path / "spool").mkdir()
    bench = Bench(
        spool=Spool(tmp_path / "spool"),
        ledger=ledger,
        bundles=BundleShelf(()),
        clock=SystemClock(),
        software_version="segnode test",
        known_destinations=(DestinationName("pacs"),),
    )
    yield Site(ledger=ledger, flow=Flow(bench=bench, peers={}, backoff=Backoff()), order=order)
    queue.close()


def test_an_analysis_whose_images_are_gone_fails_with_a_reason(site: Site) -> None:
    with executing(site.flow, OPTIONS):
        record = site.wait_for(AnalysisState.FAILED)
    assert record.reason is not None
    assert record.reason.code in {"spool-damaged", "undecodable-pixels", "not-dicom"}


def test_what_a_dead_executor_left_is_taken_over(site: Site) -> None:
    site.set_workflow(status="PENDING", executor_id="there")
    silent_since = SystemClock().now() - timedelta(hours=1)
    site.ledger.health.beat("there", silent_since)
    with executing(site.flow, OPTIONS):
        site.wait_for(AnalysisState.FAILED)


def test_what_a_living_executor_has_is_left_to_it(site: Site) -> None:
    site.set_workflow(status="PENDING", executor_id="there")
    site.ledger.health.beat("there", SystemClock().now())
    with executing(site.flow, OPTIONS):
        wait_until(
            lambda: any(b.executor_id == "here" for b in site.ledger.health.executors()),
            "this executor beats",
            LIMIT_S,
        )
    assert site.record.state is AnalysisState.QUEUED


def test_a_workflow_that_ended_badly_is_told_in_the_ledger(site: Site) -> None:
    site.set_workflow(status="MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    with executing(site.flow, OPTIONS):
        record = site.wait_for(AnalysisState.FAILED)
    assert record.reason is not None
    assert record.reason.code == "step-crashed"


def test_a_superseded_analysis_is_cancelled_before_it_computes(site: Site) -> None:
    site.set_workflow(status="PENDING", executor_id="here")
    site.ledger.analyses.move(
        site.order.analysis_id, AnalysisState.RUNNING, reason=None, who="test", now=at(62)
    )
    receive_series(site.ledger, slices=7, seconds=63)
    with executing(site.flow, OPTIONS):
        record = site.wait_for(AnalysisState.CANCELLED)
    assert record.reason is not None
    assert record.reason.code == "superseded"
    assert site.ledger.analyses.steps(site.order.analysis_id) == ()


def test_an_order_that_is_rolled_back_leaves_no_workflow(ledger: Ledger, ledger_url: str) -> None:
    prepare_database(ledger_url)
    receive_series(ledger)
    queue = AnalysisQueue(ledger)

    def enqueue_and_fail(order: AnalysisOrder, transaction: object) -> None:
        queue.enqueue(order, transaction)  # type: ignore[arg-type]  # the ledger's own
        raise KeyboardInterrupt

    decision = a_decision(RevisionState.COMPLETE)
    order = an_order()
    with pytest.raises(KeyboardInterrupt):
        ledger.studies.complete(
            STUDY, order.revision, decision, order, enqueue_and_fail, now=at(61)
        )
    table = "workflow_status" if ledger.engine.dialect.name == "sqlite" else "dbos.workflow_status"
    with ledger.engine.begin() as connection:
        found = connection.execute(text(f"SELECT COUNT(*) FROM {table}")).scalar()
    queue.close()
    assert found == 0
    assert ledger.analyses.of_study(STUDY) == ()


def plan_a_delivery(site: Site, state: DeliveryState, *, to: str = "pacs") -> None:
    """Bring the analysis to ENCODED with one object that an earlier process tried to send."""
    delivery = replace(a_delivery(site.order), destination=DestinationName(to))
    site.ledger.deliveries.plan([delivery])
    for step in (AnalysisState.RUNNING, AnalysisState.ENCODED):
        site.ledger.analyses.move(site.order.analysis_id, step, reason=None, who="test", now=at(62))
    if state is not DeliveryState.PENDING:
        site.ledger.deliveries.move(
            delivery.analysis_id,
            delivery.destination,
            delivery.sop_instance_uid,
            state,
            status=None,
            reason=None,
            now=at(63),
        )


def test_a_delivery_that_no_workflow_works_on_is_given_up_with_a_reason(site: Site) -> None:
    plan_a_delivery(site, DeliveryState.RETRY)
    site.set_workflow(status="SUCCESS")
    with executing(site.flow, OPTIONS):
        record = site.wait_for(AnalysisState.FAILED)
    assert record.reason is not None
    assert record.reason.code == "destination-unreachable"


def test_a_result_of_a_superseded_revision_is_not_sent(site: Site) -> None:
    plan_a_delivery(site, DeliveryState.PENDING)
    receive_series(site.ledger, slices=7, seconds=64)
    assert withdraw_if_superseded(site.order.analysis_id, site.ledger, SystemClock())
    assert site.record.state is AnalysisState.CANCELLED
    (delivery,) = site.ledger.deliveries.of(site.order.analysis_id)
    assert delivery.state is DeliveryState.DEAD


def test_a_result_that_an_archive_has_a_part_of_is_finished(site: Site) -> None:
    plan_a_delivery(site, DeliveryState.SENT)
    receive_series(site.ledger, slices=7, seconds=64)
    assert not withdraw_if_superseded(site.order.analysis_id, site.ledger, SystemClock())
    assert site.record.state is AnalysisState.ENCODED


def test_an_archive_that_is_none_any_more_does_not_hold_up_the_others(site: Site) -> None:
    plan_a_delivery(site, DeliveryState.DEAD, to="gone")
    site.ledger.deliveries.plan([a_delivery(site.order)])
    site.ledger.deliveries.move(
        site.order.analysis_id,
        DestinationName("pacs"),
        a_delivery(site.order).sop_instance_uid,
        DeliveryState.SENT,
        status=0,
        reason=None,
        now=at(64),
    )
    pacs = (DestinationName("pacs"),)
    close_analysis(site.order.analysis_id, pacs, site.ledger, SystemClock())
    assert site.record.state is AnalysisState.DELIVERED


def test_an_analysis_without_a_destination_fails_before_it_computes(site: Site) -> None:
    bench = replace(site.flow.bench, known_destinations=())
    with executing(replace(site.flow, bench=bench), OPTIONS):
        record = site.wait_for(AnalysisState.FAILED)
    assert record.reason is not None
    assert record.reason.code == "destination-unknown"
    assert site.ledger.analyses.steps(site.order.analysis_id) == ()
