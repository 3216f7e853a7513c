"""What the scrape reads from the ledger."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final

from node.domain.clock import Clock
from node.domain.ids import AETitle
from node.store.ledger import Ledger
from node.store.senders import SenderRecord
from node.telemetry.metrics import LedgerNumbers, SenderNumbers

ALIVE: Final = timedelta(seconds=60)

MOST_SENDERS: Final = 64
"""Senders with series of their own; a site's list of callers may be longer."""

OTHER_SENDERS: Final = "other"


def ledger_numbers(
    ledger: Ledger, clock: Clock, *, senders: Iterable[AETitle] = ()
) -> Callable[[], LedgerNumbers]:
    """Return a function that counts what the ledger holds; it raises LedgerUnavailable.

    senders: AE titles that the site's list of callers names. A caller chooses its own title, so
    all others share one name.
    """
    named = frozenset(sorted(set(senders))[:MOST_SENDERS])

    def snapshot() -> LedgerNumbers:
        now = clock.now()
        counts = ledger.health.counts()
        return LedgerNumbers(
            studies=counts.studies,
            instances=counts.instances,
            size_bytes=counts.size_bytes,
            revisions=counts.revisions,
            analyses=counts.analyses,
            deliveries=counts.deliveries,
            refusals=counts.refusals,
            oldest_waiting_s=ledger.health.oldest_waiting_s(now),
            stages=ledger.health.stages(),
            executors=sum(beat.beat_at > now - ALIVE for beat in ledger.health.executors()),
            senders=sender_numbers(ledger.senders.all(), named),
        )

    return snapshot


def sender_numbers(
    records: Iterable[SenderRecord], named: frozenset[AETitle]
) -> dict[str, SenderNumbers]:
    """Return the numbers of each named sender, and those of all others as one."""
    grouped: dict[str, list[SenderRecord]] = {}
    for record in records:
        title = record.calling_ae_title
        grouped.setdefault(title if title in named else OTHER_SENDERS, []).append(record)
    return {name: _sum(members) for name, members in sorted(grouped.items())}


def _sum(records: list[SenderRecord]) -> SenderNumbers:
    return SenderNumbers(
        associations=sum(r.associations for r in records),
        aborted=sum(r.aborted for r in records),
        rejected=sum(r.rejected for r in records),
        instances=sum(r.instances for r in records),
        duplicates=sum(r.duplicates for r in records),
        refused=sum(r.refused for r in records),
        stalled=sum(r.stalled for r in records),
        size_bytes=sum(r.size_bytes for r in records),
        busy_seconds=sum(r.busy_seconds for r in records),
        longest_gap_s=max(r.longest_gap_s for r in records),
        last_at=max(r.last_at for r in records).timestamp(),
    )
