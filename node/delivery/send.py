"""Send what is pending of an analysis to one destination, once."""

from collections.abc import Sequence
from enum import StrEnum

from node.delivery.statuses import judge_status
from node.domain.clock import Clock
from node.domain.errors import DestinationUnreachable, SegnodeError
from node.domain.ids import AnalysisId, DestinationName
from node.domain.states import ARRIVED, AnalysisState, DeliveryState
from node.domain.study import DeliveryRecord, Reason
from node.net.scu import Peer, send_files
from node.store.ledger import Ledger
from node.store.spool import Spool

WHO = "delivery"
OPEN = frozenset({DeliveryState.PENDING, DeliveryState.RETRY})
LOST = frozenset({DeliveryState.DEAD, DeliveryState.REFUSED})


class Lane(StrEnum):
    """How far one destination is with one analysis after a send."""

    DONE = "done"
    OPEN = "open"
    LOST = "lost"


def send_open(
    analysis_id: AnalysisId, name: DestinationName, peer: Peer | None, spool: Spool,
    ledger: Ledger, clock: Clock,
) -> Lane:  # fmt: skip
    """Send every open object of an analysis to a destination in one go; record each answer.

    peer: None when the configuration no longer knows the destination. Never raises for a
    peer's fault: a peer that cannot be reached leaves everything open.
    """
    if withdraw_if_superseded(analysis_id, ledger, clock):
        return Lane.LOST
    records = _of(ledger, analysis_id, name)
    waiting = {spool.path(record.path): record for record in records if record.state in OPEN}
    try:
        if peer is None:
            raise DestinationUnreachable("the configuration no longer knows the destination")
        results = send_files(peer, tuple(waiting))
        answers = {result.path: (result.status, result.error) for result in results}
    except SegnodeError as fault:
        answers = dict.fromkeys(waiting, (None, fault.what))
    for path, record in waiting.items():
        status, silence = answers.get(path, (None, "not sent"))
        to, reason = judge_status(status, silence)
        _move(ledger, record, to, status, reason, clock)
    return lane_of(_of(ledger, analysis_id, name))


def give_up(analysis_id: AnalysisId, name: DestinationName, ledger: Ledger, clock: Clock) -> None:
    """Mark what is still open as dead: the limit of attempts is reached."""
    for record in _of(ledger, analysis_id, name):
        if record.state in OPEN:
            last = record.reason.text if record.reason else "never answered"
            code = record.reason.code if record.reason else DestinationUnreachable.code
            reason = Reason(code=code, text=f"given up: {last}")
            _move(ledger, record, DeliveryState.DEAD, record.status, reason, clock)


def lane_of(records: Sequence[DeliveryRecord]) -> Lane:
    """Judge all objects of one destination."""
    states = {record.state for record in records}
    if states & OPEN:
        return Lane.OPEN
    return Lane.LOST if states & LOST else Lane.DONE


def withdraw_if_superseded(analysis_id: AnalysisId, ledger: Ledger, clock: Clock) -> bool:
    """Cancel an analysis whose revision is over, unless an archive has a part of its result."""
    if ledger.analyses.is_current(analysis_id):
        return False
    records = ledger.deliveries.of(analysis_id)
    if any(record.state in ARRIVED for record in records):
        return False
    reason = Reason(code="superseded", text="late images opened a new revision")
    for record in records:
        if record.state in OPEN:
            _move(ledger, record, DeliveryState.DEAD, record.status, reason, clock)
    state = AnalysisState.CANCELLED
    ledger.analyses.move(analysis_id, state, reason=reason, who=WHO, now=clock.now())
    return True


def close_analysis(
    analysis_id: AnalysisId, destinations: Sequence[DestinationName], ledger: Ledger, clock: Clock
) -> None:
    """Set the analysis DELIVERED or FAILED once none of its destinations has anything open."""
    records = [r for r in ledger.deliveries.of(analysis_id) if r.destination in destinations]
    lane = lane_of(records)
    if lane is Lane.OPEN or ledger.analyses.get(analysis_id).state is not AnalysisState.ENCODED:
        return
    if lane is Lane.DONE:
        ledger.analyses.move(
            analysis_id, AnalysisState.DELIVERED, reason=None, who=WHO, now=clock.now()
        )
        return
    lost = [record for record in records if record.state in LOST]
    names = ", ".join(sorted({record.destination for record in lost}))
    first = lost[0].reason or Reason(code=DestinationUnreachable.code, text="lost")
    text = f"{len(lost)} of {len(records)} objects did not reach {names}: {first.text}"
    reason = Reason(code=first.code, text=text)
    state = AnalysisState.FAILED
    ledger.analyses.move(analysis_id, state, reason=reason, who=WHO, now=clock.now())


def _of(
    ledger: Ledger, analysis_id: AnalysisId, name: DestinationName
) -> tuple[DeliveryRecord, ...]:
    return tuple(r for r in ledger.deliveries.of(analysis_id) if r.destination == name)


def _move(
    ledger: Ledger, record: DeliveryRecord, to: DeliveryState, status: int | None, reason: Reason,
    clock: Clock,
) -> None:  # fmt: skip
    ledger.deliveries.move(
        record.analysis_id,
        record.destination,
        record.sop_instance_uid,
        to,
        status=status,
        reason=reason,
        now=clock.now(),
    )
