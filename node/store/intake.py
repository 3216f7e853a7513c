"""What came in: instances, their series and study, and what was refused."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, update

from node.domain.errors import StepCrashed
from node.domain.header import Header
from node.domain.ids import AETitle, RevisionNumber, Sha256, SOPInstanceUID, StudyInstanceUID
from node.domain.states import REVISION_TRANSITIONS, AnalysisState, RevisionState
from node.domain.study import Refusal, StoredInstance
from node.store import codec, moves, rows, schema
from node.store.database import Database
from node.store.intake_sql import IntakeStatements
from node.store.stories import Transition

WHO: Final = "intake"
_BOTTOM: Final = 9_999_999_999


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInstance:
    """A stored instance and the hash of its data set as received (see admit)."""

    instance: StoredInstance
    data_set_sha256: Sha256


class _AlreadyKnownError(Exception):
    """Leaves the transaction, and with it what it had counted."""


class Intake:
    """The side of the ledger that receiving writes."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database
        self._sql: Final = IntakeStatements(database.insert)

    def record_instance(
        self,
        header: Header,
        instance: StoredInstance,
        *,
        calling_ae_title: AETitle,
        now: datetime,
        data_set_sha256: Sha256 | None = None,
    ) -> bool:
        """Record an instance that is on disk; False when its SOP Instance UID is known.

        The first one opens revision 1 of its study. A later one takes the revision back to
        RECEIVING, or, when it was COMPLETE, supersedes it, cancels its queued analyses and
        opens the next. The study is due for a look at once.
        """
        reception = {
            "calling_ae_title": calling_ae_title,
            "data_set_sha256": data_set_sha256 or instance.sha256,
            "received_at": now,
        }
        study = header.study_instance_uid
        try:
            with self._database.write() as connection:
                revision = self._touch_study(connection, study, instance, now)
                revision = self._reopen(connection, study, revision, now)
                self._insert(connection, header, instance, {"revision": revision, **reception})
                self._keep_header(connection, header)
        except _AlreadyKnownError:
            return False
        return True

    def find_instance(self, sop_instance_uid: SOPInstanceUID) -> StoredInstance | None:
        """Return where an instance lies, or None when it is not known."""
        known = self.find(sop_instance_uid)
        return known.instance if known is not None else None

    def find(self, sop_instance_uid: SOPInstanceUID) -> KnownInstance | None:
        """Return an instance and the hash that tells a repeat from a conflict."""
        with self._database.read() as connection:
            row = connection.execute(self._sql.find, {"sop": sop_instance_uid}).one_or_none()
        if row is None:
            return None
        return KnownInstance(
            instance=rows.stored_instance(row), data_set_sha256=Sha256(row.data_set_sha256)
        )

    def get(self, sop_instance_uid: SOPInstanceUID) -> KnownInstance:
        """Return an instance that must be there; raises StepCrashed when it is not."""
        known = self.find(sop_instance_uid)
        if known is None:
            raise StepCrashed("An instance that was there a moment ago is not in the ledger.")
        return known

    def record_rewritten(self, instance: StoredInstance) -> None:
        """Note that the file of a known instance was written anew after the disk lost it."""
        table = schema.instances
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(table.c.sop_instance_uid == instance.sop_instance_uid)
                .values(path=instance.path, sha256=instance.sha256, size_bytes=instance.size_bytes)
            )

    def record_refusal(self, refusal: Refusal) -> None:
        """Record what was not taken; the same again counts up, so that repeats stay one row."""
        with self._database.write() as connection:
            connection.execute(
                self._sql.refuse,
                {
                    "study_instance_uid": refusal.study_instance_uid or "",
                    "sop_instance_uid": refusal.sop_instance_uid or "",
                    "calling_ae_title": refusal.calling_ae_title,
                    "code": refusal.reason.code,
                    "text": refusal.reason.text,
                    "at": refusal.at,
                    "times": 1,
                },
            )

    def _touch_study(
        self,
        connection: Connection,
        study: StudyInstanceUID,
        instance: StoredInstance,
        now: datetime,
    ) -> RevisionNumber:
        """Count the instance in and lock the study's row; return the current revision."""
        row = connection.execute(
            self._sql.touch,
            {
                "study_instance_uid": study,
                "revision": 1,
                "instances": 1,
                "size_bytes": instance.size_bytes,
                "first_received_at": now,
                "last_received_at": now,
            },
        ).one()
        if row.instances == 1:
            _open_revision(connection, study, RevisionNumber(1), now=now, why="the first instance")
        return RevisionNumber(row.revision)

    def _reopen(
        self,
        connection: Connection,
        study: StudyInstanceUID,
        number: RevisionNumber,
        now: datetime,
    ) -> RevisionNumber:
        """Have the revision looked at again, or open the next; return the one in force."""
        found = connection.execute(self._sql.state, {"study": study, "number": number})
        state = RevisionState(found.scalar_one())
        if state is RevisionState.RECEIVING:  # due already
            return number
        if state is RevisionState.COMPLETE:
            return _supersede(connection, study, number, now=now)
        _receive_again(connection, study, number, state, now=now)
        return number

    def _insert(
        self,
        connection: Connection,
        header: Header,
        instance: StoredInstance,
        reception: dict[str, Any],
    ) -> None:
        kept = connection.execute(
            self._sql.keep_instance,
            {
                "sop_instance_uid": instance.sop_instance_uid,
                "series_instance_uid": instance.series_instance_uid,
                "study_instance_uid": header.study_instance_uid,
                "sop_class_uid": header.sop_class_uid,
                "transfer_syntax_uid": header.transfer_syntax_uid,
                "path": instance.path,
                "sha256": instance.sha256,
                "size_bytes": instance.size_bytes,
                "planes": codec.pack_planes(instance.planes),
                **reception,
            },
        )
        if kept.first() is None:
            raise _AlreadyKnownError

    def _keep_header(self, connection: Connection, header: Header) -> None:
        connection.execute(
            self._sql.keep_header,
            {
                "series_instance_uid": header.series_instance_uid,
                "study_instance_uid": header.study_instance_uid,
                "header_key": _header_key(header),
                # The planes of all instances are in their own rows.
                "header": codec.dumps(replace(header, planes=())),
            },
        )


