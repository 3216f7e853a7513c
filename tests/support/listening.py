"""A running listener for tests, what it reports, and ways to call it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import build_context

from node.domain.ids import AETitle
from node.listener.callers import Policy, parse_callers
from node.listener.desk import News
from node.listener.front_desk import FrontDesk
from node.listener.gate import Gate
from node.listener.receiver import ReceiverOptions
from node.listener.server import Listener, ListenerOptions
from node.net.dimse import MAX_PDU, CallingAE
from node.net.scu import Peer
from node.net.storing import ConversationLimits
from node.net.tls import TlsOptions
from node.store.spool import Spool
from node.store.visits import SenderVisit
from node.telemetry import metrics
from tests.support.dicom_objects import EXPLICIT, MR, encode

LIMITS = {
    "patience_s": 10.0,
    "idle_s": 60.0,
    "message_s": 60.0,
    "association_s": 600.0,
    "instances": 100_000,
}


@dataclass
class Heard:
    """A listener and what it reported so far."""

    listener: Listener
    options: ListenerOptions
    desk: FrontDesk
    spool: Spool
    gate: Gate
    news: list[News] = field(default_factory=list)
    visits: list[SenderVisit] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.port

    def outcomes(self) -> list[str]:
        return [news.outcome for news in self.news]

    def files(self) -> list[Path]:
        """Return the committed files in the order of their reports."""
        return [Path(news.path) for news in self.news if news.path]


@contextmanager
def listening(
    folder: Path,
    *,
    callers: tuple[str, ...] = ("*",),
    require_called_ae_title: bool = False,
    max_associations: int = 64,
    max_associations_per_caller: int = 64,
    max_pdu: int = MAX_PDU,
    longest: int = 2**30,
    processes: int = 0,
    tls: TlsOptions | None = None,
    services: dict[str, Any] | None = None,
    on_news: Callable[[News], None] = lambda _: None,
    on_death: Callable[[], None] = lambda: None,
    **limits: Any,
) -> Iterator[Heard]:
    """Run a listener over a spool in the folder; afterwards no thread may be left."""
    before = set(threading.enumerate())
    folder.mkdir(parents=True, exist_ok=True)
    spool, gate = Spool(folder), Gate()
    gate.set(None)
    news: list[News] = []
    visits: list[SenderVisit] = []
    policy = Policy(
        ae_title=AETitle("SEGNODE"),
        callers=parse_callers(callers),
        require_called_ae_title=require_called_ae_title,
        most=max_associations,
        most_per_caller=max_associations_per_caller,
    )

    def hear(one: News) -> None:
        news.append(one)
        on_news(one)

    desk = FrontDesk(policy, gate, on_news=hear, on_visit=visits.append, services=services or {})
    conversation = ConversationLimits(**{**LIMITS, **limits})
    options = ListenerOptions(
        receiver=ReceiverOptions(
            ae_title=AETitle("SEGNODE"),
            limits=conversation,
            max_pdu=max_pdu,
            longest=longest,
            tls=tls,
        ),
        port=0,
        tls_port=None if tls is None else 0,
        patience_s=conversation.patience_s,
        processes=processes,
    )
    listener = Listener(options, spool, gate, desk, on_death=on_death)
    heard = Heard(
        listener=listener,
        options=options,
        desk=desk,
        spool=spool,
        gate=gate,
        news=news,
        visits=visits,
    )
    listener.start()
    try:
        yield heard
    finally:
        listener.stop()
        gate.close()
    assert set(threading.enumerate()) - before == set()


def peer_of(heard: Heard, *, calling: str = "MR1", called: str = "SEGNODE") -> Peer:
    return Peer(
        ae_title=AETitle(called),
        host="127.0.0.1",
        port=heard.port,
        calling_ae_title=AETitle(calling),
        timeout_s=20,
    )


@contextmanager
def association(heard: Heard, sop_class: str = MR) -> Iterator[Any]:
    """Open an association with one context."""
    made = CallingAE("CALLER", timeout_s=20).associate(
        "127.0.0.1", heard.port, contexts=[build_context(sop_class, EXPLICIT)]
    )
    try:
        yield made
    finally:
        if made.is_established:
            made.release()
        if made.is_alive():
            made.join(20)


def answer_to(heard: Heard, made: Any) -> Any:
    """Return the C-STORE response to a data set."""
    with association(heard, made.SOPClassUID) as caller:
        encode(made)
        made["PixelData"].VR = "OW"
        return caller.send_c_store(made)


def count_of(name: str, label: str = "") -> float:
    for line in metrics.render()[0].decode().splitlines():
        if line.startswith(f"segnode_{name}{label} "):
            return float(line.rpartition(" ")[2])
    raise KeyError(name)


def connect(heard: Heard) -> socket.socket:
    return socket.create_connection(("127.0.0.1", heard.port), timeout=20)
