"""Whether the ledger answers, how much is in it, and which executors are alive."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table, func, select, text

from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.store import schema
from node.store.database import Database
from node.store.stories import ExecutorBeat, LedgerCounts

State = TypeVar("State", bound=StrEnum)


class Health:
    """The side of the ledger that probes, metrics and the sentinel use."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def ping(self) -> None:
        """Ask for nothing; raises LedgerUnavailable when no answer comes."""
        with self._database.read() as connection:
            connection.execute(text("SELECT 1"))

    def counts(self) -> LedgerCounts:
        """Return how much there is of everything."""
        studies, refusals = schema.studies, schema.refusals
        with self._database.read() as connection:
            row = connection.execute(
                select(
                    func.count().label("studies"),
                    func.coalesce(func.sum(studies.c.instances), 0).label("instances"),
                    func.coalesce(func.sum(studies.c.size_bytes), 0).label("size_bytes"),
                ).select_from(studies)
            ).one()
            refused = connection.execute(
                select(refusals.c.code, func.sum(refusals.c.times)).group_by(refusals.c.code)
            ).all()
            return LedgerCounts(
                studies=row.studies,
                instances=int(row.instances),
                size_bytes=int(row.size_bytes),
                revisions=_by_state(connection, schema.revisions, RevisionState),
                analyses=_by_state(connection, schema.analyses, AnalysisState),
                deliveries=_by_state(connection, schema.deliveries, DeliveryState),
                refusals={code: int(times) for code, times in refused},
            )

    def stages(self) -> Mapping[str, tuple[int, float]]:
        """Return for each stage of an analysis how often it was done and its seconds in all."""
        table = schema.steps
        query = (
            select(table.c.step, func.count(), func.sum(table.c.seconds))
            .where(table.c.seconds.is_not(None))
            .group_by(table.c.step)
            .order_by(table.c.step)
        )
        with self._database.read() as connection:
            return {step: (count, sum_s) for step, count, sum_s in connection.execute(query)}

    def waiting_analyses(self) -> int:
        """Return how many analyses are QUEUED."""
        table = schema.analyses
        with self._database.read() as connection:
            found = connection.execute(
                select(func.count()).where(table.c.state == AnalysisState.QUEUED.value)
            ).scalar_one()
        return int(found)

    def oldest_waiting_s(self, now: datetime) -> float | None:
        """Return how long the oldest QUEUED analysis waits for an executor, None without one."""
        table = schema.analyses
        with self._database.read() as connection:
            oldest = connection.execute(
                select(func.min(table.c.changed_at)).where(
                    table.c.state == AnalysisState.QUEUED.value
                )
            ).scalar()
        return None if oldest is None else max(0.0, (now - oldest).total_seconds())

    def beat(self, executor_id: str, now: datetime) -> None:
        """Note that an executor is alive."""
        table = schema.executors
        insertion: Any = self._database.insert(table).values(executor_id=executor_id, beat_at=now)
        with self._database.write() as connection:
            connection.execute(
                insertion.on_conflict_do_update(
                    index_elements=[table.c.executor_id], set_={"beat_at": now}
                )
            )

    def executors(self) -> tuple[ExecutorBeat, ...]:
        """Return every executor that ever said that it lives, the latest first."""
        table = schema.executors
        with self._database.read() as connection:
            return tuple(
                ExecutorBeat(executor_id=row.executor_id, beat_at=row.beat_at)
                for row in connection.execute(select(table).order_by(table.c.beat_at.desc()))
            )


def _by_state(connection: Connection, table: Table, states: type[State]) -> dict[State, int]:
    found = connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).all()
    counted = {row[0]: int(row[1]) for row in found}
    return {state: counted.get(state.value, 0) for state in states}
