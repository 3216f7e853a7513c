"""Enqueue work from a process that does not execute it, inside the ledger's transaction."""

from dbos import DBOS, DBOSClient, EnqueueOptions

from node.domain.ids import AnalysisId
from node.domain.study import AnalysisOrder, AnalysisRecord
from node.jobs.names import (
    ANALYSE,
    ANALYSES,
    APPLICATION,
    APPLICATION_VERSION,
    analysis_workflow_id,
    serializer,
)
from node.store.ledger import Ledger, Transaction


def prepare_database(url: str) -> None:
    """Create or upgrade the tables of DBOS beside those of the ledger."""
    DBOS.migrate(url)


class AnalysisQueue:
    """The JobQueue of the studies room, on DBOS.

    "This study is complete" and "its workflow is enqueued" become one commit.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._client = DBOSClient(
            system_database_engine=ledger.engine,
            serializer=serializer(),
            application_name=APPLICATION,
        )

    def enqueue(self, order: AnalysisOrder, transaction: Transaction) -> None:
        """Enqueue the first attempt of an analysis."""
        self._enqueue(order.analysis_id, 1, transaction)

    def enqueue_again(self, record: AnalysisRecord, transaction: Transaction) -> None:
        """Enqueue the attempt that the record says."""
        self._enqueue(record.order.analysis_id, record.attempt, transaction)

    def _enqueue(self, analysis_id: AnalysisId, attempt: int, transaction: Transaction) -> None:
        options: EnqueueOptions = {
            "workflow_name": ANALYSE,
            "queue_name": ANALYSES,
            "workflow_id": analysis_workflow_id(analysis_id, attempt),
            "app_version": APPLICATION_VERSION,
        }
        self._client.enqueue_in_transaction(transaction.connection, options, analysis_id, attempt)

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()
