"""Deliveries: each object for each destination, until the destination has it for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, update

from node.domain.errors import StepCrashed
from node.domain.ids import AnalysisId, DestinationName, SOPInstanceUID, StudyInstanceUID
from node.domain.states import DELIVERY_TRANSITIONS, DeliveryState
from node.domain.study import DeliveryRecord, Reason
from node.store import moves, rows, schema
from node.store.database import Database

WHO: Final = "delivery"

ATTEMPTED: Final = frozenset(
    {DeliveryState.SENT, DeliveryState.RETRY, DeliveryState.REFUSED, DeliveryState.DEAD}
)
"""States that an attempt to send ends in."""


class Deliveries:
    """The side of the ledger that sending uses."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def plan(self, records: Sequence[DeliveryRecord]) -> None:
        """Insert deliveries; those that are there already stay as they are."""
        with self._database.write() as connection:
            for record in records:
                connection.execute(
                    self._database.insert(schema.deliveries)
                    .values(_columns(record))
                    .on_conflict_do_nothing(
                        index_elements=list(schema.deliveries.primary_key.columns)
                    )
                )

    def of(self, analysis_id: AnalysisId) -> tuple[DeliveryRecord, ...]:
        """Return the deliveries of an analysis, by destination, kind and UID."""
        with self._database.read() as connection:
            return deliveries_of(connection, analysis_id)

    def move(  # noqa: PLR0913 - the three keys of a delivery, and what happened to it
        self,
        analysis_id: AnalysisId,
        destination: DestinationName,
        sop_instance_uid: SOPInstanceUID,
        to: DeliveryState,
        *,
        status: int | None,
        reason: Reason | None,
        now: datetime,
    ) -> None:
        """Take a delivery to another state; SENT, RETRY, REFUSED and DEAD count as an attempt.

        status: what the destination answered. SENT on SENT, PROVEN on PROVEN and so on are
        replayed steps and change nothing, except RETRY on RETRY, which is another attempt.
        Raises StepCrashed for a step that the transition table does not have.
        """
        table = schema.deliveries
        this = (
            (table.c.analysis_id == analysis_id)
            & (table.c.destination == destination)
            & (table.c.sop_instance_uid == sop_instance_uid)
        )
        with self._database.write() as connection:
            row = connection.execute(select(table).where(this).with_for_update()).one_or_none()
            if row is None:
                raise StepCrashed("A delivery was named that is not in the ledger.")
            origin = DeliveryState(row.state)
            if origin is to and to not in DELIVERY_TRANSITIONS[origin]:
                return
            moves.check(DELIVERY_TRANSITIONS, origin, to, entity="delivery")
            connection.execute(
                update(table)
                .where(this)
                .values(
                    state=to.value,
                    status=status,
                    attempts=row.attempts + (to in ATTEMPTED),
                    changed_at=now,
                    **rows.reason_columns(reason),
                )
            )
            states = (origin.value, to.value)
            _write_down(connection, rows.delivery(row), states, reason=reason, now=now)

    def record_seen(self, sop_instance_uid: SOPInstanceUID, now: datetime) -> int:
        """Note that an object of ours came back, sent on by an archive.

        The first time stays. Returns how many deliveries it was news for: 0 for a repeat, and
        for an object of another node, which this ledger never planned to deliver.
        """
        table = schema.deliveries
        with self._database.write() as connection:
            news = connection.execute(
                update(table)
                .where((table.c.sop_instance_uid == sop_instance_uid) & table.c.seen_at.is_(None))
                .values(seen_at=now)
            )
            return news.rowcount


def deliveries_of(connection: Connection, analysis_id: str) -> tuple[DeliveryRecord, ...]:
    """Return the deliveries of an analysis, by destination, kind and UID."""
    table = schema.deliveries
    return tuple(
        map(
            rows.delivery,
            connection.execute(
                select(table)
                .where(table.c.analysis_id == analysis_id)
                .order_by(table.c.destination, table.c.kind, table.c.sop_instance_uid)
            ),
        )
    )


def _columns(record: DeliveryRecord) -> dict[str, Any]:
    return {
        "analysis_id": record.analysis_id,
        "destination": record.destination,
        "sop_instance_uid": record.sop_instance_uid,
        "kind": record.kind,
        "path": record.path,
        "state": record.state.value,
        "status": record.status,
        "attempts": record.attempts,
        "changed_at": record.changed_at,
        **rows.reason_columns(record.reason),
    }


def _write_down(
    connection: Connection,
    record: DeliveryRecord,
    states: tuple[str, str],
    *,
    reason: Reason | None,
    now: datetime,
) -> None:
    study = connection.execute(
        select(schema.analyses.c.study_instance_uid).where(
            schema.analyses.c.analysis_id == record.analysis_id
        )
    ).scalar()
    entity_id = f"{record.analysis_id}/{record.destination}/{record.sop_instance_uid}"
    why = reason.text if reason is not None else ""
    line = moves.step("delivery", entity_id, states, who=WHO, why=why, at=now)
    moves.write_down(connection, StudyInstanceUID(study or ""), [line])
