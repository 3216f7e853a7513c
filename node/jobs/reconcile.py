"""Hold the ledger to DBOS: no analysis waits for a workflow that is no more.

A workflow that ends without telling the ledger is a defect of ours, or a study that kills the
process each time it is taken up. Either way the study gets a reason, and a retry works.
"""

from typing import Final

from dbos import DBOS

from node.delivery.send import OPEN, close_analysis, give_up
from node.domain.errors import StepCrashed
from node.domain.ids import AnalysisId, DestinationName
from node.domain.states import AnalysisState
from node.domain.study import AnalysisRecord, DeliveryRecord, Reason
from node.jobs.names import analysis_workflow_id, delivery_workflow_id
from node.jobs.workflows import Flow

ENDED_BADLY: Final = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})
LIVING: Final = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


def reconcile(flow: Flow) -> tuple[AnalysisId, ...]:
    """End what nobody works on any more; return the ids of the analyses that were ended."""
    ended = []
    for state in (AnalysisState.QUEUED, AnalysisState.RUNNING):
        ended += [r for r in flow.bench.ledger.analyses.in_state(state) if _fail(flow, r)]
    encoded = flow.bench.ledger.analyses.in_state(AnalysisState.ENCODED)
    ended += [record for record in encoded if _end_delivery(flow, record)]
    return tuple(record.order.analysis_id for record in ended)


def _status(workflow_id: str) -> str:
    found = DBOS.get_workflow_status(workflow_id)
    return "" if found is None else found.status


def _fail(flow: Flow, record: AnalysisRecord) -> bool:
    """Fail an analysis whose workflow ended badly."""
    status = _status(analysis_workflow_id(record.order.analysis_id, record.attempt))
    if status not in ENDED_BADLY:
        return False
    flow.bench.ledger.analyses.move(
        record.order.analysis_id,
        AnalysisState.FAILED,
        reason=Reason(code=StepCrashed.code, text=f"the workflow ended as {status}"),
        who="executor",
        now=flow.bench.clock.now(),
    )
    return True


def _end_delivery(flow: Flow, record: AnalysisRecord) -> bool:
    """Give up deliveries that no workflow will send, and close their analysis."""
    bench, analysis_id = flow.bench, record.order.analysis_id
    if _status(analysis_workflow_id(analysis_id, record.attempt)) in LIVING:
        return False  # it may not have enqueued all of them yet
    deliveries = [d for d in bench.ledger.deliveries.of(analysis_id) if d.state in OPEN]
    names = {d.destination for d in deliveries}
    orphans = [name for name in names if not _is_worked_on(record, name, deliveries)]
    for name in orphans:
        give_up(analysis_id, name, bench.ledger, bench.clock)
    if orphans or not deliveries:
        close_analysis(analysis_id, bench.wanted(record.order), bench.ledger, bench.clock)
    return bool(orphans)


def _is_worked_on(
    record: AnalysisRecord, name: DestinationName, deliveries: list[DeliveryRecord]
) -> bool:
    """Whether the send that made the last attempt, or its successor, lives."""
    last = max(d.attempts for d in deliveries if d.destination == name)
    return any(
        _status(delivery_workflow_id(record.order.analysis_id, record.attempt, name, number))
        in LIVING
        for number in (last, last + 1)
    )
