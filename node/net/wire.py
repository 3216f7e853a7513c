"""PDUs off a socket: one buffer, blocking reads, every wait with a limit (PS3.8 9.3).

Nothing is copied on the way: what is handed on are views of the buffer, valid until the next
PDU is read.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Final

from node.net.storing import (
    BY_USER,
    INVALID_PARAMETER,
    UNRECOGNISED_PDU,
    ConversationLimits,
    Ending,
    Hangup,
    Timing,
)

P_DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
ABORT: Final = 0x07
PDU_TYPES: Final = range(0x01, 0x08)

HEAD: Final = struct.Struct(">BxI")
"""PDU type, a reserved byte, length (PS3.8 9.3.1)."""

ITEM: Final = struct.Struct(">IBB")
"""Item length, presentation context ID, message control header (PS3.8 9.3.5.1, annex E.2)."""

FIRST_BUFFER: Final = 32 * 1024
BUFFER: Final = 512 * 1024
"""Two PDUs of the length that we ask for and more, or the whole of a usual image."""

LINGER_S: Final = 1.0
"""How long a peer may take to close after the last word; then it is cut off."""

STALL_S: Final = (0.025, 0.060)
"""A delayed acknowledgement comes after 40 ms on Linux; within this it is one."""

STALLS_TO_REMEDY: Final = 2

Fragment = tuple[int, int, memoryview]
"""Presentation context ID, message control header, bytes."""


def fragments(body: memoryview) -> Iterator[Fragment]:
    """Split the body of a P-DATA-TF into its presentation data values.

    Raises Hangup when an item's length is wrong, or there is no item.
    """
    offset, end = 0, len(body)
    while True:
        if end - offset < ITEM.size:
            raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER)
        length, context_id, control = ITEM.unpack_from(body, offset)
        past = offset + 4 + length
        if length < 2 or past > end:
            raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER)
        yield context_id, control, body[offset + ITEM.size : past]
        if past == end:
            return
        offset = past


class Wire:
    """The connection of one association; used by its thread only, but for `wake` and `cut`."""

    def __init__(self, connection: socket.socket, limits: ConversationLimits) -> None:
        self.connection: Final = connection
        self.ends_at = time.monotonic() + limits.association_s
        self.stalled = False
        self._limits: Final = limits
        self._is_tls: Final = isinstance(connection, ssl.SSLSocket)
        self._buffer = bytearray(FIRST_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._timeout = 0.0
        self._deadline = self.ends_at
        self._begun: float | None = None  # when the first byte of the message came
        self._latest = 0.0
        self._longest_wait = 0.0
        self._stalls = 0
        self._is_open = True
        _tune(connection)
        if not self._is_tls:
            connection.settimeout(None)

    def next_pdu(self) -> tuple[int, memoryview]:
        """Wait for a PDU and return its type and body. Raises Hangup."""
        if self._start == self._end:
            self._start = self._end = 0
        while True:
            have, wanted = self._end - self._start, HEAD.size
            if have >= HEAD.size:
                kind, length = HEAD.unpack_from(self._buffer, self._start)
                if kind not in PDU_TYPES:
                    raise Hangup(Ending.PROTOCOL, UNRECOGNISED_PDU)
                if length > self._limits.longest_pdu:
                    raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER)
                wanted += length
                if have >= wanted:
                    body = self._start + HEAD.size
                    self._start = body + length
                    return kind, self._view[body : self._start]
            self._make_room(wanted)
            self._fill()

    def message_done(self) -> Timing:
        """End the clock of a message and return what it shows."""
        begun = self._latest if self._begun is None else self._begun
        shortest, longest = STALL_S
        if shortest <= self._longest_wait <= longest:
            self._stalls += 1
            self.stalled = self._stalls >= STALLS_TO_REMEDY
        timing = Timing(
            seconds=self._latest - begun,
            longest_wait_s=self._longest_wait,
            stalled=self.stalled or shortest <= self._longest_wait <= longest,
        )
        self._longest_wait = 0.0
        self._begun = self._latest if self._start < self._end else None
        self._set_deadline()
        return timing

    def widen(self) -> None:
        """Have a buffer for data sets; who only asks has none."""
        self._make_room(BUFFER)

    def is_peer_leaving(self) -> bool:
        """Whether what comes next is a release or an abort, or nothing any more."""
        head = bytes(self._view[self._start : min(self._start + 1, self._end)])
        if not head and not self._is_tls:
            try:
                head = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not head:
                return True
        return head[:1] in (bytes([RELEASE_RQ]), bytes([ABORT]))

    def end_at(self, moment: float) -> float:
        """Let every wait end then (monotonic clock); return when it would have ended."""
        before, self.ends_at = self.ends_at, moment
        self._set_deadline()
        return before

    def send(self, data: bytes) -> None:
        """Send all. Raises OSError when the peer is gone or does not read."""
        self.connection.sendall(data)

    def wake(self) -> None:
        """End a wait for bytes from another thread; the thread can still send."""
        self._shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """End every wait from another thread."""
        self._shutdown(socket.SHUT_RDWR)

    def linger(self) -> None:
        """Give the peer time to read our last word and to close, as the standard has it.

        A connection closed with bytes unread is reset, which may overtake what was sent.
        """
        until = time.monotonic() + LINGER_S
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.connection, ssl.SSLSocket):
                self._wait_at_most(LINGER_S)
                self.connection.unwrap()
        self._shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError, ValueError):
            while (left := until - time.monotonic()) > 0:
                self._wait_at_most(left)
                if not self.connection.recv_into(self._view):
                    return

    def close(self) -> None:
        """Close the connection."""
        if self._is_open:
            self._is_open = False
            self._shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                self.connection.close()

    def _fill(self) -> None:
        """Wait for bytes, as many as come."""
        now = time.monotonic()
        left = self._deadline - now
        if left <= 0:
            late = Ending.LONG if self._deadline >= self.ends_at else Ending.SLOW
            raise Hangup(late, BY_USER)
        idle_s = self._limits.idle_s
        self._wait_at_most(min(idle_s, left))
        try:
            if self.stalled:
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self.connection.recv_into(self._view[self._end :])
        except (BlockingIOError, TimeoutError) as error:
            if left < idle_s:
                return  # the deadline is told above
            raise Hangup(Ending.SILENT, BY_USER) from error
        except OSError as error:
            raise Hangup(Ending.LOST) from error
        if not count:
            raise Hangup(Ending.LOST)
        self._end += count
        self._latest = time.monotonic()
        if self._begun is None:
            self._begun = self._latest
            self._set_deadline()
        else:
            self._longest_wait = max(self._longest_wait, self._latest - now)

    def _set_deadline(self) -> None:
        if self._begun is None:
            self._deadline = self.ends_at
        else:
            self._deadline = min(self.ends_at, self._begun + self._limits.message_s)

    def _make_room(self, wanted: int) -> None:
        """Have place for so many bytes from the start of the PDU on."""
        if len(self._buffer) - self._start >= wanted:
            return
        rest = bytes(self._view[self._start : self._end])
        if len(self._buffer) < wanted:
            self._buffer = bytearray(wanted)
            self._view = memoryview(self._buffer)
        self._view[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _wait_at_most(self, seconds: float) -> None:
        if seconds == self._timeout:
            return
        self._timeout = seconds
        if self._is_tls:
            self.connection.settimeout(seconds)
        else:  # the kernel's own timeout: no poll before each recv
            value = _timeval(seconds)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def _shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):  # the peer was first
            # Not SSLSocket's own, which takes its session away from under the reading thread.
            socket.socket.shutdown(self.connection, how)


def _tune(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer was first
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval; zero would mean for ever."""
    whole = int(seconds)
    return struct.pack("@ll", whole, max(int((seconds - whole) * 1e6), 0 if whole else 1))
