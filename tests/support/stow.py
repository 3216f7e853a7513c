"""A STOW-RS server on a real socket, and bodies to send to it."""

import http.client
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset

from node.dicom.part10 import write_part10
from node.listener.callers import parse_networks
from node.store.admit import Admission, Incoming
from node.web.server import HttpServer, make_app
from node.web.stow import StowOptions, stow_router
from tests.support.dicom_objects import EXPLICIT, encode, mr_dataset
from tests.support.peers import free_port

BOUNDARY = "5d8b-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def data_set(self) -> Dataset:
        """Return the answer's data set, given as DICOM JSON."""
        return Dataset.from_json(json.loads(self.body))


def part10(made: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """Return a data set as the bytes of a DICOM file."""
    target = io.BytesIO()
    write_part10(
        target,
        data_set=encode(made, transfer_syntax_uid),
        sop_class_uid=made.SOPClassUID,
        sop_instance_uid=made.SOPInstanceUID,
        transfer_syntax_uid=transfer_syntax_uid,
        source_ae_title="TEST",
    )
    return target.getvalue()


def an_image(number: int = 1, **attributes: Any) -> bytes:
    """Return a small MR image as a DICOM file."""
    return part10(mr_dataset(number, **attributes))


def multipart(parts: Iterable[bytes], *, content_type: str = "application/dicom") -> bytes:
    """Return a body with these parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def post(
    port: int,
    body: bytes | Iterable[bytes],
    *,
    path: str = "/dicomweb/studies",
    content_type: str = CONTENT_TYPE,
    headers: dict[str, str] | None = None,
    timeout_s: float = 30,
) -> Answer:
    """Send a Store Transaction; a body that is no bytes is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(
            "POST",
            path,
            body=body,
            headers={"Content-Type": content_type, **(headers or {})},
            encode_chunked=not isinstance(body, bytes),
        )
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


@contextmanager
def a_stow_server(
    folder: Path,
    admit: Callable[[Incoming], Admission],
    *,
    networks: tuple[str, ...] = ("127.0.0.0/8",),
    ready: Callable[[], None] = lambda: None,
    **options: Any,
) -> Iterator[int]:
    """Serve on a free port and yield it; no temporary file may be left."""
    port = free_port()
    made = StowOptions(
        networks=parse_networks(networks), temporary=folder / "unfinished", **options
    )
    app = make_app(lambda: (b"", "text/plain"), tuple, stow=stow_router(made, admit, ready=ready))
    server = HttpServer(app, "127.0.0.1", port)
    server.start()
    try:
        yield port
    finally:
        server.stop()
    assert list((folder / "unfinished").iterdir()) == []
