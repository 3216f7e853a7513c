"""What the judgement of studies reads and writes: evidence, decisions, and the next look."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from node.dicom.stack import describe_stack, is_tiled
from node.domain.errors import StepCrashed
from node.domain.header import Header
from node.domain.ids import RevisionNumber, SeriesInstanceUID, StudyInstanceUID
from node.domain.states import REVISION_TRANSITIONS, AnalysisState, RevisionState
from node.domain.study import (
    AnalysisOrder,
    CompletionDecision,
    Evidence,
    SeriesFacts,
    StoredInstance,
)
from node.store import codec, moves, rows, schema
from node.store.database import Database, Transaction
from node.store.evidence import said_of

WHO: Final = "judgement"
DUE_LIMIT: Final = 500
"""Studies handed out at once; the rest comes with the next look."""

OPEN: Final = (RevisionState.RECEIVING.value, RevisionState.WAITING.value)

Enqueue = Callable[[AnalysisOrder, Transaction], None]


class Studies:
    """The side of the ledger that the completion watchdog uses."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def due(self, now: datetime) -> tuple[StudyInstanceUID, ...]:
        """Return the studies whose next look is due, the longest due first."""
        table = schema.revisions
        with self._database.read() as connection:
            found = connection.execute(
                select(table.c.study_instance_uid)
                .where(table.c.next_look_at <= now)
                .where(table.c.state.in_(OPEN))
                .order_by(table.c.next_look_at)
                .limit(DUE_LIMIT)
            ).scalars()
            return tuple(StudyInstanceUID(uid) for uid in found)

    def seconds_to_next_look(self, now: datetime) -> float | None:
        """Return how long nothing is due, 0 when something is, None when nothing waits."""
        table = schema.revisions
        with self._database.read() as connection:
            soonest = connection.execute(
                select(table.c.next_look_at)
                .where(table.c.next_look_at.is_not(None))
                .where(table.c.state.in_(OPEN))
                .order_by(table.c.next_look_at)
                .limit(1)
            ).scalar()
        return None if soonest is None else max(0.0, (soonest - now).total_seconds())

    def revision(self, study: StudyInstanceUID) -> RevisionNumber:
        """Return the current revision; raises StepCrashed for an unknown study."""
        with self._database.read() as connection:
            return _revision_of(connection, study)

    def evidence(self, study: StudyInstanceUID, now: datetime) -> Evidence:
        """Return all that the judgement may look at: what came so far, and what was said of it.

        Raises StepCrashed for a study that is not in the ledger.
        """
        with self._database.read() as connection:
            row = connection.execute(
                select(schema.studies).where(schema.studies.c.study_instance_uid == study)
            ).one_or_none()
            if row is None:
                raise StepCrashed("A study was judged that is not in the ledger.")
            series = series_facts(connection, study)
            said = said_of(connection, study)
        return Evidence(
            study_instance_uid=study,
            revision=RevisionNumber(row.revision),
            quiet_s=max(0.0, (now - row.last_received_at).total_seconds()),
            age_s=max(0.0, (now - row.first_received_at).total_seconds()),
            series=series,
            steps=said.steps,
            unlisted=said.unlisted,
        )

    def record(
        self,
        study: StudyInstanceUID,
        revision: RevisionNumber,
        decision: CompletionDecision,
        *,
        now: datetime,
        seen: Evidence | None = None,
    ) -> bool:
        """Record WAITING, NOT_ELIGIBLE or GAVE_UP, and when to look again.

        seen: the evidence that was judged; when instances came since, or a modality said
        something else, nothing is written, the study stays due, and the answer is False. So
        it is too when the revision moved on.
        """
        if decision.state in {RevisionState.COMPLETE, RevisionState.SUPERSEDED}:
            raise StepCrashed(f"A decision {decision.state.value} is not recorded this way.")
        with self._database.write() as connection:
            state = _judged_state(connection, study, revision, seen)
            if state is None:
                return False
            _write_decision(connection, study, revision, state, decision, now=now)
            return True

    def complete(  # noqa: PLR0913 - what was judged, what is ordered, and when
        self,
        study: StudyInstanceUID,
        revision: RevisionNumber,
        decision: CompletionDecision,
        order: AnalysisOrder,
        enqueue: Enqueue,
        *,
        now: datetime,
        seen: Evidence | None = None,
    ) -> bool:
        """Complete the revision, create its analysis and enqueue it, in one transaction.

        False, and nothing written, when the revision moved on or the evidence changed
        meanwhile (see `record`). An error of `enqueue` leaves nothing behind either.
        """
        with self._database.write() as connection:
            state = _judged_state(connection, study, revision, seen)
            if state is None:
                return False
            _write_decision(connection, study, revision, state, decision, now=now)
            _insert_analysis(connection, order, now=now)
            enqueue(order, Transaction(connection))
            return True

    def complete_unchanged(
        self,
        study: StudyInstanceUID,
        revision: RevisionNumber,
        decision: CompletionDecision,
        *,
        now: datetime,
        seen: Evidence | None = None,
    ) -> bool:
        """Complete the revision without work: the same inputs were analysed and delivered.

        False, and nothing written, as in `complete`.
        """
        with self._database.write() as connection:
            state = _judged_state(connection, study, revision, seen)
            if state is None:
                return False
            _write_decision(connection, study, revision, state, decision, now=now)
            return True

    def instances_of(
        self, study: StudyInstanceUID, series: Sequence[SeriesInstanceUID]
    ) -> dict[SeriesInstanceUID, tuple[StoredInstance, ...]]:
        """Return the instances of each named series, by SOP Instance UID; none is empty."""
        table = schema.instances
        found: dict[SeriesInstanceUID, list[StoredInstance]] = {uid: [] for uid in series}
        with self._database.read() as connection:
            for row in connection.execute(
                select(table)
                .where(table.c.study_instance_uid == study)
                .where(table.c.series_instance_uid.in_(list(series)))
                .order_by(table.c.sop_instance_uid)
            ):
                found[row.series_instance_uid].append(rows.stored_instance(row))
        return {uid: tuple(instances) for uid, instances in found.items()}

    def undecided(self, since: datetime) -> tuple[StudyInstanceUID, ...]:
        """Return the studies that no rule wanted or that were given up, received since a time."""
        studies, revisions = schema.studies, schema.revisions
        states = (RevisionState.NOT_ELIGIBLE.value, RevisionState.GAVE_UP.value)
        query = (
            select(studies.c.study_instance_uid)
            .join(
                revisions,
                (revisions.c.study_instance_uid == studies.c.study_instance_uid)
                & (revisions.c.revision == studies.c.revision),
            )
            .where(revisions.c.state.in_(states), studies.c.last_received_at >= since)
            .order_by(studies.c.last_received_at)
        )
        with self._database.read() as connection:
            return tuple(map(StudyInstanceUID, connection.execute(query).scalars()))

    def reopen(self, study: StudyInstanceUID, *, now: datetime, who: str = "operator") -> None:
        """Have a study that was NOT_ELIGIBLE or GAVE_UP looked at again.

        Raises StepCrashed for a study in another state, or one that is not in the ledger.
        """
        table = schema.revisions
        with self._database.write() as connection:
            number = _revision_of(connection, study, lock=True)
            this = (table.c.study_instance_uid == study) & (table.c.revision == number)
            state = RevisionState(
                connection.execute(select(table.c.state).where(this)).scalar_one()
            )
            if state is not RevisionState.RECEIVING:
                moves.check(REVISION_TRANSITIONS, state, RevisionState.RECEIVING, entity="revision")
                states = (state.value, RevisionState.RECEIVING.value)
                why = "asked to be looked at again"
                line = moves.step("revision", str(number), states, who=who, why=why, at=now)
                moves.write_down(connection, study, [line])
            connection.execute(
                update(table)
                .where(this)
                .values(state=RevisionState.RECEIVING.value, changed_at=now, next_look_at=now)
            )


