"""Connections to the HTTP port that ask for nothing, or never come to an end."""

import contextlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from node.web import patience
from node.web.server import HttpServer, make_app
from tests.support.peers import free_port, wait_until

ASK = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"


LONG = b"0" * 16 * 2**20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """Serve with little patience."""
    made = patience.patient_protocol(head_s=0.3, most_waiting=8)
    monkeypatch.setattr("node.web.server.patient_protocol", lambda: made)
    server = HttpServer(make_app(lambda: (LONG, "text/plain"), tuple), "127.0.0.1", free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def port(server: HttpServer) -> int:
    return server._server.config.port


def connections(server: HttpServer) -> int:
    return len(server._server.server_state.connections)


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


@pytest.mark.parametrize("path", ["healthz", "nowhere"])
def test_a_body_that_drips_on_after_its_answer_is_cut_off(server: HttpServer, path: str) -> None:
    with connect(server._server.config.port) as connection:
        head = f"GET /{path} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 ")

        def is_cut_off() -> bool:
            with contextlib.suppress(OSError):
                connection.sendall(b"1\r\nx\r\n")
            return connections(server) == 0

        wait_until(is_cut_off, "it is cut off", 20)


def test_a_body_that_floods_on_after_its_answer_is_cut_off(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(ASK[:-2] + b"Content-Length: 1000000000\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 ")
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(bytes(900_000_000))


def test_a_body_that_ends_soon_after_its_answer_costs_nobody_the_connection(port: int) -> None:
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(ASK[:-2] + b"Content-Length: 5\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            connection.sendall(b"later")


@pytest.mark.parametrize("ask", [b"GET /metrics HTTP/1.1\r\nHost: here\r\n", ASK[:-2]])
@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_an_answer_that_nobody_reads_is_given_up(
    server: HttpServer, ask: bytes, more: bytes
) -> None:
    with connect(server._server.config.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(ask + more + b"\r\n")
        wait_until(lambda: connections(server) == 0, "it is cut off", 20)
