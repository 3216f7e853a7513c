"""Health and metrics over a real socket."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.domain.errors import ConfigurationInvalid
from node.web.server import HttpServer, make_app
from tests.support.peers import free_port, wait_until


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False


@contextmanager
def a_server(faults: tuple[str, ...] = ()) -> Iterator[int]:
    """Serve on a free port and yield it."""
    port = free_port()
    app = make_app(lambda: (b"segnode_up 1\n", "text/plain"), lambda: faults)
    server = HttpServer(app, "127.0.0.1", port)
    server.start()
    try:
        wait_until(lambda: answers(port), "the server answers", 30)
        yield port
    finally:
        server.stop()


def test_a_node_without_faults_is_healthy_and_ready() -> None:
    with a_server() as port:
        assert get(port, "/healthz") == (200, "ok\n")
        status, body = get(port, "/readyz")
    assert status == 200
    assert json.loads(body) == {"ready": True, "faults": []}


def test_a_node_with_a_fault_lives_but_is_not_ready_and_says_why() -> None:
    with a_server(("spool: full",)) as port:
        assert get(port, "/healthz")[0] == 200
        status, body = get(port, "/readyz")
    assert status == 503
    assert json.loads(body)["faults"] == ["spool: full"]


def test_a_port_that_is_taken_is_a_named_reason() -> None:
    with a_server() as port:
        second = HttpServer(make_app(lambda: (b"", ""), tuple), "127.0.0.1", port)
        with pytest.raises(ConfigurationInvalid, match=str(port)):
            second.start()


def test_metrics_are_passed_through_as_they_are() -> None:
    with a_server() as port:
        assert get(port, "/metrics") == (200, "segnode_up 1\n")


def test_nothing_else_is_served() -> None:
    with a_server() as port:
        assert [get(port, path)[0] for path in ("/docs", "/openapi.json", "/")] == [404] * 3
