"""Who may call, and how the others are told no."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import ConfigurationInvalid
from node.listener.callers import (
    Occupancy,
    Policy,
    Rejection,
    Request,
    is_within,
    may_call,
    may_connect,
    parse_callers,
    parse_networks,
    rejection,
)
from node.telemetry.outcomes import REJECTION_KINDS

POLICY = Policy(
    ae_title="SEGNODE", callers=parse_callers(["MR1@10.0.0.1"]), most=4, most_per_caller=2
)
STRANGER = (1, 1, 3)


@pytest.mark.parametrize(
    ("entries", "title", "address", "admitted"),
    [
        ([], "ANY", "10.0.0.1", False),
        (["*"], "ANY", "10.0.0.1", True),
        (["MR1"], "MR1", "10.0.0.1", True),
        (["MR1"], "MR2", "10.0.0.1", False),
        (["MR1"], "mr1", "10.0.0.1", False),
        (["MR1@10.0.0.1"], "MR1", "10.0.0.1", True),
        (["MR1@10.0.0.1"], "MR1", "10.0.0.2", False),
        (["MR1@10.0.0.1"], "MR2", "10.0.0.1", False),
        (["MR1@10.0.0.1", "CT@10.0.0.2"], "CT", "10.0.0.1", False),
        (["MR1@10.0.0.0/24", "CT"], "MR1", "10.0.0.77", True),
        (["MR1@10.0.0.5/24"], "MR1", "10.0.1.77", False),
        (["*@10.0.0.0/8"], "X", "10.9.8.7", True),
        (["*@10.0.0.0/8"], "X", "::ffff:10.9.8.7", True),
        (["*@10.0.0.0/8"], "X", "fe80::1%eth0", False),
        (["*@10.0.0.0/8"], "X", "", False),
        (["*@10.0.0.0/8"], "X", "scanner.example.org", False),
        (["MR1@fe80::/10"], "MR1", "fe80::1%eth0", True),
    ],
)
def test_a_caller_is_admitted_by_title_and_address(
    entries: list[str], title: str, address: str, *, admitted: bool
) -> None:
    assert may_call(parse_callers(entries), title, address) is admitted


@given(st.text(max_size=20), st.ip_addresses().map(str))
def test_an_empty_list_admits_nobody(title: str, address: str) -> None:
    assert not may_call((), title, address)


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_address_is_needed_where_one_is_named(title: str, address: str) -> None:
    assert not may_call(parse_callers(["*@10.0.0.0/31"]), title, address)


@pytest.mark.parametrize(
    "entry", ["", "@10.0.0.1", "MR1@", "MR1@host", "A" * 17, "MR1@10.0.0.1/99"]
)
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"caller '"):
        parse_callers(["GOOD", entry])


@pytest.mark.parametrize(
    ("entries", "address", "admitted"),
    [
        ([], "10.0.0.1", False),
        (["MR1@10.0.0.1"], "10.0.0.1", True),
        (["MR1@10.0.0.1", "*@10.1.0.0/16"], "10.0.0.2", False),
        (["MR1@10.0.0.1", "CT"], "10.0.0.2", True),
        (["MR1@10.0.0.1"], "", False),
    ],
)
def test_an_address_that_no_entry_can_admit_needs_no_answer(
    entries: list[str], address: str, *, admitted: bool
) -> None:
    assert may_connect(parse_callers(entries), address) is admitted


@given(st.text(max_size=16), st.ip_addresses().map(str))
def test_who_may_call_may_connect(title: str, address: str) -> None:
    callers = parse_callers(["MR1@10.0.0.0/8", "*@2001::/16", "CT"])
    assert may_connect(callers, address) or not may_call(callers, title, address)


def test_networks_are_addresses_or_ranges() -> None:
    networks = parse_networks(["127.0.0.1", " 10.0.0.0/8", "2001:db8::/32"])
    inside = ("127.0.0.1", "10.255.0.1", "::ffff:127.0.0.1", "2001:db8::7")
    assert all(is_within(networks, address) for address in inside)
    assert not any(is_within(networks, address) for address in ("127.0.0.2", "", "::1", "host"))


@pytest.mark.parametrize("entry", ["", "*", "host", "10.0.0.0/33", "MR1@10.0.0.1"])
def test_a_network_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"network '"):
        parse_networks(["10.0.0.0/8", entry])


def asking(
    *, called: str = "SEGNODE", calling: str = "MR1", address: str = "10.0.0.1", version: int = 1
) -> Request:
    return Request(
        protocol_version=version, called_ae_title=called, calling_ae_title=calling, address=address
    )


@pytest.mark.parametrize(
    ("request_", "occupancy", "expected"),
    [
        (asking(version=2), Occupancy(), Rejection(1, 2, 2, "protocol")),
        (asking(calling="CT"), Occupancy(), Rejection(*STRANGER, "calling-ae-title")),
        (asking(address="10.0.0.2"), Occupancy(), Rejection(*STRANGER, "calling-ae-title")),
        (asking(called="PACS"), Occupancy(), Rejection(1, 1, 7, "called-ae-title")),
        (asking(), Occupancy(overloaded=True), Rejection(2, 3, 1, "overloaded")),
        (asking(), Occupancy(open=4), Rejection(2, 3, 2, "too-many")),
        (asking(), Occupancy(open=2, of_caller=2), Rejection(2, 3, 2, "too-many")),
        (asking(), Occupancy(open=3, of_caller=1), None),
        (asking(called="SEGNODE         ", calling=" MR1 "), Occupancy(), None),
        (asking(version=3), Occupancy(), None),
    ],
)
def test_each_reason_to_reject_has_its_place_in_the_standard(
    request_: Request, occupancy: Occupancy, expected: Rejection | None
) -> None:
    assert rejection(request_, POLICY, occupancy) == expected


@given(
    st.sampled_from(["SEGNODE", "PACS", ""]),
    st.sampled_from(["MR1", "CT"]),
    st.builds(Occupancy, open=st.integers(0, 9), overloaded=st.booleans()),
)
def test_a_stranger_always_gets_the_same_answer(
    called: str, calling: str, occupancy: Occupancy
) -> None:
    stranger = asking(called=called, calling=calling, address="192.0.2.1")
    answer = rejection(stranger, POLICY, occupancy)
    assert answer is not None
    assert (answer.result, answer.source, answer.reason) == STRANGER
    assert not answer.is_transient


@given(st.integers(0, 0xFFFF), st.text(max_size=16), st.text(max_size=16), st.integers(0, 9))
def test_every_rejection_is_of_a_known_kind(
    version: int, called: str, calling: str, number: int
) -> None:
    policy = Policy(ae_title="SEGNODE", callers=parse_callers(["*"]))
    request = asking(called=called, calling=calling, version=version)
    answer = rejection(request, policy, Occupancy(open=number, of_caller=number))
    assert answer is None or answer.kind in REJECTION_KINDS


def test_the_called_title_may_be_left_unchecked() -> None:
    policy = Policy(
        ae_title="SEGNODE", callers=parse_callers(["MR1"]), require_called_ae_title=False
    )
    assert rejection(asking(called="ANYTHING"), policy, Occupancy()) is None
