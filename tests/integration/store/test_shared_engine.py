"""The ledger's engine in the hands of DBOS: one transaction for a decision and its job."""

import threading
from collections.abc import Iterator

import pytest
from dbos import DBOS, DBOSClient, DBOSConfig

from node.domain.errors import StepCrashed
from node.domain.ids import RevisionNumber
from node.domain.states import RevisionState
from node.domain.study import AnalysisOrder
from node.store.ledger import Ledger, Transaction
from tests.support.ledger_values import STUDY, a_decision, an_order, at, receive_series

VERSION = "test-1"


class Executor:
    """The jobs that began, and a signal for the first of them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.arrived = threading.Event()


@pytest.fixture
def executor(ledger: Ledger) -> Iterator[Executor]:
    """Run a DBOS executor on the ledger's engine."""
    executor = Executor()
    config: DBOSConfig = {
        "name": "segnode-test",
        "system_database_engine": ledger.engine,
        "application_version": VERSION,
        "log_level": "ERROR",
        "use_listen_notify": False,  # its listener drops a connection when it is stopped
    }
    DBOS(config=config)

    @DBOS.workflow(name="note_that_it_began")
    def note(analysis_id: str) -> None:
        executor.begun.append(analysis_id)
        executor.arrived.set()

    DBOS.launch()
    DBOS.register_queue("test", polling_interval_sec=0.02)
    yield executor
    DBOS.destroy(destroy_registry=True)


def _enqueue(client: DBOSClient, order: AnalysisOrder, transaction: Transaction) -> None:
    client.enqueue_in_transaction(
        transaction.connection,
        {
            "queue_name": "test",
            "workflow_name": "note_that_it_began",
            "workflow_id": order.analysis_id,
            "app_version": VERSION,
        },
        order.analysis_id,
    )


def test_a_decision_and_its_job_are_one_transaction(ledger: Ledger, executor: Executor) -> None:
    receive_series(ledger)
    client = DBOSClient(system_database_engine=ledger.engine)
    order, decision = an_order(), a_decision(RevisionState.COMPLETE)

    def breaks_after(o: AnalysisOrder, transaction: Transaction) -> None:
        _enqueue(client, o, transaction)
        raise StepCrashed("after the job was written")

    def works(o: AnalysisOrder, transaction: Transaction) -> None:
        _enqueue(client, o, transaction)

    try:
        with pytest.raises(StepCrashed, match="after the job"):
            ledger.studies.complete(
                STUDY, RevisionNumber(1), decision, order, breaks_after, now=at(61)
            )
        assert client.list_workflows() == []
        assert ledger.studies.complete(STUDY, RevisionNumber(1), decision, order, works, now=at(61))
        assert executor.arrived.wait(20)
        assert executor.begun == [order.analysis_id]
    finally:
        client.destroy()
