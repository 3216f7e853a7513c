"""Messages out of fragments, however they are cut, against pynetdicom's own assembly."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from node.net.inbox import Inbox
from node.net.storing import Hangup, Party, StoreAnswer, Timing
from tests.support.conversing import ECHO, STORAGE, Keeper, command_set, limits, store_command
from tests.support.dicom_objects import EXPLICIT, IMPLICIT

Item = tuple[int, int, bytes]

PARTY = Party(
    calling_ae_title="A", called_ae_title="B", address="127.0.0.1", max_pdu=0, tls_subject=""
)
N_CREATE = command_set({0x0002: "1.2.3", 0x0100: 0x0140, 0x0110: 1, 0x0800: 1, 0x1000: "1.2"})
ECHO_RQ = command_set({0x0002: "1.2.840.10008.1.1", 0x0100: 0x0030, 0x0110: 1, 0x0800: 0x0101})


def ours(items: list[Item]) -> tuple[list[tuple[str, bytes]], bool]:
    """Return the messages in order, and whether all items were taken."""
    found: list[tuple[str, bytes]] = []

    class Noting(Keeper):
        def on_finish(self, kept: Any) -> StoreAnswer:
            found.append(("C_STORE_RQ", kept.data))
            return super().on_finish(kept)

    def deliver(message: Any) -> None:
        found.append((type(message).__name__, message.data_set.getvalue()))

    done = Timing(seconds=0, longest_wait_s=0, stalled=False)
    wire: Any = SimpleNamespace(message_done=lambda: done)
    inbox = Inbox(
        wire,
        {STORAGE: EXPLICIT, ECHO: IMPLICIT},
        (Noting(), PARTY),
        limits(),
        lambda *_: None,
        deliver,
    )
    try:
        for context_id, control, data in items:
            inbox.take(context_id, control, memoryview(data))
    except Hangup:
        return found, False
    return found, True


def theirs(items: list[Item]) -> list[tuple[str, bytes]]:
    found = []
    message = DIMSEMessage()
    for context_id, control, data in items:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, bytes([control]) + data]]
        if message.decode_msg(primitive):
            assert message.data_set is not None
            found.append((type(message).__name__, message.data_set.getvalue()))
            message = DIMSEMessage()
    return found


@st.composite
def cut(draw: st.DrawFn, whole: bytes, context_id: int, kind: int) -> list[Item]:
    """Draw fragments of a command set (kind 1) or a data set (kind 0)."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    bounds = [0, *places, len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(bounds)]
    last = len(pieces) - 1
    return [(context_id, kind | (2 if i == last else 0), piece) for i, piece in enumerate(pieces)]


@st.composite
def messages(draw: st.DrawFn) -> list[Item]:
    """Draw the fragments of one message."""
    context_id = draw(st.sampled_from([STORAGE, ECHO]))
    whole = draw(st.sampled_from([store_command(), N_CREATE, ECHO_RQ]))
    items = draw(cut(whole, context_id, 1))
    if whole is not ECHO_RQ:
        items += draw(cut(draw(st.binary(max_size=40)), context_id, 0))
    return items


@given(st.lists(messages(), max_size=5))
def test_messages_are_the_same_however_they_are_cut(drawn: list[list[Item]]) -> None:
    items = [item for message in drawn for item in message]
    found, is_whole = ours(items)
    assert is_whole
    assert found == theirs(items)
    assert len(found) == len(drawn)


@given(st.lists(messages(), min_size=1, max_size=4), st.data())
def test_what_is_taken_of_a_damaged_stream_is_what_the_reference_takes(
    drawn: list[list[Item]], data: st.DataObject
) -> None:
    items = [item for message in drawn for item in message]
    at = data.draw(st.integers(0, len(items) - 1))
    match data.draw(st.sampled_from(["drop", "twice", "other context", "other control"])):
        case "drop":
            del items[at]
        case "twice":
            items.insert(at, items[at])
        case "other context":
            items[at] = (data.draw(st.integers(0, 255)), *items[at][1:])
        case _:
            items[at] = (items[at][0], data.draw(st.integers(0, 3)), items[at][2])
    found, is_whole = ours(items)
    if is_whole:
        assert found == theirs(items)


def test_a_store_is_what_the_reference_calls_a_store() -> None:
    assert theirs([(1, 3, store_command()), (1, 2, b"x")]) == [(C_STORE_RQ.__name__, b"x")]
