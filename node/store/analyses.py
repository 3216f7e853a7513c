"""Analyses: what was ordered, how far it is, and what each of its steps found."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from node.domain.errors import StepCrashed
from node.domain.ids import AnalysisId, BundleName, RuleName, Sha256, StudyInstanceUID
from node.domain.states import (
    ANALYSIS_TRANSITIONS,
    ARRIVED,
    DELIVERY_TRANSITIONS,
    AnalysisState,
    DeliveryState,
    RevisionState,
)
from node.domain.study import AnalysisRecord, Reason, StepRecord
from node.store import codec, moves, rows, schema
from node.store.database import Database, Transaction

OPERATOR: Final = "operator"

Enqueue = Callable[[AnalysisRecord, Transaction], None]


class Analyses:
    """The side of the ledger that jobs use."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def get(self, analysis_id: AnalysisId) -> AnalysisRecord:
        """Return an analysis; raises StepCrashed when it is not in the ledger."""
        with self._database.read() as connection:
            return rows.analysis(_row(connection, analysis_id))

    def find(self, analysis_id: AnalysisId) -> AnalysisRecord | None:
        """Return an analysis, or None when it is not in the ledger."""
        table = schema.analyses
        with self._database.read() as connection:
            row = connection.execute(
                select(table).where(table.c.analysis_id == analysis_id)
            ).one_or_none()
        return None if row is None else rows.analysis(row)

    def of_study(self, study: StudyInstanceUID) -> tuple[AnalysisRecord, ...]:
        """Return all analyses of a study, oldest first."""
        with self._database.read() as connection:
            return tuple(map(rows.analysis, rows_of_study(connection, study)))

    def with_inputs(
        self,
        study: StudyInstanceUID,
        rule: RuleName,
        bundle: BundleName,
        inputs_sha256: Sha256,
    ) -> AnalysisRecord | None:
        """Return the latest analysis of the same inputs whose result an archive has, if any.

        That is a DELIVERED one, or one that is still delivering the rest of its objects.
        """
        table, sent = schema.analyses, schema.deliveries
        arrived = [state.value for state in ARRIVED]
        is_arriving = (
            select(sent.c.analysis_id)
            .where(sent.c.analysis_id == table.c.analysis_id, sent.c.state.in_(arrived))
            .exists()
        )
        with self._database.read() as connection:
            row = connection.execute(
                select(table)
                .where(table.c.study_instance_uid == study, table.c.rule == rule)
                .where(table.c.bundle == bundle, table.c.inputs_sha256 == inputs_sha256)
                .where(
                    (table.c.state == AnalysisState.DELIVERED.value)
                    | ((table.c.state == AnalysisState.ENCODED.value) & is_arriving)
                )
                .order_by(table.c.created_at.desc(), table.c.revision.desc())
                .limit(1)
            ).one_or_none()
        return None if row is None else rows.analysis(row)

    def in_state(self, state: AnalysisState) -> tuple[AnalysisRecord, ...]:
        """Return all analyses in a state, the longest in it first."""
        table = schema.analyses
        with self._database.read() as connection:
            return tuple(
                map(
                    rows.analysis,
                    connection.execute(
                        select(table)
                        .where(table.c.state == state.value)
                        .order_by(table.c.changed_at)
                    ),
                )
            )

    def is_current(self, analysis_id: AnalysisId) -> bool:
        """Whether its revision is still the one in force and it was not cancelled."""
        with self._database.read() as connection:
            row = _row(connection, analysis_id)
            revision = connection.execute(
                select(schema.revisions.c.state)
                .join(
                    schema.studies,
                    (schema.studies.c.study_instance_uid == schema.revisions.c.study_instance_uid)
                    & (schema.studies.c.revision == schema.revisions.c.revision),
                )
                .where(schema.revisions.c.study_instance_uid == row.study_instance_uid)
                .where(schema.revisions.c.revision == row.revision)
            ).scalar()
        return (
            revision == RevisionState.COMPLETE.value and row.state != AnalysisState.CANCELLED.value
        )

    def move(
        self,
        analysis_id: AnalysisId,
        to: AnalysisState,
        *,
        reason: Reason | None,
        who: str,
        now: datetime,
    ) -> None:
        """Take an analysis to another state and write down who, why and when.

        The state that it is in already is a replayed step: nothing changes. Raises
        StepCrashed for a step that the transition table does not have.
        """
        with self._database.write() as connection:
            row = _row(connection, analysis_id, lock=True)
            origin = AnalysisState(row.state)
            if origin is to:
                return
            moves.check(ANALYSIS_TRANSITIONS, origin, to, entity="analysis")
            _set_state(connection, analysis_id, to, now=now, **rows.reason_columns(reason))
            why = reason.text if reason is not None else ""
            states = (origin.value, to.value)
            line = moves.step("analysis", analysis_id, states, who=who, why=why, at=now)
            moves.write_down(connection, StudyInstanceUID(row.study_instance_uid), [line])

    def requeue(
        self,
        analysis_id: AnalysisId,
        enqueue: Enqueue,
        *,
        now: datetime,
        who: str = OPERATOR,
    ) -> AnalysisRecord:
        """Queue a FAILED analysis again, as its next attempt, in one transaction with its job.

        Deliveries that were REFUSED or DEAD are PENDING again, those to be retried keep their
        state; the attempts of both count from 0. Raises StepCrashed for another state.
        """
        with self._database.write() as connection:
            row = _row(connection, analysis_id, lock=True)
            origin, to = AnalysisState(row.state), AnalysisState.QUEUED
            moves.check(ANALYSIS_TRANSITIONS, origin, to, entity="analysis")
            _set_state(
                connection,
                analysis_id,
                to,
                now=now,
                attempt=row.attempt + 1,
                **rows.reason_columns(None),
            )
            states, why = (origin.value, to.value), f"attempt {row.attempt + 1}"
            line = moves.step("analysis", analysis_id, states, who=who, why=why, at=now)
            study = StudyInstanceUID(row.study_instance_uid)
            moves.write_down(connection, study, [line])
            _revive_deliveries(connection, study, analysis_id, who=who, now=now)
            record = rows.analysis(_row(connection, analysis_id))
            enqueue(record, Transaction(connection))
            return record

    def begin_step(self, analysis_id: AnalysisId, step: str, now: datetime) -> None:
        """Note that a step begins; a repeated step begins anew in the same row."""
        insertion = self._database.insert(schema.steps).values(
            analysis_id=analysis_id, step=step, started_at=now, seconds=None, summary="{}"
        )
        with self._database.write() as connection:
            connection.execute(
                insertion.on_conflict_do_update(
                    index_elements=list(schema.steps.primary_key.columns),
                    set_={"started_at": now, "seconds": None, "summary": "{}"},
                )
            )

    def end_step(
        self, analysis_id: AnalysisId, step: str, seconds: float, summary: Mapping[str, object]
    ) -> None:
        """Note how long a step took and what it found (plain JSON, without patient data).

        Raises StepCrashed for a step that did not begin.
        """
        table = schema.steps
        with self._database.write() as connection:
            result = connection.execute(
                update(table)
                .where(table.c.analysis_id == analysis_id, table.c.step == step)
                .values(seconds=seconds, summary=codec.dumps(dict(summary)))
            )
            if not result.rowcount:
                raise StepCrashed(f"The step {step} ended without having begun.")

    def steps(self, analysis_id: AnalysisId) -> tuple[StepRecord, ...]:
        """Return the steps of an analysis in the order in which they began."""
        with self._database.read() as connection:
            return steps_of(connection, analysis_id)