def series_facts(connection: Connection, study: StudyInstanceUID) -> tuple[SeriesFacts, ...]:
    """Return the facts of every series of a study, by series number, then by UID."""
    series = schema.series
    headers = connection.execute(
        select(series.c.series_instance_uid, series.c.header).where(
            series.c.study_instance_uid == study
        )
    ).all()
    found = [
        _facts(row.header, connection.execute(_planes_of(study, row.series_instance_uid)).all())
        for row in headers
    ]
    return tuple(sorted(found, key=_by_number))


def _planes_of(study: StudyInstanceUID, series: str) -> Any:
    table = schema.instances
    return select(table.c.planes).where(
        table.c.study_instance_uid == study, table.c.series_instance_uid == series
    )


def _facts(header: str, instances: Sequence[Row[Any]]) -> SeriesFacts:
    planes = [plane for row in instances for plane in codec.unpack_planes(row.planes)]
    first = codec.loads(Header, header)
    return SeriesFacts(
        header=first,
        instances=len(instances),
        stack=describe_stack(planes, tiled=is_tiled(first)),
    )


def _by_number(facts: SeriesFacts) -> tuple[bool, int, str]:
    number = facts.header.series_number
    return (number is None, number or 0, facts.header.series_instance_uid)


def _revision_of(
    connection: Connection, study: StudyInstanceUID, *, lock: bool = False
) -> RevisionNumber:
    """Return the current revision; with `lock`, intake cannot change it before the commit."""
    table = schema.studies
    query = select(table.c.revision).where(table.c.study_instance_uid == study)
    number = connection.execute(query.with_for_update() if lock else query).scalar()
    if number is None:
        raise StepCrashed("A study was named that is not in the ledger.")
    return RevisionNumber(number)


