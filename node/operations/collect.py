"""What the scrape reads from the ledger."""

from collections.abc import Callable
from datetime import timedelta

from node.domain.clock import Clock
from node.store.ledger import Ledger
from node.telemetry.metrics import LedgerNumbers

ALIVE = timedelta(seconds=60)


def ledger_numbers(ledger: Ledger, clock: Clock) -> Callable[[], LedgerNumbers]:
    """Return a function that counts what the ledger holds; it raises LedgerUnavailable."""

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
        )

    return snapshot