def steps_of(connection: Connection, analysis_id: str) -> tuple[StepRecord, ...]:
    """Return the steps of an analysis in the order in which they began."""
    table = schema.steps
    return tuple(
        map(
            rows.step,
            connection.execute(
                select(table)
                .where(table.c.analysis_id == analysis_id)
                .order_by(table.c.started_at, table.c.step)
            ),
        )
    )


def rows_of_study(connection: Connection, study: StudyInstanceUID) -> list[Row[Any]]:
    """Return the rows of a study's analyses, oldest first."""
    table = schema.analyses
    return list(
        connection.execute(
            select(table)
            .where(table.c.study_instance_uid == study)
            .order_by(table.c.created_at, table.c.revision)
        )
    )


def _row(connection: Connection, analysis_id: AnalysisId, *, lock: bool = False) -> Row[Any]:
    table = schema.analyses
    query = select(table).where(table.c.analysis_id == analysis_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise StepCrashed("An analysis was named that is not in the ledger.")
    return row


def _set_state(
    connection: Connection,
    analysis_id: AnalysisId,
    to: AnalysisState,
    *,
    now: datetime,
    **columns: object,
) -> None:
    table = schema.analyses
    connection.execute(
        update(table)
        .where(table.c.analysis_id == analysis_id)
        .values(state=to.value, changed_at=now, **columns)
    )


def _revive_deliveries(
    connection: Connection,
    study: StudyInstanceUID,
    analysis_id: AnalysisId,
    *,
    who: str,
    now: datetime,
) -> None:
    table = schema.deliveries
    found = connection.execute(
        select(table).where(table.c.analysis_id == analysis_id).with_for_update()
    ).all()
    lines = []
    for row in found:
        origin, to = DeliveryState(row.state), DeliveryState.PENDING
        this = (
            (table.c.analysis_id == analysis_id)
            & (table.c.destination == row.destination)
            & (table.c.sop_instance_uid == row.sop_instance_uid)
        )
        if origin is DeliveryState.RETRY:
            connection.execute(update(table).where(this).values(attempts=0))
        elif to in DELIVERY_TRANSITIONS[origin]:
            connection.execute(
                update(table).where(this).values(state=to.value, attempts=0, changed_at=now)
            )
            entity_id = f"{analysis_id}/{row.destination}/{row.sop_instance_uid}"
            states = (origin.value, to.value)
            lines.append(moves.step("delivery", entity_id, states, who=who, why="retry", at=now))
    moves.write_down(connection, study, lines)
