"""Connections to the HTTP port that ask for nothing are closed after a while.

uvicorn waits without end for the head of a request, and for any number of connections. Here
each gets a time for its head, and when there are too many, the one that waits longest goes.
"""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""From the connection, or the first byte of a later request, to the whole head of a request."""

MOST_WAITING: Final = 128


class PatientProtocol(H11Protocol):
    """uvicorn's protocol with a deadline for heads; see `patient_protocol`."""

    head_s: ClassVar[float] = HEAD_S
    most_waiting: ClassVar[int] = MOST_WAITING
    waiting: ClassVar[dict[Any, asyncio.TimerHandle]] = {}  # the oldest first

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Go on waiting where the head is not whole."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

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
