"""Reads the stories of node/store/stories.py out of the tables."""

from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from node.domain.ids import RevisionNumber, StudyInstanceUID
from node.domain.states import AnalysisState, RevisionState
from node.domain.study import Refusal
from node.store import rows, schema
from node.store.analyses import rows_of_study, steps_of
from node.store.database import Database
from node.store.deliveries import deliveries_of
from node.store.evidence import said_of
from node.store.stories import AnalysisStory, StudyLine, StudyStory, Transition
from node.store.studies import series_facts

REFUSALS_LIMIT: Final = 500


class Stories:
    """The side of the ledger that people read."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def list_studies(self, limit: int) -> tuple[StudyLine, ...]:
        """Return the studies that received something last, the newest first."""
        studies, revisions = schema.studies, schema.revisions
        query = (
            select(
                studies,
                revisions.c.state,
                revisions.c.decision,
                _series_count().label("series"),
                _latest_analysis().label("analysis"),
            )
            .join(
                revisions,
                (revisions.c.study_instance_uid == studies.c.study_instance_uid)
                & (revisions.c.revision == studies.c.revision),
            )
            .order_by(studies.c.last_received_at.desc(), studies.c.study_instance_uid)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(map(_line, connection.execute(query)))

    def story(self, study: StudyInstanceUID) -> StudyStory | None:
        """Return everything about a study, or None when it is not in the ledger."""
        table = schema.studies
        with self._database.read() as connection:
            row = connection.execute(
                select(table).where(table.c.study_instance_uid == study)
            ).one_or_none()
            if row is None:
                return None
            series = series_facts(connection, study)
            return StudyStory(
                study_instance_uid=study,
                header=series[0].header,
                first_received_at=row.first_received_at,
                last_received_at=row.last_received_at,
                instances=row.instances,
                size_bytes=row.size_bytes,
                series=series,
                procedure_steps=said_of(connection, study).steps,
                refusals=_refusals_of(connection, study),
                revisions=_revisions_of(connection, study),
                analyses=_analyses_of(connection, study),
                transitions=_transitions_of(connection, study),
            )

    def refusals_without_study(self) -> tuple[Refusal, ...]:
        """Return the latest refusals that belong to no study of the ledger, newest first."""
        table = schema.refusals
        known = select(schema.studies.c.study_instance_uid)
        with self._database.read() as connection:
            return tuple(
                map(
                    rows.refusal,
                    connection.execute(
                        select(table)
                        .where(table.c.study_instance_uid.not_in(known))
                        .order_by(table.c.at.desc(), table.c.sop_instance_uid)
                        .limit(REFUSALS_LIMIT)
                    ),
                )
            )


def _series_count() -> Any:
    table = schema.series
    return (
        select(func.count())
        .where(table.c.study_instance_uid == schema.studies.c.study_instance_uid)
        .correlate(schema.studies)
        .scalar_subquery()
    )


def _latest_analysis() -> Any:
    table = schema.analyses
    return (
        select(table.c.state)
        .where(table.c.study_instance_uid == schema.studies.c.study_instance_uid)
        .order_by(table.c.created_at.desc(), table.c.revision.desc())
        .limit(1)
        .correlate(schema.studies)
        .scalar_subquery()
    )


def _line(row: Row[Any]) -> StudyLine:
    decision = rows.decision(row)
    return StudyLine(
        study_instance_uid=StudyInstanceUID(row.study_instance_uid),
        revision=RevisionNumber(row.revision),
        state=RevisionState(row.state),
        reason=None if decision is None else decision.reason,
        series=row.series,
        instances=row.instances,
        last_received_at=row.last_received_at,
        analysis=None if row.analysis is None else AnalysisState(row.analysis),
    )


def _refusals_of(connection: Connection, study: StudyInstanceUID) -> tuple[Refusal, ...]:
    table = schema.refusals
    return tuple(
        map(
            rows.refusal,
            connection.execute(
                select(table).where(table.c.study_instance_uid == study).order_by(table.c.at)
            ),
        )
    )


def _revisions_of(connection: Connection, study: StudyInstanceUID) -> tuple[Any, ...]:
    table = schema.revisions
    return tuple(
        map(
            rows.revision,
            connection.execute(
                select(table).where(table.c.study_instance_uid == study).order_by(table.c.revision)
            ),
        )
    )


def _analyses_of(connection: Connection, study: StudyInstanceUID) -> tuple[AnalysisStory, ...]:
    return tuple(
        AnalysisStory(
            record=rows.analysis(row),
            steps=steps_of(connection, row.analysis_id),
            deliveries=deliveries_of(connection, row.analysis_id),
        )
        for row in rows_of_study(connection, study)
    )


def _transitions_of(connection: Connection, study: StudyInstanceUID) -> tuple[Transition, ...]:
    table = schema.transitions
    return rows.transitions(
        connection.execute(
            select(table).where(table.c.study_instance_uid == study).order_by(table.c.number)
        )
    )
