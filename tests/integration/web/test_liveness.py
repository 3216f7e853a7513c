"""The node says that it lives, also while everything else waits for the ledger."""

import threading
import urllib.request

from node.web.server import HttpServer, make_app
from tests.support.peers import free_port, wait_until

WORKERS = 40
"""Threads of Starlette for requests."""


def test_a_ledger_that_does_not_answer_leaves_the_node_alive() -> None:
    waiting: list[int] = []
    answered = threading.Event()

    def faults() -> tuple[str, ...]:
        waiting.append(1)
        answered.wait(60)
        return ()

    port = free_port()
    server = HttpServer(make_app(lambda: (b"", "text/plain"), faults), "127.0.0.1", port)

    def ask(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
            content: bytes = answer.read()
            return content

    askers = [threading.Thread(target=ask, args=("readyz",)) for _ in range(WORKERS + 5)]
    server.start()
    try:
        for asker in askers:
            asker.start()
        wait_until(lambda: len(waiting) == WORKERS, "all threads wait", 20)
        assert ask("healthz") == b"ok\n"
        assert len(waiting) == WORKERS
    finally:
        answered.set()
        for asker in askers:
            asker.join(60)
        server.stop()
