"""One association as its receiver serves it: let in, counted, reported when it ends."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from pynetdicom import evt

from node.dicom.uids import is_uid
from node.domain.ids import AETitle
from node.listener.arrival import Arrival, Shelf
from node.listener.callers import TEMPORARY_CONGESTION, Rejection, Request
from node.listener.desk import Desk, News
from node.listener.statuses import SUCCESS
from node.net.storing import Party, StoreAnswer, StoreRequest, Timing
from node.store.visits import SenderVisit
from node.telemetry.outcomes import ReceivedOutcome

MOST_SYNTAXES: Final = 16
"""Transfer syntaxes of one association that are counted apart."""

OTHER_SYNTAXES: Final = "other"

Handler = tuple[Any, Callable[[evt.Event], Any]]


class Reception:
    """Serves one association; all of it is called from the association's own thread."""

    def __init__(self, shelf: Shelf, desk: Desk) -> None:
        self._shelf: Final = shelf
        self._desk: Final = desk
        self._request: Request | None = None  # once it was let in
        self._since = self._last = time.monotonic()
        self._max_pdu = 0
        self._stood = self._released = False
        self._outcomes: Counter[ReceivedOutcome] = Counter()
        self._syntaxes: Counter[str] = Counter()
        self._stalled = self._size_bytes = 0
        self._longest_gap_s = 0.0

    def handlers(self) -> list[Handler]:
        """Return each event of pynetdicom with the function that handles it."""
        return [
            (evt.EVT_REQUESTED, self.on_requested),
            (evt.EVT_ESTABLISHED, self.on_established),
            (evt.EVT_RELEASED, self.on_released),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
        ]

    def on_requested(self, event: evt.Event) -> None:
        """Have the association let in or rejected."""
        primitive = event.assoc.requestor.primitive
        request = Request(
            calling_ae_title=str(primitive.calling_ae_title or "").strip(),
            called_ae_title=str(primitive.called_ae_title or "").strip(),
            address=str(event.assoc.requestor.address),
        )
        found = self._judge(request)
        if found is None:
            self._request = request
        else:
            event.assoc.acse.send_reject(found.result, found.source, found.reason)
            event.assoc.kill()

    def _judge(self, request: Request) -> Rejection | None:
        try:
            return self._desk.enter(request)
        except OSError:  # nobody is at the desk: the node is about to stop, or to start again
            return TEMPORARY_CONGESTION

    def on_established(self, event: evt.Event) -> None:
        """Begin to count."""
        self._stood = True
        self._max_pdu = int(event.assoc.requestor.maximum_length or 0)
        self._desk.established()

    def on_released(self, _event: evt.Event) -> None:
        """Note that it ended as it should."""
        self._released = True

    def leave(self) -> None:
        """Report the association; to be called once, when it has ended."""
        if self._request is None:
            return
        self._desk.leave(
            SenderVisit(
                calling_ae_title=AETitle(self._request.calling_ae_title),
                address=self._request.address,
                ended_at=datetime.now(UTC),
                outcome="released" if self._released else "aborted",
                instances=self._outcomes.total(),
                duplicates=self._outcomes["duplicate"],
                refused=self._outcomes["refused"],
                stalled=self._stalled,
                size_bytes=self._size_bytes,
                seconds=time.monotonic() - self._since,
                longest_gap_s=self._longest_gap_s,
                max_pdu=self._max_pdu,
                transfer_syntaxes=dict(self._syntaxes),
            ),
            stood=self._stood,
        )

    def begin(self, request: StoreRequest, party: Party) -> Arrival | StoreAnswer:
        """Make ready for an object, or refuse it before its data set is read (`Storing`)."""
        arrival = Arrival(self._shelf, request, party.calling_ae_title, self._count)
        return arrival.begin() or arrival

    def _count(self, news: News, transfer_syntax_uid: str, timing: Timing | None) -> None:
        """Count an object that is about to be answered, and report it."""
        now = time.monotonic()
        took_s = timing.seconds if timing is not None else 0.0
        if self._outcomes:
            self._longest_gap_s = max(self._longest_gap_s, now - took_s - self._last)
        self._last = now
        self._outcomes[news.outcome] += 1
        self._syntaxes[self._known(transfer_syntax_uid)] += 1
        self._size_bytes += news.size_bytes
        self._stalled += timing is not None and timing.stalled
        self._desk.tell(news)

    def _known(self, transfer_syntax_uid: str) -> str:
        """Return a syntax as it is counted: a peer may offer many, and of any length."""
        if transfer_syntax_uid in self._syntaxes:
            return transfer_syntax_uid
        is_new = is_uid(transfer_syntax_uid) and len(self._syntaxes) < MOST_SYNTAXES
        return transfer_syntax_uid if is_new else OTHER_SYNTAXES
