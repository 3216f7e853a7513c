"""Every event of an association comes as often as with pynetdicom's own."""

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pynetdicom import build_context, evt

from node.net.dimse import VERIFICATION, CallingAE
from node.net.storing import Ending
from tests.support.conversing import (
    application_entity,
    association_request,
    pdu,
    talking,
)

EVENTS = (
    evt.EVT_CONN_OPEN,
    evt.EVT_REQUESTED,
    evt.EVT_ACCEPTED,
    evt.EVT_ESTABLISHED,
    evt.EVT_REJECTED,
    evt.EVT_RELEASED,
    evt.EVT_ABORTED,
    evt.EVT_CONN_CLOSE,
)


def release(association: Any) -> None:
    association.release()


def abort(association: Any) -> None:
    association.abort()


def vanish(association: Any) -> None:
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def stay_out(_: Any) -> None:
    pass


def echo_and_release(association: Any) -> None:
    association.send_c_echo()
    association.release()


def reject(event: evt.Event) -> None:
    event.assoc.acse.send_reject(1, 1, 3)
    event.assoc.kill()


def abort_at_once(event: evt.Event) -> None:
    event.assoc.abort()


CASES: list[tuple[Callable[[Any], None], dict[str, Any], list[Any]]] = [
    (release, {}, []),
    (abort, {}, []),
    (vanish, {}, []),
    (echo_and_release, {}, [(evt.EVT_C_ECHO, lambda _: 0)]),
    (echo_and_release, {}, [(evt.EVT_C_ECHO, abort_at_once)]),
    (stay_out, {"require_called_aet": True}, []),
    (stay_out, {}, [(evt.EVT_REQUESTED, reject)]),
    (stay_out, {}, [(evt.EVT_REQUESTED, abort_at_once)]),
    (stay_out, {}, [(evt.EVT_ESTABLISHED, abort_at_once)]),
]


def counted(count: Counter[str]) -> list[Any]:
    def note(event: evt.Event) -> None:
        count[event.event.name] += 1

    return [(event, note) for event in EVENTS]


def visit(address: tuple[str, int], act: Callable[[Any], None]) -> Any:
    association = CallingAE("CALLER", timeout_s=20).associate(
        *address, contexts=[build_context(VERIFICATION)]
    )
    if association.is_established:
        act(association)
    if association.is_alive():
        association.join(20)
    return association


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # stock sockets
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_event_comes_as_often_as_with_the_stock_association(case: Any) -> None:
    act, options, handlers = case
    theirs: Counter[str] = Counter()
    server = application_entity(**options).start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[*handlers, *counted(theirs)]
    )
    stock = visit(server.server_address, act)
    for thread in server.ae.active_associations:
        thread.join(20)
    server.shutdown()
    ours: Counter[str] = Counter()
    ae = application_entity(**options)
    with talking(handlers=[*handlers, *counted(ours)], ae=ae) as talk:
        mine = visit(talk.address, act)
    assert ours == theirs
    for name in ("is_released", "is_rejected"):
        assert getattr(mine, name) == getattr(stock, name)


def test_an_unknown_protocol_version_is_rejected_and_told() -> None:
    told: list[Any] = []
    made = bytearray(association_request())
    made[6:8] = b"\0\x02"  # bit 0 stands for version 1
    with (
        talking(handlers=[(evt.EVT_REJECTED, told.append)]) as talk,
        socket.create_connection(talk.address, timeout=20) as connection,
    ):
        connection.sendall(made)
        assert connection.recv(100) == pdu(3, bytes([0, 1, 2, 2]))
    assert talk.endings == [Ending.REJECTED]
    assert len(told) == 1
