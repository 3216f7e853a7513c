"""Connections to the HTTP port that ask for nothing."""

import contextlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from node.web import patience
from node.web.server import HttpServer, make_app
from tests.support.peers import free_port

ASK = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve with little patience."""
    made = patience.patient_protocol(head_s=0.3, most_waiting=8)
    monkeypatch.setattr("node.web.server.patient_protocol", lambda: made)
    found = free_port()
    server = HttpServer(make_app(lambda: (b"", "text/plain"), tuple), "127.0.0.1", found)
    server.start()
    yield found
    server.stop()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def is_closed(connection: socket.socket) -> bool:
    """Wait for the end of a connection, reading what comes before."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize("said", [b"", b"GET", ASK[:-2], b"\r\n"])
def test_a_connection_without_a_whole_head_is_closed(port: int, said: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(said)
        assert is_closed(connection)


def test_the_head_of_a_later_request_has_a_limit_too(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(ASK)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(ASK[:5])
        assert is_closed(connection)


def test_a_crowd_of_silent_connections_keeps_nobody_out(port: int) -> None:
    with ExitStack() as crowd:
        silent = [crowd.enter_context(connect(port)) for _ in range(60)]
        with connect(port) as connection:
            connection.sendall(ASK)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert all(map(is_closed, silent))


def test_requests_one_after_another_go_over_one_connection(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.connect()
        opened = connection.sock
        for _ in range(3):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"
            assert connection.sock is opened
