"""Storage commitment, the side of `serve`: what is committed, and telling it by calling back."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from node.domain.clock import Clock
from node.domain.errors import LedgerUnavailable, PeerFault, SegnodeError, SpoolDamaged
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID
from node.listener.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    Failures,
    ObjectReference,
    result_of,
    was_taken,
)
from node.listener.requests import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE
from node.net.scu import Peer, report_event
from node.store.commitments import Commitment, Kept
from node.store.ledger import Ledger
from node.store.spool import Spool

logger: Final = logging.getLogger(__name__)

LONGEST_SLEEP_S: Final = 30.0
KEPT_FOR: Final = timedelta(days=30)
"""Closed requests are forgotten after this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPlan:
    """When to call back. grace_s: for the answer on the association of the request.

    settling_s: until the next look at what is on its way to the ledger. first_s, factor,
    longest_s: between attempts. attempts: failed ones, after which it is given up.
    """

    grace_s: float = 120.0
    settling_s: float = 1.0
    first_s: float = 30.0
    factor: float = 2.0
    longest_s: float = 3600.0
    attempts: int = 12

    def pause_s(self, attempts: int) -> float:
        """Return the seconds to wait after so many failed attempts, at least one."""
        return float(min(self.first_s * self.factor ** (attempts - 1), self.longest_s))


def failures(
    objects: Sequence[ObjectReference], ledger: Ledger, spool: Spool, *, settling: bool
) -> Failures:
    """Return why objects are not committed (PS3.4 J.3.3.1.1.2); all others are.

    Committed is what has its row in the ledger and its whole file in the spool.
    settling: whether something was on its way to the ledger before this was asked.
    Raises LedgerUnavailable.
    """
    kept = ledger.commitments.kept([SOPInstanceUID(sop) for _, sop in objects])
    reasons = {
        place: reason
        for place, (sop_class, sop) in enumerate(objects)
        if (reason := _reason(SOPClassUID(sop_class), kept.get(SOPInstanceUID(sop)), spool))
    }
    return Failures(reasons=reasons, settling=settling)


def _reason(sop_class_uid: SOPClassUID, kept: Kept | None, spool: Spool) -> int | None:
    if kept is None:
        return NO_SUCH_INSTANCE
    if kept.sop_class_uid != sop_class_uid:
        return CLASS_INSTANCE_CONFLICT
    try:
        size = spool.path(kept.path).stat().st_size
    except (OSError, SpoolDamaged):
        return NO_SUCH_INSTANCE
    return None if size == kept.size_bytes else NO_SUCH_INSTANCE


class Callback:
    """Tells modalities what they could not be told on their own association."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        clock: Clock,
        *,
        peers: Mapping[AETitle, Peer],
        settling: Callable[[], bool],
        plan: CallbackPlan,
    ) -> None:
        self._ledger: Final = ledger
        self._spool: Final = spool
        self._clock: Final = clock
        self._peers: Final = peers
        self._settling: Final = settling
        self._plan: Final = plan
        self._woken: Final = threading.Event()
        self._said = ""

    def wake(self) -> None:
        """Say that something may be due; returns at once."""
        self._woken.set()

    def run(self, stop: threading.Event) -> None:
        """Tell what is due until `stop` is set (and `wake` called)."""
        while not stop.is_set():
            seconds = self._round(stop)
            self._woken.wait(seconds)
            self._woken.clear()

    def _round(self, stop: threading.Event) -> float:
        """Tell what is due; return the seconds until something may be due again."""
        try:
            self.answer_due(stop)
            if stop.is_set():
                return 0.0
            self._ledger.commitments.forget(self._clock.now() - KEPT_FOR)
            seconds = self._ledger.commitments.seconds_to_next(self._clock.now())
        except Exception as error:  # noqa: BLE001 - the loop outlives every defect
            what = error.what if isinstance(error, SegnodeError) else type(error).__name__
            if what != self._said:
                logger.error("storage commitment is not answered now: %s", what)  # noqa: TRY400
            self._said = what
            return LONGEST_SLEEP_S
        self._said = ""
        return LONGEST_SLEEP_S if seconds is None else min(seconds, LONGEST_SLEEP_S)

    def answer_due(self, stop: threading.Event | None = None) -> int:
        """Try each request that is due, once; return how many it were.

        Raises LedgerUnavailable.
        """
        due = self._ledger.commitments.due(self._clock.now())
        for number, request in enumerate(due):
            if stop is not None and stop.is_set():
                return number
            self._answer(request)
        return len(due)

    def _answer(self, request: Commitment) -> None:
        commitments, key = (
            self._ledger.commitments,
            (
                request.transaction_uid,
                request.calling_ae_title,
            ),
        )
        peer = self._peers.get(request.calling_ae_title)
        if peer is None:
            self._give_up(request, "no address is configured for it (listen.peers)")
            return
        settling = self._settling()
        found = failures(request.objects, self._ledger, self._spool, settling=settling)
        if found.reasons and found.settling:
            self._postpone(request, self._plan.settling_s, request.attempts)
            return
        fault = _call(peer, request, found)
        if fault is None:
            commitments.answered(*key)
        elif request.attempts + 1 >= self._plan.attempts:
            self._give_up(request, fault)
        else:
            attempts = request.attempts + 1
            self._postpone(request, self._plan.pause_s(attempts), attempts)

    def _postpone(self, request: Commitment, seconds: float, attempts: int) -> None:
        self._ledger.commitments.postpone(
            request.transaction_uid,
            request.calling_ae_title,
            until=self._clock.now() + timedelta(seconds=seconds),
            attempts=attempts,
        )

    def _give_up(self, request: Commitment, why: str) -> None:
        logger.warning(
            "storage commitment could not be told: %s",
            why,
            extra={"calling": request.calling_ae_title, "objects": len(request.objects)},
        )
        self._ledger.commitments.give_up(request.transaction_uid, request.calling_ae_title)


def _call(peer: Peer, request: Commitment, found: Failures) -> str | None:
    """Tell a peer its result on an association of our own; return why not, None when it has it."""
    event_type, result = result_of(request.transaction_uid, request.objects, found.reasons)
    try:
        status = report_event(peer, PUSH_MODEL, PUSH_MODEL_INSTANCE, event_type, result)
    except LedgerUnavailable:
        raise
    except PeerFault as fault:
        return fault.what
    return None if was_taken(status) else f"{peer} does not take it"
