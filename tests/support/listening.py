"""A running listener for tests, and ways to call it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import build_context

from node.domain.ids import AETitle
from node.listener.server import Listener, ListenerOptions
from node.net.dimse import CallingAE
from node.net.scu import Peer
from node.store.admit import Admission, Incoming
from node.telemetry import metrics
from tests.support.dicom_objects import EXPLICIT, MR, encode


class Recorder:
    """An `admit` that keeps what comes, and answers or raises as it is told."""

    def __init__(self, outcome: Admission | Exception = Admission.STORED) -> None:
        self.came: list[Incoming] = []
        self.outcome = outcome

    def __call__(self, incoming: Incoming) -> Admission:
        self.came.append(incoming)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextmanager
def listening(admit: Callable[[Incoming], Admission], **options: Any) -> Iterator[Listener]:
    """Run a listener; afterwards no thread may be left."""
    before = set(threading.enumerate())
    listener = Listener(
        ListenerOptions(**{"ae_title": AETitle("SEGNODE"), "port": 0, **options}), admit
    )
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
    assert set(threading.enumerate()) - before == set()


def peer_of(listener: Listener, *, calling: str = "MR1", called: str = "SEGNODE") -> Peer:
    return Peer(
        ae_title=AETitle(called),
        host="127.0.0.1",
        port=listener.port,
        calling_ae_title=AETitle(calling),
        timeout_s=20,
    )


@contextmanager
def association(listener: Listener, sop_class: str = MR) -> Iterator[Any]:
    """Open an association with one context."""
    made = CallingAE("CALLER", timeout_s=20).associate(
        "127.0.0.1", listener.port, contexts=[build_context(sop_class, EXPLICIT)]
    )
    try:
        yield made
    finally:
        if made.is_established:
            made.release()
        if made.is_alive():
            made.join(20)


def answer_to(listener: Listener, made: Any) -> Any:
    """Return the C-STORE response to a data set."""
    with association(listener, made.SOPClassUID) as caller:
        encode(made)
        made["PixelData"].VR = "OW"
        return caller.send_c_store(made)


def count_of(name: str, label: str = "") -> float:
    for line in metrics.render()[0].decode().splitlines():
        if line.startswith(f"segnode_{name}{label} "):
            return float(line.rpartition(" ")[2])
    raise KeyError(name)


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)
