"""The inner parts of pynetdicom that `node.net.inline` and `node.net.inbox` rely on."""

import inspect
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, StateMachine

from node.net.inline import InlineAssociation, InlineMessages, InlineProvider

HINT = "pynetdicom has changed: read its source again before the range in pyproject.toml is widened"


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("stock", "name", "expected"),
    [
        (Association, "_abort_blocking", ["self", "block"]),
        (Association, "_handle_no_response", ["self"]),
        (Association, "_serve_request", ["self", "msg", "context_id"]),
        (Association, "is_alive", ["self"]),
        (Association, "kill", ["self"]),
        (DULServiceProvider, "send_pdu", ["self", "primitive"]),
        (DULServiceProvider, "receive_pdu", ["self", "wait", "timeout"]),
        (DULServiceProvider, "_decode_pdu", ["self", "bytestream"]),
        (DULServiceProvider, "_process_recv_primitive", ["self"]),
        (DULServiceProvider, "_send", ["self", "pdu"]),
        (DIMSEServiceProvider, "get_msg", ["self", "block"]),
        (DIMSEServiceProvider, "send_msg", ["self", "primitive", "context_id"]),
        (DIMSEMessage, "decode_msg", ["self", "primitive", "assoc"]),
        (DIMSEMessage, "message_to_primitive", ["self"]),
        (StateMachine, "do_action", ["self", "event"]),
        (ACSE, "send_abort", ["self", "source"]),
        (ACSE, "send_ap_abort", ["self", "reason"]),
        (ACSE, "send_release", ["self", "is_response"]),
        (ACSE, "negotiate_association", ["self"]),
        (ACSE, "is_release_requested", ["self"]),
        (ACSE, "is_aborted", ["self", "abort_type"]),
    ],
)
def test_what_is_called_or_replaced_is_as_it_was(
    stock: type, name: str, expected: list[str]
) -> None:
    assert parameters(getattr(stock, name)) == expected, HINT


@pytest.mark.parametrize(
    ("stock", "ours", "names"),
    [
        (Association, InlineAssociation, ["_abort_blocking", "_handle_no_response"]),
        (DULServiceProvider, InlineProvider, ["send_pdu", "receive_pdu"]),
        (DIMSEServiceProvider, InlineMessages, ["get_msg"]),
    ],
)
def test_what_is_replaced_exists(stock: type, ours: type, names: list[str]) -> None:
    assert issubclass(ours, stock)
    for name in names:
        assert name in vars(stock), HINT
        assert name in vars(ours)


def test_an_association_has_the_parts_that_are_exchanged() -> None:
    association = Association(AE(), "acceptor")
    for name in ("dul", "dimse", "acse", "_is_paused", "_sent_abort", "_kill", "_accepted_cx"):
        assert name in vars(association), HINT
    for name in ("event_queue", "to_provider_queue", "to_user_queue", "_recv_pdu", "state_machine"):
        assert name in vars(association.dul), HINT
    assert "msg_queue" in vars(association.dimse), HINT


@pytest.mark.parametrize(
    ("event", "state", "action"),
    [
        ("Evt5", "Sta1", "AE-5"),
        ("Evt18", "Sta2", "AA-2"),
        ("Evt19", "Sta2", "AA-1"),
        ("Evt17", "Sta2", "AA-5"),
        ("Evt17", "Sta6", "AA-4"),
        ("Evt17", "Sta13", "AR-5"),
        ("Evt15", "Sta3", "AA-1"),
        ("Evt15", "Sta6", "AA-1"),
        ("Evt15", "Sta8", "AA-1"),
    ],
)
def test_the_state_machine_goes_where_a_conversation_sends_it(
    event: str, state: str, action: str
) -> None:
    assert TRANSITION_TABLE[(event, state)] == action, HINT


def test_an_event_that_no_handler_is_bound_to_costs_little() -> None:
    """`evt.trigger` must return before it makes an event, or every PDU would pay for it."""
    source = inspect.getsource(evt.trigger)
    assert source.index("if not handlers") < source.index("evt = Event("), HINT
