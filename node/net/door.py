"""The door before the associations: one thread in which connections wait until they ask.

pynetdicom gives every TCP connection two threads at once. Here a connection costs a
descriptor until its A-ASSOCIATE-RQ is there, on a TLS port its ClientHello, so that port
probes, load balancers and half-open connections cost nothing and delay nobody.
"""

import contextlib
import logging
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

logger = logging.getLogger(__name__)

ASSOCIATE_RQ: Final = b"\x01"
CLIENT_HELLO: Final = b"\x16\x03"
"""A handshake record of whatever version of TLS (RFC 8446 5.1)."""

HEAD: Final = 6
"""PDU type, a reserved byte, length: what every PDU begins with (PS3.8 9.3.1).

Or the type of a TLS record, two bytes of version, two of length, and the type of the message.
"""

RECORD_HEAD: Final = 5
LONGEST_RECORD: Final = 2**14
HELLO: Final = 0x01
"""The message that a client begins with (RFC 8446 4)."""

LOOK: Final = 16 * 1024
"""As much of a request is waited for here; nearly all are shorter."""

LONGEST_REQUEST: Final = 512 * 1024
"""128 presentation contexts with all transfer syntaxes take about 150 kB."""

ACCEPTS_AT_ONCE: Final = 64
MOST_DESCRIPTORS: Final = 65_536
"""More are of no use, and some programs walk through all that they may have."""

BREATH_S: Final = 0.05
"""Pause when descriptors have run out and no waiting connection can be closed."""

Address = Any
TakeOver = Callable[[socket.socket, Address], None]


@dataclass(slots=True)
class _Waiting:
    address: Address
    deadline: float
    wanted: int = HEAD


def bytes_wanted(head: bytes, first: bytes = ASSOCIATE_RQ) -> int | None:
    """Return how many bytes must be there before an association is made of a connection.

    head: what came so far. first: what it must begin with, ASSOCIATE_RQ or CLIENT_HELLO.
    None: it will never be one.
    """
    if head[: len(first)] != first[: len(head)]:
        return None
    if len(head) < HEAD:
        return HEAD
    return _request_wanted(head) if first == ASSOCIATE_RQ else _hello_wanted(head)


def _request_wanted(head: bytes) -> int | None:
    (length,) = struct.unpack_from(">I", head, 2)
    return None if length > LONGEST_REQUEST else min(HEAD + int(length), LOOK)


def _hello_wanted(head: bytes) -> int | None:
    (length,) = struct.unpack_from(">H", head, 3)
    if not 0 < length <= LONGEST_RECORD or head[RECORD_HEAD] != HELLO:
        return None
    return min(RECORD_HEAD + int(length), LOOK)


def more_descriptors(wanted: int = MOST_DESCRIPTORS) -> int:
    """Let the process open as many descriptors as it may, up to `wanted`; return how many.

    The usual soft limit is 1,024, for programs that use select(); a door alone may hold that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return soft
    with contextlib.suppress(OSError, ValueError):  # forbidden: then it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Door:
    """Accepts connections on a listening socket and hands on those that ask for something.

    take_over: gets the connection, in blocking mode, nothing read from it, and its address.
    patience_s: how long a connection may be silent. most_waiting: when one more comes, the
    oldest is closed. first: what they ask with, ASSOCIATE_RQ or on a TLS port CLIENT_HELLO.
    on_ignored: called for each connection that never asked.
    """

    def __init__(
        self,
        listening: socket.socket,
        take_over: TakeOver,
        *,
        patience_s: float,
        most_waiting: int = 1024,
        first: bytes = ASSOCIATE_RQ,
        on_ignored: Callable[[], None] = lambda: None,
    ) -> None:
        self._listening = listening
        self._take_over = take_over
        self._patience_s = patience_s
        self._most_waiting = most_waiting
        self._first = first
        self._on_ignored = on_ignored
        self._waiting: dict[socket.socket, _Waiting] = {}  # the oldest first
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, and close what waits; the listening socket stays open."""
        self._stopping.set()
        self._ringer.send(b"\0")
        self._thread.join()
        for connection in list(self._waiting):
            self._leave(connection)
            connection.close()
        self._selector.close()
        self._bell.close()
        self._ringer.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(self._time_to_next_deadline()):
                if key.fileobj is self._listening:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._waiting:
                    self._look(key.fileobj)
            self._close_late()

    def _time_to_next_deadline(self) -> float | None:
        oldest = next(iter(self._waiting.values()), None)
        return None if oldest is None else max(oldest.deadline - time.monotonic(), 0.0)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.warning("cannot accept connections", extra={"errno": error.errno})
                if not self._close_oldest():
                    self._stopping.wait(BREATH_S)
                return
            self._let_wait(connection, address)

    def _let_wait(self, connection: socket.socket, address: Address) -> None:
        if len(self._waiting) >= self._most_waiting:
            self._close_oldest()
        connection.setblocking(False)
        # The kernel wakes us only when so many bytes are there, or none will come any more.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HEAD)
        self._waiting[connection] = _Waiting(address, time.monotonic() + self._patience_s)
        self._selector.register(connection, selectors.EVENT_READ)

    def _look(self, connection: socket.socket) -> None:
        waiting = self._waiting[connection]
        try:
            head = connection.recv(LOOK, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._ignore(connection)
            return
        wanted = bytes_wanted(head, self._first)
        if wanted is None or len(head) < waiting.wanted:
            self._ignore(connection)  # it asks for something else, or it was closed
        elif len(head) >= wanted:
            self._hand_on(connection)
        else:
            waiting.wanted = wanted
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _hand_on(self, connection: socket.socket) -> None:
        address = self._leave(connection).address
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            connection.setblocking(True)
            self._take_over(connection, address)
        except (OSError, RuntimeError) as error:  # gone meanwhile, or no thread to be had
            logger.warning("a connection was dropped", extra={"error": type(error).__name__})
            connection.close()

    def _leave(self, connection: socket.socket) -> _Waiting:
        self._selector.unregister(connection)
        return self._waiting.pop(connection)

    def _ignore(self, connection: socket.socket) -> None:
        self._leave(connection)
        with contextlib.suppress(OSError):
            connection.close()
        self._on_ignored()

    def _close_oldest(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            self._ignore(oldest)
        return oldest is not None

    def _close_late(self) -> None:
        now = time.monotonic()
        while self._waiting:
            connection, waiting = next(iter(self._waiting.items()))
            if waiting.deadline > now:
                return
            self._ignore(connection)