def _judged_state(
    connection: Connection,
    study: StudyInstanceUID,
    revision: RevisionNumber,
    seen: Evidence | None,
) -> RevisionState | None:
    """Return the revision's state, or None when what was judged is no longer what is there."""
    if _revision_of(connection, study, lock=True) != revision:
        return None
    studies, revisions = schema.studies, schema.revisions
    if seen is not None:
        instances = connection.execute(
            select(studies.c.instances).where(studies.c.study_instance_uid == study)
        ).scalar_one()
        if instances != seen.instances or said_of(connection, study).steps != seen.steps:
            return None
    state = RevisionState(
        connection.execute(
            select(revisions.c.state).where(
                revisions.c.study_instance_uid == study, revisions.c.revision == revision
            )
        ).scalar_one()
    )
    return state if state.value in OPEN else None


def _write_decision(
    connection: Connection,
    study: StudyInstanceUID,
    revision: RevisionNumber,
    origin: RevisionState,
    decision: CompletionDecision,
    *,
    now: datetime,
) -> None:
    moves.check(REVISION_TRANSITIONS, origin, decision.state, entity="revision")
    values: dict[str, Any] = {
        "state": decision.state.value,
        "decision": codec.dumps(decision),
        "next_look_at": _next_look(decision, now),
    }
    if decision.state is not origin:
        values["changed_at"] = now
        states = (origin.value, decision.state.value)
        why = decision.reason.text
        line = moves.step("revision", str(revision), states, who=WHO, why=why, at=now)
        moves.write_down(connection, study, [line])
    table = schema.revisions
    connection.execute(
        update(table)
        .where(table.c.study_instance_uid == study, table.c.revision == revision)
        .values(**values)
    )


def _next_look(decision: CompletionDecision, now: datetime) -> datetime | None:
    """Return when to look again; a decision to wait always ends in another look."""
    if decision.state not in {RevisionState.WAITING, RevisionState.RECEIVING}:
        return None
    return now + timedelta(seconds=decision.look_again_s or 0.0)


def _insert_analysis(connection: Connection, order: AnalysisOrder, *, now: datetime) -> None:
    connection.execute(
        insert(schema.analyses).values(
            analysis_id=order.analysis_id,
            study_instance_uid=order.study_instance_uid,
            revision=order.revision,
            rule=order.rule,
            bundle=order.bundle,
            inputs_sha256=order.inputs_sha256,
            order_json=codec.dumps(order),
            state=AnalysisState.QUEUED.value,
            attempt=1,
            created_at=now,
            changed_at=now,
        )
    )
    states = ("", AnalysisState.QUEUED.value)
    why = f"revision {order.revision} is complete"
    line = moves.step("analysis", order.analysis_id, states, who=WHO, why=why, at=now)
    moves.write_down(connection, order.study_instance_uid, [line])
