"""A publisher of files over HTTP and HTTPS that can be told to misbehave, and a proxy to it."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(kw_only=True)
class Page:
    """What is answered for one path.

    breaks: after how many bytes each of the next transfers is cut off. statuses: to answer
    first. takes_up: whether a part can be asked for. refuses_parts: with a status.
    tells_length: else the end of the connection is the end of the file.
    """

    body: bytes = b""
    redirect: str = ""
    breaks: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    takes_up: bool = True
    refuses_parts: bool = False
    tells_length: bool = True


@dataclass(kw_only=True)
class Publisher:
    """A server on 127.0.0.1. asked: path and Range of each request, in their order."""

    port: int
    scheme: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def put(self, path: str, page: Page) -> str:
        """Publish a page and return its address."""
        self.pages[path] = page
        return self.url(path)


@contextlib.contextmanager
def publishing(tls: ssl.SSLContext | None = None) -> Iterator[Publisher]:
    """Run a publisher."""

    class Handler(_Handler):
        publisher: Publisher

    with _Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        made = Publisher(port=server.server_port, scheme="http" if tls is None else "https")
        Handler.publisher = made
        with _running(server):
            yield made


@contextlib.contextmanager
def proxying(to: Publisher) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that leads every CONNECT to a publisher; yield its URL and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            with socket.create_connection(("127.0.0.1", to.port)) as there:
                self.send_response(200)
                self.end_headers()
                _pipe(self.connection, there)

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server, _running(server):
        yield f"http://127.0.0.1:{server.server_port}", asked


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that leaves is no news."""


class _Handler(BaseHTTPRequestHandler):
    publisher: Publisher

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.publisher.asked.append((self.path, wanted))
        page = self.publisher.pages.get(self.path)
        if page is None or page.statuses:
            self.send_response(page.statuses.pop(0) if page else 404)
            self.end_headers()
        elif wanted and page.refuses_parts:
            self.send_response(416)
            self.end_headers()
        elif page.redirect:
            self.send_response(302)
            self.send_header("Location", page.redirect)
            self.end_headers()
        else:
            self._send(page, int(wanted[6:-1]) if wanted and page.takes_up else 0)

    def _send(self, page: Page, start: int) -> None:
        body = page.body[start:]
        self.send_response(206 if start else 200)
        if page.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-/{len(page.body)}")
        self.end_headers()
        self.wfile.write(body[: page.breaks.pop(0)] if page.breaks else body)

    def log_message(self, *_: object) -> None:
        pass


def _pipe(here: socket.socket, there: socket.socket) -> None:
    """Carry bytes both ways until one side has no more."""
    other = {here: there, there: here}
    while True:
        for ready in select.select([here, there], [], [], 10)[0]:
            data = ready.recv(65536)
            if not data:
                return
            other[ready].sendall(data)


@contextlib.contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
