"""Peers that break the rules: the right last word, nothing half stored, nothing left."""

import socket
import struct
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import evt

from node.net.inbox import LONGEST_COMMAND
from node.net.storing import Ending
from tests.support.conversing import (
    ECHO,
    STORAGE,
    Caller,
    Keeper,
    association_request,
    caller,
    command,
    command_set,
    data,
    pdu,
    pdv,
    store_command,
    talking,
)

BY_USER = (0, 0)
UNRECOGNISED_PDU = (2, 1)
UNEXPECTED_PDU = (2, 2)
INVALID_PARAMETER = (2, 6)

N_CREATE = command_set({0x0002: "1.2.3", 0x0100: 0x0140, 0x0110: 1, 0x0800: 1, 0x1000: "1.2"})


def aborted(source: int, reason: int) -> tuple[int, bytes]:
    return 7, bytes([0, 0, source, reason])


WRONG: dict[str, tuple[list[bytes], tuple[int, int]]] = {
    "data before a command": ([data(b"x")], BY_USER),
    "a context that was not accepted": ([command(store_command(), 99)], INVALID_PARAMETER),
    "a command that is none": ([command(b"not a command set")], BY_USER),
    "an empty command": ([command(b"")], BY_USER),
    "a command without a field": ([command(store_command(CommandField=None))], BY_USER),
    "a command without a number": ([command(store_command(MessageID=None))], BY_USER),
    "an unknown command": ([command(store_command(CommandField=0x7777))], BY_USER),
    "a command in two contexts": (
        [command(b"\0", STORAGE, 1), command(b"\0", ECHO, 1)],
        BY_USER,
    ),
    "a command without end": ([command(bytes(16000), control=1)] * 5, BY_USER),
    "a command too long at once": ([command(bytes(LONGEST_COMMAND + 1))], BY_USER),
    "a large data set of another message": (
        [command(N_CREATE), *[data(bytes(2**19), control=0)] * 8, data(b"x", control=0)],
        BY_USER,
    ),
    "an item without length": ([pdu(4, bytes(4))], INVALID_PARAMETER),
    "an item without a header": ([pdu(4, struct.pack(">IB", 1, 1))], INVALID_PARAMETER),
    "an item beyond its PDU": ([pdu(4, struct.pack(">IBB", 99, 1, 3))], INVALID_PARAMETER),
    "bytes after the last item": (
        [pdu(4, pdv(STORAGE, 3, store_command()) + b"\0\0\0")],
        INVALID_PARAMETER,
    ),
    "no item": ([pdu(4, b"")], INVALID_PARAMETER),
    "a PDU too long": ([struct.pack(">BBI", 4, 0, 2**32 - 1)], INVALID_PARAMETER),
    "an unknown PDU": ([pdu(9)], UNRECOGNISED_PDU),
    "another language": ([b"GET / HTTP/1.1\r\n\r\n"], UNRECOGNISED_PDU),
    "a second request": ([association_request()], UNEXPECTED_PDU),
    "an acceptance": ([pdu(2, bytes(68))], UNEXPECTED_PDU),
    "a rejection": ([pdu(3)], UNEXPECTED_PDU),
    "a release that was not asked for": ([pdu(6)], UNEXPECTED_PDU),
    "a release within a command": ([command(b"\0", control=1), pdu(5)], BY_USER),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_breaks_the_rules_is_aborted_with_the_right_reason(case: str) -> None:
    sent, (source, reason) = WRONG[case]
    keeper = Keeper()
    told: Counter[str] = Counter()
    handlers = [
        (event, lambda event: told.update([event.event.name]))
        for event in (evt.EVT_ABORTED, evt.EVT_CONN_CLOSE, evt.EVT_RELEASED)
    ]
    with talking(keeper, handlers) as talk, caller(talk) as peer:
        peer.say(*sent)
        assert peer.hear_all() == [aborted(source, reason)]
    assert talk.endings == [Ending.PROTOCOL]
    assert told == {"EVT_ABORTED": 1, "EVT_CONN_CLOSE": 1}
    assert keeper.kept == []


WITHIN: dict[str, tuple[list[bytes], tuple[int, int]]] = {
    "another command": ([command(store_command())], BY_USER),
    "another context": ([data(b"x", ECHO)], BY_USER),
    "a release": ([pdu(5)], BY_USER),
    "an item without length": ([pdu(4, bytes(4))], INVALID_PARAMETER),
    "a PDU too long": ([struct.pack(">BBI", 4, 0, 2**20 + 1)], INVALID_PARAMETER),
    "an unknown PDU": ([pdu(0)], UNRECOGNISED_PDU),
    "a second request": ([association_request()], UNEXPECTED_PDU),
}


@pytest.mark.parametrize("case", WITHIN)
def test_a_data_set_that_is_broken_into_is_abandoned(case: str) -> None:
    sent, (source, reason) = WITHIN[case]
    keeper = Keeper()
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(command(store_command()), data(bytes(5000), control=0), *sent)
        assert peer.hear_all() == [aborted(source, reason)]
    assert talk.endings == [Ending.PROTOCOL]
    assert [kept.is_abandoned for kept in keeper.kept] == [True]
    assert keeper.kept[0].timing is None


@pytest.mark.parametrize("leave", ["abort", "shutdown", "reset"])
@pytest.mark.parametrize("is_within", [True, False])
def test_a_peer_that_goes_takes_what_was_half_sent_with_it(leave: str, is_within: bool) -> None:
    keeper = Keeper()
    told: Counter[str] = Counter()
    handlers = [
        (event, lambda event: told.update([event.event.name]))
        for event in (evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)
    ]
    with talking(keeper, handlers) as talk, caller(talk) as peer:
        if is_within:
            peer.say(command(store_command()), data(bytes(50_000), control=0))
        if leave == "abort":
            peer.say(pdu(7, bytes(4)))
            assert peer.hear() is None
        elif leave == "shutdown":
            peer.connection.shutdown(socket.SHUT_WR)
            assert peer.hear() is None
        else:
            linger = struct.pack("ii", 1, 0)
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.connection.close()
    assert talk.endings == [Ending.ABORTED if leave == "abort" else Ending.LOST]
    assert told == {"EVT_ABORTED": 1, "EVT_CONN_CLOSE": 1}
    assert all(kept.is_abandoned for kept in keeper.kept)


def test_more_instances_than_allowed_end_the_association() -> None:
    keeper = Keeper()
    with talking(keeper, instances=3) as talk, caller(talk) as peer:
        for _ in range(4):
            peer.say(command(store_command()), data(b"x"))
        assert peer.statuses(3) == [0, 0, 0]
        assert peer.hear_all() == [aborted(0, 0)]
    assert talk.endings == [Ending.TOO_MANY]
    assert len(keeper.kept) == 3


@pytest.mark.parametrize(
    ("some_limit", "ending"),
    [
        ({"idle_s": 0.1}, Ending.SILENT),
        ({"message_s": 0.1}, Ending.SLOW),
        ({"association_s": 0.1}, Ending.LONG),
    ],
)
def test_a_data_set_that_never_ends_is_aborted(some_limit: dict[str, Any], ending: Ending) -> None:
    keeper = Keeper()
    with talking(keeper, **some_limit) as talk, caller(talk) as peer:
        peer.say(command(store_command()), data(b"x", control=0))
        assert peer.hear_all() == [aborted(0, 0)]
    assert talk.endings == [ending]
    assert [kept.is_abandoned for kept in keeper.kept] == [True]


def test_a_slow_drip_is_no_way_to_stay() -> None:
    keeper = Keeper()
    with talking(keeper, message_s=0.3, idle_s=20) as talk, caller(talk) as peer:
        peer.say(command(store_command()))
        cut = threading.Event()

        def drip() -> None:
            while not cut.wait(0.01):
                try:
                    peer.say(data(b"x", control=0))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert aborted(0, 0) in peer.hear_all()
        cut.set()
        dripping.join(20)
    assert talk.endings == [Ending.SLOW]
    assert [kept.is_abandoned for kept in keeper.kept] == [True]


FIRST_WORDS: dict[str, tuple[bytes, list[tuple[int, bytes]], Ending]] = {
    "nothing": (b"", [], Ending.LONG),
    "half a request": (association_request()[:-1], [], Ending.LONG),
    "another language": (b"GET / HTTP/1.1\r\n\r\n", [aborted(0, 0)], Ending.PROTOCOL),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03", [aborted(0, 0)], Ending.PROTOCOL),
    "a PDU too long": (struct.pack(">BBI", 1, 0, 2**32 - 1), [aborted(0, 0)], Ending.PROTOCOL),
    "data": (command(store_command()), [aborted(0, 0)], Ending.PROTOCOL),
    "a release": (pdu(5), [aborted(0, 0)], Ending.PROTOCOL),
    "an abort": (pdu(7), [], Ending.ABORTED),
    "an empty request": (pdu(1, b"\0\1" + bytes(66)), [aborted(0, 0)], Ending.PROTOCOL),
}


@pytest.mark.parametrize("case", FIRST_WORDS)
def test_who_does_not_ask_is_shown_out(case: str) -> None:
    sent, heard, ending = FIRST_WORDS[case]
    told: list[Any] = []
    patience_s = 0.2 if ending is Ending.LONG else 20.0
    with (
        talking(handlers=[(evt.EVT_CONN_CLOSE, told.append)], patience_s=patience_s) as talk,
        socket.create_connection(talk.address, timeout=20) as connection,
    ):
        peer = Caller(connection)
        peer.say(sent)
        assert peer.hear_all() == heard
    assert talk.endings == [ending]
    assert len(told) == 1


# Whatever comes: an end, no crash, nothing half stored.

ENDS = set(Ending) - {Ending.CRASHED, Ending.STOPPED, Ending.SLOW, Ending.LONG}

words = st.one_of(
    st.sampled_from(
        [
            command(store_command()),
            command(store_command(), ECHO),
            command(store_command(CommandDataSetType=0x0101)),
            command(store_command()[:20], control=1),
            command(store_command()[20:]),
            command(N_CREATE),
            data(b"x" * 500, control=0),
            data(b"x" * 500),
            data(b"", ECHO),
            pdu(4, pdv(STORAGE, 3, store_command()) + pdv(STORAGE, 2, b"x")),
            pdu(5),
        ]
    ),
    st.builds(pdu, st.integers(0, 9), st.binary(max_size=20)),
    st.builds(command, st.binary(max_size=60), st.integers(0, 5), st.integers(0, 5)),
    st.builds(data, st.binary(max_size=60), st.integers(0, 5), st.integers(0, 5)),
    st.binary(max_size=12),
)


@st.composite
def damaged_requests(draw: st.DrawFn) -> bytes:
    """Draw an A-ASSOCIATE-RQ with some bytes replaced, cut out or put in, its length right."""
    request = bytearray(association_request())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(6, len(request)))
        request[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    request[2:6] = struct.pack(">I", len(request) - 6)
    return bytes(request)


def everything_heard(talk: Any, *parts: bytes) -> list[tuple[int, bytes]]:
    with socket.create_connection(talk.address, timeout=20) as connection:
        peer = Caller(connection)
        try:
            peer.say(*parts)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up
            return []
        return peer.hear_all()


def test_no_sequence_of_words_breaks_a_conversation() -> None:
    keeper = Keeper()
    with talking(keeper) as talk:

        @settings(max_examples=150, deadline=None)
        @given(st.lists(words, max_size=8))
        def speak(parts: list[bytes]) -> None:
            everything_heard(talk, association_request(), *parts)

        speak()
    assert set(talk.endings) <= ENDS
    for kept in keeper.kept:
        assert kept.is_abandoned == (kept.timing is None)


def test_no_request_breaks_a_conversation() -> None:
    with talking() as talk:

        @settings(max_examples=150, deadline=None)
        @given(damaged_requests())
        def ask(request: bytes) -> None:
            everything_heard(talk, request, pdu(5))

        ask()
    assert set(talk.endings) <= ENDS
