"""Senders: what each calling AE title has done here, summed over its associations.

Strangers choose their own AE titles, so the number of rows is bounded: what finds no place is
counted under OTHERS.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from node.domain.ids import AETitle
from node.store import schema
from node.store.database import Database
from node.store.rows import AnyRow
from node.store.visits import SenderVisit

OTHERS: Final = AETitle("(others)")
"""The row of those for whom there is no row of their own."""

MOST_SENDERS: Final = 1024
"""Rows of senders that were let in at least once; the list of callers may say "anyone"."""

MOST_STRANGERS: Final = 64
"""Rows of senders that were only ever rejected."""

MOST_SYNTAXES: Final = 32
"""Transfer syntaxes that are told apart for one sender; the standard has fewer for images."""

OTHER_SYNTAXES: Final = "other"

LONGEST_AE_TITLE: Final = 16
LARGEST_INTEGER: Final = 2**31 - 1
"""What the column of the PDU length takes; the peer may say anything up to 32 bits."""

_ADDED: Final = (
    "associations",
    "aborted",
    "rejected",
    "instances",
    "duplicates",
    "refused",
    "stalled",
    "size_bytes",
    "busy_seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRecord:
    """All visits of one calling AE title together; units as in SenderVisit.

    address, max_pdu: of the last visit. associations: that were let in, the aborted among them.
    busy_seconds: of associations in which something was sent.
    """

    calling_ae_title: AETitle
    address: str
    first_at: datetime
    last_at: datetime
    associations: int
    aborted: int
    rejected: int
    instances: int
    duplicates: int
    refused: int
    stalled: int
    size_bytes: int
    busy_seconds: float
    longest_gap_s: float
    max_pdu: int
    transfer_syntaxes: Mapping[str, int]

    @property
    def instances_per_second(self) -> float | None:
        """Mean rate over the associations in which something was sent; None without any."""
        return self.instances / self.busy_seconds if self.busy_seconds > 0 else None


class Senders:
    """The side of the ledger that knows who sends how."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def record(self, *visits: SenderVisit) -> None:
        """Add visits to what is known of their senders, in one transaction.

        Raises LedgerUnavailable.
        """
        # In one order, so that two processes never wait for each other's rows.
        ordered = sorted(visits, key=lambda visit: _clean(visit.calling_ae_title))
        with self._database.write() as connection:
            for visit in ordered:
                self._record(connection, visit)

    def all(self) -> tuple[SenderRecord, ...]:
        """Return every sender, the latest first."""
        table = schema.senders
        query = select(table).order_by(table.c.last_at.desc(), table.c.calling_ae_title)
        with self._database.read() as connection:
            return tuple(map(_record_of, connection.execute(query)))

    def _record(self, connection: Connection, visit: SenderVisit) -> None:
        table = schema.senders
        title = _place(connection, visit)
        began: Any = self._database.insert(table).values(_nothing_yet(title, visit))
        connection.execute(began.on_conflict_do_nothing(index_elements=[table.c.calling_ae_title]))
        this = table.c.calling_ae_title == title
        row = connection.execute(select(table).where(this).with_for_update()).one()
        connection.execute(update(table).where(this).values(_with(row, visit)))


def _place(connection: Connection, visit: SenderVisit) -> AETitle:
    """Return under which title a visit is counted: its own, or OTHERS when there is no room."""
    table = schema.senders
    title = _clean(visit.calling_ae_title)
    this = table.c.calling_ae_title == title
    known = connection.execute(select(table.c.associations).where(this)).scalar()
    is_stranger = visit.outcome == "rejected"
    if known is not None and (known > 0 or is_stranger):
        return title
    alike = table.c.associations == 0 if is_stranger else table.c.associations > 0
    count = connection.execute(select(func.count()).select_from(table).where(alike)).scalar_one()
    most = MOST_STRANGERS if is_stranger else MOST_SENDERS
    return title if count < most else OTHERS


def _clean(ae_title: str) -> AETitle:
    """Return a title that is fit for a terminal, whatever the sender has put into it."""
    printable = "".join(c if c.isascii() and c.isprintable() else "?" for c in ae_title)
    return AETitle(printable.strip()[:LONGEST_AE_TITLE])


def _nothing_yet(title: AETitle, visit: SenderVisit) -> dict[str, object]:
    return {
        "calling_ae_title": title,
        "address": "",
        "first_at": visit.ended_at,
        "last_at": visit.ended_at,
        **dict.fromkeys(_ADDED, 0),
        "longest_gap_seconds": 0.0,
        "max_pdu": 0,
        "transfer_syntaxes": "{}",
    }


def _with(row: AnyRow, visit: SenderVisit) -> dict[str, object]:
    """Return the columns of a sender after another visit."""
    was_let_in = visit.outcome != "rejected"
    added = {
        "associations": int(was_let_in),
        "aborted": int(visit.outcome == "aborted"),
        "rejected": int(visit.outcome == "rejected"),
        "instances": visit.instances,
        "duplicates": visit.duplicates,
        "refused": visit.refused,
        "stalled": visit.stalled,
        "size_bytes": visit.size_bytes,
        "busy_seconds": visit.seconds if visit.instances else 0.0,
    }
    # Visits may be recorded in another order than they ended.
    is_latest = visit.ended_at >= row.last_at
    return {
        **{name: getattr(row, name) + number for name, number in added.items()},
        "first_at": min(row.first_at, visit.ended_at),
        "last_at": max(row.last_at, visit.ended_at),
        "address": visit.address if is_latest else row.address,
        "longest_gap_seconds": max(row.longest_gap_seconds, visit.longest_gap_s),
        "max_pdu": min(visit.max_pdu, LARGEST_INTEGER) if is_latest and was_let_in else row.max_pdu,
        "transfer_syntaxes": _syntaxes(row.transfer_syntaxes, visit.transfer_syntaxes),
    }


def _syntaxes(known: str, more: Mapping[str, int]) -> str:
    """Return the JSON of both together; beyond the limit, the syntaxes are told as one."""
    counted: Counter[str] = Counter(json.loads(known))
    for uid, number in more.items():
        has_room = uid in counted or len(counted) < MOST_SYNTAXES
        counted[uid if has_room else OTHER_SYNTAXES] += number
    return json.dumps(counted, sort_keys=True, separators=(",", ":"))


def _record_of(row: AnyRow) -> SenderRecord:
    return SenderRecord(
        calling_ae_title=AETitle(row.calling_ae_title),
        address=row.address,
        first_at=row.first_at,
        last_at=row.last_at,
        associations=row.associations,
        aborted=row.aborted,
        rejected=row.rejected,
        instances=row.instances,
        duplicates=row.duplicates,
        refused=row.refused,
        stalled=row.stalled,
        size_bytes=row.size_bytes,
        busy_seconds=row.busy_seconds,
        longest_gap_s=row.longest_gap_seconds,
        max_pdu=row.max_pdu,
        transfer_syntaxes=MappingProxyType(json.loads(row.transfer_syntaxes)),
    )
