"""Associations from the first to the last: counted, and logged in one line when they end."""

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from pynetdicom import evt

from node.telemetry import metrics
from node.telemetry.metrics import AssociationOutcome, ReceivedOutcome

logger: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Visit:
    since: float = field(default_factory=time.monotonic)
    established: bool = False
    size_bytes: int = 0
    instances: Counter[ReceivedOutcome] = field(default_factory=Counter)


class Visits:
    """Keeps the associations that are asked for or open; safe for many threads.

    limit: how many there may be at once. pynetdicom's own limit counts also those that it
    has rejected, as long as their connections last, so that a few strangers could use it up.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[Any, _Visit] = {}
        self._lock = threading.Lock()

    def enter(self, association: Any) -> bool:
        """Take a place for an association that is asked for; False when there is none."""
        with self._lock:
            if len(self._open) >= self._limit:
                # A thread that crashed inside pynetdicom has given no place back.
                self._open = {a: visit for a, visit in self._open.items() if a.is_alive()}
            if len(self._open) >= self._limit:
                return False
            self._open[association] = _Visit()
            return True

    def on_established(self, event: evt.Event) -> None:
        """Begin to count (EVT_ESTABLISHED)."""
        with self._lock:
            self._open.setdefault(event.assoc, _Visit()).established = True
            self._show()

    def on_released(self, event: evt.Event) -> None:
        """End with a release (EVT_RELEASED)."""
        self._end(event.assoc, "released")

    def on_aborted(self, event: evt.Event) -> None:
        """End with an abort of either side, or a lost connection (EVT_ABORTED)."""
        self._end(event.assoc, "aborted")

    def on_closed(self, event: evt.Event) -> None:
        """End what ended without a word (EVT_CONN_CLOSE)."""
        self._end(event.assoc, "released" if event.assoc.is_released else "aborted")

    def on_rejected(self, event: evt.Event) -> None:
        """Count and log a rejection (EVT_REJECTED)."""
        with self._lock:
            self._open.pop(event.assoc, None)
        metrics.association("rejected")
        answer = event.assoc.acceptor.primitive
        logger.warning(
            "association rejected",
            extra={**_who(event.assoc), "reason": answer.reason_str if answer else ""},
        )

    def received(self, association: Any, outcome: ReceivedOutcome, size_bytes: int) -> None:
        """Count an instance that came over an association."""
        metrics.instance_received(outcome, size_bytes)
        with self._lock:
            visit = self._open.get(association)
            if visit is not None:
                visit.instances[outcome] += 1
                visit.size_bytes += size_bytes

    def _end(self, association: Any, outcome: AssociationOutcome) -> None:
        with self._lock:
            visit = self._open.pop(association, None)
            self._show()
        if visit is None:
            return  # ended before, by the other event
        metrics.association(outcome)
        logger.info(
            "association ended",
            extra={
                **_who(association),
                "outcome": outcome,
                "seconds": round(time.monotonic() - visit.since, 3),
                "bytes": visit.size_bytes,
                **{str(became): count for became, count in visit.instances.items()},
            },
        )

    def _show(self) -> None:
        metrics.associations_open(sum(visit.established for visit in self._open.values()))


def _who(association: Any) -> dict[str, str]:
    return {
        "calling": str(association.requestor.ae_title or "").strip(),
        "address": str(association.requestor.address),
    }
