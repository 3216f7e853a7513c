"""Connections to the HTTP port that ask for nothing, or never come to an end, are closed.

uvicorn waits without end for the head of a request, and for any number of connections. Here
each gets a time for its head, and when there are too many, the one that waits longest goes.
Nor does it mind a body that goes on after its answer, or an answer that nobody reads: for
both there is a time here, too.
"""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""From the connection, or the first byte of a later request, to the whole head of a request."""

MOST_WAITING: Final = 128

REST_BYTES: Final = 2**20
"""As much of a body is still read after its answer, so that its sender comes to see that."""


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with a deadline for what a peer has to do; see `patient_protocol`."""

    head_s: ClassVar[float] = HEAD_S
    most_waiting: ClassVar[int] = MOST_WAITING
    waiting: ClassVar[dict[Any, asyncio.TimerHandle]] = {}  # the oldest first
    _ending: asyncio.TimerHandle | None = None  # once all is said
    _stuck: asyncio.TimerHandle | None = None  # while the peer does not read
    _rest = REST_BYTES

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Go on waiting where the head is not whole."""
        if self._ending is not None:
            self._rest -= len(data)
            if self._rest < 0:
                self.give_up()
                return
        super().data_received(data)
        if self._ending is not None and self.conn.their_state is not h11.SEND_BODY:
            self._ending.cancel()
            self._ending = None
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        for timer in (self._ending, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Give a body that is no longer wanted some time to end, and the peer some to read."""
        super().on_response_complete()
        if self.transport.is_closing() or self.conn.their_state is h11.SEND_BODY:
            self._end_soon()

    def timeout_keep_alive_handler(self) -> None:
        """Close, also where the peer never reads its last answer."""
        super().timeout_keep_alive_handler()
        self._end_soon()

    def pause_writing(self) -> None:
        """Give the peer some time to go on reading."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.head_s, self.give_up)

    def resume_writing(self) -> None:
        """Wait no longer for it to read."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._rest = REST_BYTES
            self._ending = self.loop.call_later(self.head_s, self.give_up)

    def _wait_for_head(self) -> None:
        if self in self.waiting:
            return
        if len(self.waiting) >= self.most_waiting:
            next(iter(self.waiting)).give_up()
        self.waiting[self] = self.loop.call_later(self.head_s, self.give_up)

    def _stop_waiting(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def give_up(self) -> None:
        """Close the connection."""
        self._stop_waiting()
        self.transport.abort()


def patient_protocol(
    *, head_s: float = HEAD_S, most_waiting: int = MOST_WAITING
) -> type[asyncio.Protocol]:
    """Return the protocol class of one server; its connections know of each other."""
    limits = {"head_s": head_s, "most_waiting": most_waiting, "waiting": {}}
    return type("PatientProtocolOfOneServer", (PatientProtocol,), limits)
