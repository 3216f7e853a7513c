"""What came in: instances, their series and study, and what was refused."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, update

from node.domain.header import Header
from node.domain.ids import AETitle, RevisionNumber, SOPInstanceUID, StudyInstanceUID
from node.domain.states import REVISION_TRANSITIONS, AnalysisState, RevisionState
from node.domain.study import Refusal, StoredInstance
from node.store import codec, moves, rows, schema
from node.store.database import Database
from node.store.intake_sql import IntakeStatements
from node.store.stories import Transition

WHO: Final = "intake"
_BOTTOM: Final = 9_999_999_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An instance that is on disk, as the ledger is told of it."""

    header: Header
    instance: StoredInstance
    calling_ae_title: AETitle


class _OvertakenError(Exception):
    """Another writer recorded one of the instances meanwhile; leaves the transaction."""


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
    ) -> bool:
        """Record one instance as record_instances does; False when its UID is known."""
        one = Received(header=header, instance=instance, calling_ae_title=calling_ae_title)
        return bool(self.record_instances([one], now=now))

    def record_instances(
        self, batch: Sequence[Received], *, now: datetime
    ) -> frozenset[SOPInstanceUID]:
        """Record instances that are on disk in one transaction; return whose UIDs were new.

        The first one opens revision 1 of its study. A later one takes the revision back to
        RECEIVING, or, when it was COMPLETE, supersedes it, cancels its queued analyses and
        opens the next. The studies are due for a look at once. Of several in the batch with
        one SOP Instance UID, the first counts.
        """
        first: dict[SOPInstanceUID, Received] = {}
        for received in batch:
            first.setdefault(received.instance.sop_instance_uid, received)
        while True:
            try:
                with self._database.write() as connection:
                    known = self._known(connection, first)
                    return self._record(
                        connection, [r for u, r in first.items() if u not in known], now
                    )
            except _OvertakenError:
                continue  # each time, at least one more of them is known

    def _known(
        self, connection: Connection, sops: Collection[SOPInstanceUID]
    ) -> set[SOPInstanceUID]:
        return set(connection.execute(self._sql.known, {"sops": list(sops)}).scalars())

    def _record(
        self, connection: Connection, news: list[Received], now: datetime
    ) -> frozenset[SOPInstanceUID]:
        """Record what is not known; studies and instances in an order that all writers keep."""
        by_study: dict[StudyInstanceUID, list[Received]] = {}
        for received in sorted(news, key=lambda r: r.instance.sop_instance_uid):
            by_study.setdefault(received.header.study_instance_uid, []).append(received)
        records: list[dict[str, Any]] = []
        for study, its in sorted(by_study.items()):
            revision = self._touch_study(connection, study, its, now)
            revision = self._reopen(connection, study, revision, now)
            records += [_instance_row(r, revision, now) for r in its]
        if records:
            kept = connection.execute(self._sql.keep_instances, records).all()
            if len(kept) < len(records):
                raise _OvertakenError
            connection.execute(self._sql.keep_header, _header_rows(news))
        return frozenset(r.instance.sop_instance_uid for r in news)

    def find_instance(self, sop_instance_uid: SOPInstanceUID) -> StoredInstance | None:
        """Return where an instance lies, or None when it is not known."""
        with self._database.read() as connection:
            row = connection.execute(self._sql.find, {"sop": sop_instance_uid}).one_or_none()
        return rows.stored_instance(row) if row is not None else None

    def find_instances(
        self, sop_instance_uids: Collection[SOPInstanceUID]
    ) -> dict[SOPInstanceUID, StoredInstance]:
        """Return where those of the instances lie that are known."""
        with self._database.read() as connection:
            found = connection.execute(self._sql.find_all, {"sops": list(sop_instance_uids)}).all()
        return {SOPInstanceUID(row.sop_instance_uid): rows.stored_instance(row) for row in found}

    def record_rewritten(self, received: Received) -> None:
        """Note that another file took the place of a known instance's that the disk lost."""
        table = schema.instances
        instance = received.instance
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(table.c.sop_instance_uid == instance.sop_instance_uid)
                .values(
                    transfer_syntax_uid=received.header.transfer_syntax_uid,
                    path=instance.path,
                    sha256=instance.sha256,
                    size_bytes=instance.size_bytes,
                )
            )

    def record_refusal(self, refusal: Refusal) -> None:
        """Record what was not taken; the same again counts up, so that repeats stay one row.

        What a stranger may have made up is cut to what it could have been.
        """
        with self._database.write() as connection:
            connection.execute(
                self._sql.refuse,
                {
                    "study_instance_uid": refusal.study_instance_uid or "",
                    "sop_instance_uid": _plain(refusal.sop_instance_uid or "")[:64],
                    "calling_ae_title": _plain(refusal.calling_ae_title)[:16],
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
        news: list[Received],
        now: datetime,
    ) -> RevisionNumber:
        """Count instances in and lock the study's row; return the current revision."""
        row = connection.execute(
            self._sql.touch,
            {
                "study_instance_uid": study,
                "revision": 1,
                "instances": len(news),
                "size_bytes": sum(r.instance.size_bytes for r in news),
                "first_received_at": now,
                "last_received_at": now,
            },
        ).one()
        if row.instances == len(news):
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


def _plain(text: str) -> str:
    """Return the text with ? for what no UID and no AE title holds (PS3.5 section 6.2)."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _instance_row(received: Received, revision: RevisionNumber, now: datetime) -> dict[str, Any]:
    header, instance = received.header, received.instance
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "series_instance_uid": instance.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "revision": revision,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "path": instance.path,
        "sha256": instance.sha256,
        "size_bytes": instance.size_bytes,
        "planes": codec.pack_planes(instance.planes),
        "calling_ae_title": received.calling_ae_title,
        "received_at": now,
    }


def _header_rows(news: list[Received]) -> list[dict[str, Any]]:
    """Return the header with the lowest key of each series."""
    lowest: dict[tuple[str, str], tuple[str, Header]] = {}
    for received in news:
        header = received.header
        series = (header.study_instance_uid, header.series_instance_uid)
        key = _header_key(header)
        if series not in lowest or key < lowest[series][0]:
            lowest[series] = (key, header)
    return [
        {
            "series_instance_uid": series,
            "study_instance_uid": study,
            "header_key": key,
            # The planes of all instances are in their own rows.
            "header": codec.dumps(replace(header, planes=())),
        }
        for (study, series), (key, header) in sorted(lowest.items(), key=lambda item: item[0])
    ]


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
