"""PDUs off a wire: any bytes, cut anywhere, against pynetdicom's own decoder."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import P_DATA_TF

from node.net import wire
from node.net.storing import (
    BY_USER,
    INVALID_PARAMETER,
    UNRECOGNISED_PDU,
    Ending,
    Hangup,
)
from node.net.wire import BUFFER, P_DATA, Wire, fragments
from tests.support.conversing import limits, pdu, pdv


def reference(body: bytes) -> list[tuple[int, int, bytes]] | None:
    """Return what pynetdicom finds, None where it raises."""
    try:
        decoded = P_DATA_TF()
        decoded.decode(pdu(P_DATA, body))
        found = decoded.to_primitive().presentation_data_value_list
        return [(context_id, data[0], data[1:]) for context_id, data in found]
    except (AssertionError, IndexError, struct.error):
        return None


def ours(body: bytes) -> list[tuple[int, int, bytes]] | None:
    try:
        found = list(fragments(memoryview(body)))
    except Hangup as hangup:
        return None if hangup.abort == INVALID_PARAMETER else []
    return [(context_id, control, bytes(data)) for context_id, control, data in found]


items = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=20)), min_size=1
)


@given(items)
def test_fragments_come_out_as_they_went_in(given_items: list[tuple[int, int, bytes]]) -> None:
    body = b"".join(pdv(*item) for item in given_items)
    assert ours(body) == reference(body) == given_items


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw the body of a P-DATA-TF with some bytes replaced."""
    body = bytearray(b"".join(pdv(*item) for item in draw(items)))
    at = draw(st.integers(0, len(body)))
    body[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


@given(st.one_of(damaged(), st.binary(min_size=1, max_size=60)))
def test_damaged_fragments_are_refused_where_the_reference_refuses(body: bytes) -> None:
    assert ours(body) == reference(body) or body == b""


def test_a_pdu_without_a_fragment_is_refused() -> None:
    assert ours(b"") is None


@contextmanager
def pair(**some_limits: Any) -> Iterator[tuple[Wire, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        here, _ = server.accept()
    with there:
        made = Wire(here, limits(**some_limits))
        try:
            yield made, there
        finally:
            made.close()


def read(made: Wire) -> tuple[int, bytes]:
    kind, body = made.next_pdu()
    return kind, bytes(body)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 7),
            st.one_of(st.binary(max_size=40), st.sampled_from([bytes(100_000), bytes(BUFFER + 9)])),
        ),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.integers(1, 200_000), min_size=1, max_size=5),
)
def test_pdus_come_whole_however_they_are_cut(
    pdus: list[tuple[int, bytes]], pieces: list[int]
) -> None:
    sent = b"".join(pdu(*one) for one in pdus)

    def send(there: socket.socket) -> None:
        at = 0
        while at < len(sent):
            for size in pieces:
                there.sendall(sent[at : at + size])
                at += size

    with pair() as (made, there):
        sender = threading.Thread(target=send, args=(there,))
        sender.start()
        assert [read(made) for _ in pdus] == pdus
        sender.join()


def test_a_head_at_the_very_end_of_the_buffer_is_read() -> None:
    with pair() as (made, there):
        made.widen()
        first = bytes(BUFFER - 6 - 3)
        sender = threading.Thread(target=lambda: there.sendall(pdu(4, first) + pdu(5)))
        sender.start()
        assert read(made) == (4, first)
        assert read(made) == (5, bytes(4))
        sender.join()


@pytest.mark.parametrize(
    ("sent", "abort"),
    [
        (struct.pack(">BBI", 4, 0, 2**20 + 1), INVALID_PARAMETER),
        (struct.pack(">BBI", 4, 0, 2**32 - 1), INVALID_PARAMETER),
        (struct.pack(">BBI", 0, 0, 4), UNRECOGNISED_PDU),
        (struct.pack(">BBI", 8, 0, 4), UNRECOGNISED_PDU),
        (b"GET / HTTP/1.1\r\n", UNRECOGNISED_PDU),
    ],
)
def test_a_head_that_lies_is_enough(sent: bytes, abort: tuple[int, int]) -> None:
    with pair() as (made, there):
        there.sendall(sent)
        with pytest.raises(Hangup) as caught:
            made.next_pdu()
        assert (caught.value.ending, caught.value.abort) == (Ending.PROTOCOL, abort)


