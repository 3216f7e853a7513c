"""The door on real sockets: who is handed on, who only waits, and how many may."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest

from node.net.door import ASSOCIATE_RQ, CLIENT_HELLO, Door, more_descriptors
from node.net.tls import ClientTls, ServerTls
from tests.support.certificates import Authority
from tests.support.peers import wait_until

LIMIT_S = 20.0
REQUEST = struct.pack(">BBI", 1, 0, 68) + bytes(68)
HELLO = struct.pack(">BBBHB", 0x16, 3, 1, 100, 1) + bytes(99)


class Lobby:
    """What stands behind a door: keeps what is handed on."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.came: Queue[socket.socket] = Queue()
        self.ignored = 0

    def take_over(self, connection: socket.socket, _address: object) -> None:
        self.came.put(connection)

    def ignore(self) -> None:
        self.ignored += 1

    def call(self, *sent: bytes) -> socket.socket:
        calling = socket.create_connection(self.listening.getsockname())
        calling.settimeout(LIMIT_S)
        for part in sent:
            calling.sendall(part)
        return calling

    def next(self) -> socket.socket:
        return self.came.get(timeout=LIMIT_S)


@contextlib.contextmanager
def a_door(
    *, patience_s: float = LIMIT_S, most_waiting: int = 1024, first: bytes = ASSOCIATE_RQ
) -> Iterator[Lobby]:
    lobby = Lobby()
    door = Door(
        lobby.listening,
        lobby.take_over,
        patience_s=patience_s,
        most_waiting=most_waiting,
        first=first,
        on_ignored=lobby.ignore,
    )
    door.start()
    try:
        yield lobby
    finally:
        door.stop()
        lobby.listening.close()
        while not lobby.came.empty():
            lobby.came.get().close()


@pytest.mark.parametrize(("first", "sent"), [(ASSOCIATE_RQ, REQUEST), (CLIENT_HELLO, HELLO)])
def test_who_asks_is_handed_on_with_nothing_read(first: bytes, sent: bytes) -> None:
    with a_door(first=first) as lobby, lobby.call(sent), lobby.next() as taken:
        assert taken.getblocking()
        assert taken.recv(1000) == sent


@pytest.mark.parametrize(("first", "sent"), [(ASSOCIATE_RQ, REQUEST), (CLIENT_HELLO, HELLO)])
def test_who_asks_in_pieces_waits_until_all_of_it_is_there(first: bytes, sent: bytes) -> None:
    with a_door(first=first) as lobby, lobby.call(sent[:3]) as slow:
        with lobby.call(sent), lobby.next():
            pass  # another came later and was first
        slow.sendall(sent[3:10])
        assert lobby.came.empty()
        slow.sendall(sent[10:])
        with lobby.next() as taken:
            assert taken.recv(1000) == sent


@pytest.mark.parametrize(
    ("first", "sent"),
    [
        (ASSOCIATE_RQ, HELLO),
        (CLIENT_HELLO, REQUEST),
        (CLIENT_HELLO, b"GET / HTTP/1.1\r\n\r\n"),
        (CLIENT_HELLO, b"\x16\x03\x01\xff\xff\x01"),
        (CLIENT_HELLO, b"\x16\x03\x01\x00\x00\x01"),
    ],
)
def test_another_language_is_hung_up_on(first: bytes, sent: bytes) -> None:
    with a_door(first=first) as lobby, lobby.call(sent) as other:
        with contextlib.suppress(ConnectionResetError):
            assert other.recv(100) == b""
        wait_until(lambda: lobby.ignored == 1, "it is counted", LIMIT_S)
        assert lobby.came.empty()


@pytest.mark.parametrize("sent", [b"", HELLO[:4], HELLO[:-1]])
def test_a_silent_caller_of_a_tls_port_is_hung_up_on_in_time(sent: bytes) -> None:
    with (
        a_door(first=CLIENT_HELLO, patience_s=0.2) as lobby,
        lobby.call(sent) as silent,
        contextlib.suppress(ConnectionResetError),
    ):
        assert silent.recv(100) == b""


def test_the_oldest_leaves_when_too_many_wait() -> None:
    with a_door(most_waiting=3) as lobby:
        waiting = [lobby.call() for _ in range(5)]
        for gone in waiting[:2]:
            assert gone.recv(100) == b""
        waiting[2].sendall(REQUEST)
        with lobby.next() as taken:
            assert taken.recv(1000) == REQUEST
        for one in waiting:
            one.close()


def test_more_than_1024_descriptors_may_wait() -> None:
    if more_descriptors() < 4000:
        pytest.skip("the machine allows fewer than 4,000 descriptors")
    with a_door(most_waiting=1500) as lobby:
        waiting = [lobby.call() for _ in range(1500)]
        assert waiting[-1].fileno() > 1024
        for number in (0, 700, 1499):
            waiting[number].sendall(REQUEST)
            with lobby.next() as taken:
                assert taken.recv(1000) == REQUEST
        assert lobby.ignored == 0
        for one in waiting:
            one.close()


def test_bare_connections_cost_no_thread_and_are_all_counted() -> None:
    with a_door(first=CLIENT_HELLO) as lobby:
        threads = threading.active_count()
        for _ in range(1000):
            lobby.call().close()
        wait_until(lambda: lobby.ignored == 1000, "all are seen", LIMIT_S)
        assert threading.active_count() == threads


def test_silent_callers_of_a_tls_port_delay_no_handshake(tmp_path: Path) -> None:
    hospital = Authority(tmp_path)
    tls = ServerTls(hospital.issue("segnode"))
    client = ClientTls(hospital.issue("MR1"))
    with a_door(first=CLIENT_HELLO) as lobby, ThreadPoolExecutor(1) as pool:
        silent = [lobby.call(HELLO[:number]) for number in range(100)]
        secured: Future[ssl.SSLSocket] = pool.submit(lambda: tls.shake_hands(lobby.next(), LIMIT_S))
        with (
            client.shake_hands(lobby.call(), LIMIT_S) as calling,
            secured.result(LIMIT_S) as accepted,
        ):
            calling.sendall(b"hello")
            assert accepted.recv(100) == b"hello"
        assert lobby.came.empty()
        for one in silent:
            one.close()
