"""Rows of the tables to the frozen values of the domain."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from node.domain.ids import (
    AETitle,
    AnalysisId,
    DestinationName,
    RevisionNumber,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    StudyInstanceUID,
)
from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.domain.study import (
    AnalysisOrder,
    AnalysisRecord,
    CompletionDecision,
    DeliveryRecord,
    Reason,
    Refusal,
    StepRecord,
    StoredInstance,
)
from node.store import codec
from node.store.stories import RevisionStory, Transition

AnyRow = Row[Any]


def reason(row: AnyRow) -> Reason | None:
    """Return the reason of an analysis or a delivery."""
    if row.reason_code is None:
        return None
    return Reason(code=row.reason_code, text=row.reason_text)


def reason_columns(value: Reason | None) -> dict[str, str | None]:
    """Return the two columns that keep a reason."""
    if value is None:
        return {"reason_code": None, "reason_text": None}
    return {"reason_code": value.code, "reason_text": value.text}


def decision(row: AnyRow) -> CompletionDecision | None:
    """Return the last decision about a revision, None before the first look."""
    if row.decision is None:
        return None
    return codec.loads(CompletionDecision, row.decision)


def stored_instance(row: AnyRow) -> StoredInstance:
    """Read a row of the instances."""
    return StoredInstance(
        sop_instance_uid=SOPInstanceUID(row.sop_instance_uid),
        series_instance_uid=SeriesInstanceUID(row.series_instance_uid),
        path=row.path,
        sha256=Sha256(row.sha256),
        size_bytes=row.size_bytes,
        planes=codec.unpack_planes(row.planes),
    )


def analysis(row: AnyRow) -> AnalysisRecord:
    """Read a row of the analyses."""
    return AnalysisRecord(
        order=codec.loads(AnalysisOrder, row.order_json),
        state=AnalysisState(row.state),
        reason=reason(row),
        attempt=row.attempt,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def step(row: AnyRow) -> StepRecord:
    """Read a row of the steps."""
    return StepRecord(
        step=row.step,
        started_at=row.started_at,
        seconds=row.seconds,
        summary=codec.loads(dict[str, object], row.summary),
    )


def delivery(row: AnyRow) -> DeliveryRecord:
    """Read a row of the deliveries."""
    return DeliveryRecord(
        analysis_id=AnalysisId(row.analysis_id),
        destination=DestinationName(row.destination),
        sop_instance_uid=SOPInstanceUID(row.sop_instance_uid),
        kind=row.kind,
        path=row.path,
        state=DeliveryState(row.state),
        status=row.status,
        attempts=row.attempts,
        reason=reason(row),
        changed_at=row.changed_at,
        seen_at=row.seen_at,
    )


def revision(row: AnyRow) -> RevisionStory:
    """Read a row of the revisions."""
    return RevisionStory(
        revision=RevisionNumber(row.revision),
        state=RevisionState(row.state),
        decision=decision(row),
        opened_at=row.opened_at,
        changed_at=row.changed_at,
        next_look_at=row.next_look_at,
    )


def refusal(row: AnyRow) -> Refusal:
    """Read a row of the refusals."""
    return Refusal(
        study_instance_uid=StudyInstanceUID(row.study_instance_uid) or None,
        sop_instance_uid=SOPInstanceUID(row.sop_instance_uid) or None,
        calling_ae_title=AETitle(row.calling_ae_title),
        reason=Reason(code=row.code, text=row.text),
        at=row.at,
    )


def transitions(found: Iterable[AnyRow]) -> tuple[Transition, ...]:
    """Read rows of the transitions."""
    return tuple(
        Transition(
            entity=row.entity,
            entity_id=row.entity_id,
            from_state=row.from_state,
            to_state=row.to_state,
            who=row.who,
            why=row.why,
            at=row.at,
        )
        for row in found
    )