@pytest.mark.parametrize("sent", [b"", b"\x04\0\0", pdu(4, bytes(50))[:-1]])
def test_a_connection_that_ends_is_lost(sent: bytes) -> None:
    with pair() as (made, there):
        there.sendall(sent)
        there.shutdown(socket.SHUT_WR)
        with pytest.raises(Hangup) as caught:
            made.next_pdu()
        assert (caught.value.ending, caught.value.abort) == (Ending.LOST, None)


@pytest.mark.parametrize(
    ("some_limits", "ending"),
    [
        ({"idle_s": 0.05}, Ending.SILENT),
        ({"message_s": 0.05}, Ending.SLOW),
        ({"association_s": 0.05}, Ending.LONG),
    ],
)
def test_every_wait_has_an_end(some_limits: dict[str, float], ending: Ending) -> None:
    with pair(**some_limits) as (made, there):
        there.sendall(b"\x04")
        with pytest.raises(Hangup) as caught:
            made.next_pdu()
        assert (caught.value.ending, caught.value.abort) == (ending, BY_USER)


class Script:
    """Stands for a connection and the clock: each read brings bytes after a wait."""

    def __init__(self, *reads: tuple[float, bytes]) -> None:
        self.now = 1000.0
        self.reads = list(reads)
        self.options: list[int] = []

    def recv_into(self, view: memoryview) -> int:
        wait, data = self.reads.pop(0)
        self.now += wait
        view[: len(data)] = data
        return len(data)

    def setsockopt(self, _level: int, option: int, _value: object) -> None:
        self.options.append(option)

    def settimeout(self, _seconds: float | None) -> None: ...

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*reads: tuple[float, bytes]) -> tuple[Wire, Script]:
        script = Script(*reads)
        monkeypatch.setattr(wire, "time", script)
        return Wire(script, limits()), script  # type: ignore[arg-type]

    return make


def message(wait: float) -> list[tuple[float, bytes]]:
    """Return the reads of a PDU of which a part comes late."""
    whole = pdu(P_DATA, pdv(1, 3, bytes(30)))
    return [(0.5, whole[:12]), (0.001, whole[12:20]), (wait, whole[20:])]


def test_the_clock_of_a_message_runs_from_its_first_byte_to_its_last(scripted: Any) -> None:
    made, _ = scripted(*message(0.010), *message(0.002))
    made.next_pdu()
    timing = made.message_done()
    assert timing.seconds == pytest.approx(0.011)
    assert timing.longest_wait_s == pytest.approx(0.010)
    assert not timing.stalled
    made.next_pdu()
    assert made.message_done().longest_wait_s == pytest.approx(0.002)


def test_two_messages_that_stall_are_enough_to_acknowledge_at_once(scripted: Any) -> None:
    stalls = [0.001, 0.0401, 0.001, 0.0438, 0.001, 0.001]
    made, script = scripted(*(read for wait in stalls for read in message(wait)))
    told = []
    quick = []
    for _ in stalls:
        made.next_pdu()
        told.append(made.message_done().stalled)
        quick.append(socket.TCP_QUICKACK in script.options)
    assert told == [False, True, False, True, True, True]
    assert quick == [False, False, False, False, True, True]


@pytest.mark.parametrize("wait", [0.010, 0.2, 3.0])
def test_waits_of_other_lengths_are_no_stalls(scripted: Any, wait: float) -> None:
    made, script = scripted(*(read for _ in range(5) for read in message(wait)))
    for _ in range(5):
        made.next_pdu()
        assert not made.message_done().stalled
    assert socket.TCP_QUICKACK not in script.options


def test_a_slow_drip_does_not_restart_the_clock_of_a_message(scripted: Any) -> None:
    whole = pdu(P_DATA, pdv(1, 3, bytes(300)))
    made, _ = scripted(*((1.0, whole[i : i + 1]) for i in range(len(whole))))
    with pytest.raises(Hangup) as caught:
        made.next_pdu()
    assert caught.value.ending is Ending.SLOW


def test_who_goes_is_seen_before_anything_is_sent() -> None:
    with pair() as (made, there):
        assert not made.is_peer_leaving()
        there.sendall(pdu(5))
        there.shutdown(socket.SHUT_WR)
        made.connection.recv(1, socket.MSG_PEEK)
        assert made.is_peer_leaving()
        assert read(made) == (5, bytes(4))
        assert made.is_peer_leaving()