def _header_key(header: Header) -> str:
    """Return what sorts the instances of a series: by number, then by UID."""
    number = _BOTTOM if header.instance_number is None else max(header.instance_number, 0)
    return f"{number:010d} {header.sop_instance_uid}"


def _receive_again(
    connection: Connection,
    study: StudyInstanceUID,
    number: RevisionNumber,
    origin: RevisionState,
    *,
    now: datetime,
) -> None:
    to = RevisionState.RECEIVING
    moves.check(REVISION_TRANSITIONS, origin, to, entity="revision")
    table = schema.revisions
    connection.execute(
        update(table)
        .where(table.c.study_instance_uid == study, table.c.revision == number)
        .values(state=to.value, next_look_at=now, changed_at=now)
    )
    line = moves.step("revision", str(number), (origin, to), who=WHO, why="new images", at=now)
    moves.write_down(connection, study, [line])


def _supersede(
    connection: Connection, study: StudyInstanceUID, number: RevisionNumber, *, now: datetime
) -> RevisionNumber:
    table = schema.revisions
    why = "new images after the study was judged complete"
    connection.execute(
        update(table)
        .where(table.c.study_instance_uid == study, table.c.revision == number)
        .values(state=RevisionState.SUPERSEDED.value, changed_at=now, next_look_at=None)
    )
    states = (RevisionState.COMPLETE, RevisionState.SUPERSEDED)
    line = moves.step("revision", str(number), states, who=WHO, why=why, at=now)
    cancelled = _cancel_queued(connection, study, why=why, now=now)
    moves.write_down(connection, study, [line, *cancelled])
    following = RevisionNumber(number + 1)
    connection.execute(
        update(schema.studies)
        .where(schema.studies.c.study_instance_uid == study)
        .values(revision=following)
    )
    _open_revision(connection, study, following, now=now, why=why)
    return following


def _cancel_queued(
    connection: Connection, study: StudyInstanceUID, *, why: str, now: datetime
) -> list[Transition]:
    """Cancel what has not begun; what runs finds out at its next step."""
    table = schema.analyses
    queued = connection.execute(
        update(table)
        .where(table.c.study_instance_uid == study)
        .where(table.c.state == AnalysisState.QUEUED.value)
        .values(
            state=AnalysisState.CANCELLED.value,
            reason_code="ok",
            reason_text=why,
            changed_at=now,
        )
        .returning(table.c.analysis_id)
    ).all()
    states = (AnalysisState.QUEUED.value, AnalysisState.CANCELLED.value)
    return [
        moves.step("analysis", row.analysis_id, states, who=WHO, why=why, at=now) for row in queued
    ]


def _open_revision(
    connection: Connection,
    study: StudyInstanceUID,
    number: RevisionNumber,
    *,
    now: datetime,
    why: str,
) -> None:
    connection.execute(
        insert(schema.revisions).values(
            study_instance_uid=study,
            revision=number,
            state=RevisionState.RECEIVING.value,
            opened_at=now,
            changed_at=now,
            next_look_at=now,
        )
    )
    states = ("", RevisionState.RECEIVING)
    line = moves.step("revision", str(number), states, who=WHO, why=why, at=now)
    moves.write_down(connection, study, [line])
