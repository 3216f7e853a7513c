"""Storage commitment that modalities asked for: what is owed to whom, until it is answered.

A request is kept before it is acknowledged, so the answer outlives a crash between the two.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from sqlalchemy import Row, delete, func, select, update

from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID
from node.store import schema
from node.store.database import Database

AT_ONCE: Final = 500
"""Objects asked for in one statement; databases bound the number of parameters."""

DUE_LIMIT: Final = 50

ObjectReference = tuple[SOPClassUID, SOPInstanceUID]


class CommitmentState(StrEnum):
    """How far a request is."""

    ASKED = "asked"
    ANSWERED = "answered"  # the modality took the answer
    GIVEN_UP = "given-up"  # it could not be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One request. attempts: failed ones to tell the answer."""

    transaction_uid: str
    calling_ae_title: AETitle
    address: str
    objects: tuple[ObjectReference, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the ledger knows of an object. path: relative to the spool; size_bytes: of the file."""

    sop_class_uid: SOPClassUID
    path: str
    size_bytes: int


class Commitments:
    """The side of the ledger that the storage commitment service uses."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def open(self, request: Commitment, *, now: datetime, next_at: datetime) -> None:
        """Write down a request, to be answered at `next_at` unless it was answered before.

        A modality that asks again under the same transaction means its last request.
        """
        insert = self._database.insert(schema.commitments).values(
            transaction_uid=request.transaction_uid,
            calling_ae_title=request.calling_ae_title,
            address=request.address,
            objects=json.dumps(request.objects),
            state=CommitmentState.ASKED.value,
            attempts=0,
            asked_at=now,
            next_at=next_at,
        )
        fresh = ("address", "objects", "state", "attempts", "asked_at", "next_at")
        with self._database.write() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["transaction_uid", "calling_ae_title"],
                    set_={name: insert.excluded[name] for name in fresh},
                )
            )

    def due(self, now: datetime) -> tuple[Commitment, ...]:
        """Return the requests that wait for an answer and are due, the longest due first."""
        table = schema.commitments
        query = (
            select(table).where(table.c.next_at <= now).order_by(table.c.next_at).limit(DUE_LIMIT)
        )
        with self._database.read() as connection:
            return tuple(map(_commitment, connection.execute(query)))

    def seconds_to_next(self, now: datetime) -> float | None:
        """Return how long nothing is due, 0 when something is, None when nothing waits."""
        query = select(func.min(schema.commitments.c.next_at))
        with self._database.read() as connection:
            soonest = connection.execute(query).scalar()
        return None if soonest is None else max(0.0, (soonest - now).total_seconds())

    def state_of(self, transaction_uid: str, calling_ae_title: AETitle) -> CommitmentState | None:
        """Return how far a request is, None when there was none."""
        table = schema.commitments
        with self._database.read() as connection:
            state = connection.execute(
                select(table.c.state).where(_this(transaction_uid, calling_ae_title))
            ).scalar()
        return None if state is None else CommitmentState(state)

    def answered(self, transaction_uid: str, calling_ae_title: AETitle) -> None:
        """Close a request: the modality has the answer."""
        self._close(transaction_uid, calling_ae_title, CommitmentState.ANSWERED)

    def give_up(self, transaction_uid: str, calling_ae_title: AETitle) -> None:
        """Close a request that cannot be answered."""
        self._close(transaction_uid, calling_ae_title, CommitmentState.GIVEN_UP)

    def postpone(
        self, transaction_uid: str, calling_ae_title: AETitle, *, until: datetime, attempts: int
    ) -> None:
        """Have an open request answered later; attempts: how many have failed so far."""
        table = schema.commitments
        this = _this(transaction_uid, calling_ae_title)
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(this, table.c.next_at.is_not(None))
                .values(next_at=until, attempts=attempts)
            )

    def forget(self, before: datetime) -> int:
        """Remove closed requests that were made before a time; return how many."""
        table = schema.commitments
        with self._database.write() as connection:
            return connection.execute(
                delete(table).where(table.c.next_at.is_(None), table.c.asked_at < before)
            ).rowcount

    def kept(self, sops: Sequence[SOPInstanceUID]) -> dict[SOPInstanceUID, Kept]:
        """Return what is known of each of these objects; what is not in the ledger is left out."""
        table = schema.instances
        found: dict[SOPInstanceUID, Kept] = {}
        with self._database.read() as connection:
            for some in _batches(sops):
                for row in connection.execute(
                    select(
                        table.c.sop_instance_uid,
                        table.c.sop_class_uid,
                        table.c.path,
                        table.c.size_bytes,
                    ).where(table.c.sop_instance_uid.in_(some))
                ):
                    found[SOPInstanceUID(row.sop_instance_uid)] = Kept(
                        sop_class_uid=SOPClassUID(row.sop_class_uid),
                        path=row.path,
                        size_bytes=row.size_bytes,
                    )
        return found

    def _close(self, transaction_uid: str, calling: AETitle, state: CommitmentState) -> None:
        """Write down how it ended; the list of objects has done its work."""
        with self._database.write() as connection:
            connection.execute(
                update(schema.commitments)
                .where(_this(transaction_uid, calling))
                .values(state=state.value, objects="[]", next_at=None)
            )


def _this(transaction_uid: str, calling_ae_title: AETitle) -> Any:
    table = schema.commitments
    return (table.c.transaction_uid == transaction_uid) & (
        table.c.calling_ae_title == calling_ae_title
    )


def _commitment(row: Row[Any]) -> Commitment:
    return Commitment(
        transaction_uid=row.transaction_uid,
        calling_ae_title=AETitle(row.calling_ae_title),
        address=row.address,
        objects=tuple(
            (SOPClassUID(sop_class), SOPInstanceUID(sop))
            for sop_class, sop in json.loads(row.objects)
        ),
        attempts=row.attempts,
    )


def _batches(sops: Sequence[SOPInstanceUID]) -> Iterator[list[SOPInstanceUID]]:
    left = iter(sops)
    while some := list(islice(left, AT_ONCE)):
        yield some
