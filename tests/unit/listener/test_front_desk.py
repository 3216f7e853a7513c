"""The front desk: who may enter, over all receivers, and what becomes of places."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from node.domain.ids import AETitle
from node.listener.callers import Policy, Request, parse_callers
from node.listener.desk import News
from node.listener.front_desk import FrontDesk
from node.listener.gate import Gate
from node.store.visits import SenderVisit
from tests.support.listening import count_of

MR1 = Request(calling_ae_title="MR1", called_ae_title="SEGNODE", address="10.0.0.1")
MR2 = Request(calling_ae_title="MR2", called_ae_title="SEGNODE", address="10.0.0.2")


def a_visit(title: str) -> SenderVisit:
    return SenderVisit(
        calling_ae_title=AETitle(title),
        address="10.0.0.1",
        ended_at=datetime(2026, 1, 1, tzinfo=UTC),
        outcome="released",
    )


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    made.set(None)
    yield made
    made.close()


@pytest.fixture
def heard() -> list[News | SenderVisit]:
    return []


@pytest.fixture
def desk(gate: Gate, heard: list[News | SenderVisit]) -> FrontDesk:
    policy = Policy(
        ae_title="SEGNODE",
        callers=parse_callers(["MR1@10.0.0.0/24", "MR2@10.0.0.2"]),
        most=3,
        most_per_caller=2,
    )
    return FrontDesk(
        policy,
        gate,
        on_news=heard.append,
        on_visit=heard.append,
        services={"echo": lambda body: {"heard": body["said"]}},
    )


def test_limits_hold_over_all_receivers(desk: FrontDesk) -> None:
    first, second = desk.for_receiver("a"), desk.for_receiver("b")
    assert first.enter(MR1) is None
    assert second.enter(MR1) is None
    rejection = first.enter(MR1)
    assert rejection is not None
    assert rejection.kind == "too-many"  # of this caller
    assert second.enter(MR2) is None
    rejection = first.enter(MR2)
    assert rejection is not None
    assert rejection.kind == "too-many"  # of all


def test_a_place_is_free_again_when_its_association_ends(desk: FrontDesk) -> None:
    receiver = desk.for_receiver("a")
    assert receiver.enter(MR1) is None
    assert receiver.enter(MR1) is None
    receiver.leave(a_visit("MR1"))
    assert receiver.enter(MR1) is None


def test_a_receiver_that_is_gone_gives_its_places_back(desk: FrontDesk) -> None:
    gone, other = desk.for_receiver("gone"), desk.for_receiver("other")
    assert gone.enter(MR1) is None
    assert gone.enter(MR1) is None
    assert other.enter(MR1) is not None
    desk.forget("gone")
    assert other.enter(MR1) is None


def test_a_closed_gate_lets_nobody_in(desk: FrontDesk, gate: Gate) -> None:
    gate.set("space")
    rejection = desk.for_receiver("a").enter(MR1)
    assert rejection is not None
    assert (rejection.kind, rejection.is_transient) == ("overloaded", True)


def test_a_stranger_learns_nothing_of_the_load_and_is_on_record(
    desk: FrontDesk, gate: Gate, heard: list[News | SenderVisit]
) -> None:
    gate.set("space")
    stranger = Request(calling_ae_title="EVE", called_ae_title="SEGNODE", address="10.0.0.1")
    rejection = desk.for_receiver("a").enter(stranger)
    assert rejection is not None
    assert rejection.kind == "calling-ae-title"
    (visit,) = heard
    assert isinstance(visit, SenderVisit)
    assert (visit.calling_ae_title, visit.outcome) == ("EVE", "rejected")


def test_what_is_told_and_asked_is_passed_on(
    desk: FrontDesk, heard: list[News | SenderVisit]
) -> None:
    receiver = desk.for_receiver("a")
    news = News(
        outcome="stored", calling_ae_title="MR1", sop_instance_uid="1.2", size_bytes=3, path="x"
    )
    receiver.tell(news)
    receiver.leave(a_visit("MR1"))
    assert heard == [news, a_visit("MR1")]
    assert receiver.ask("echo", {"said": "a"}) == {"heard": "a"}


def test_who_never_stood_is_not_taken_from_those_who_stand(desk: FrontDesk) -> None:
    receiver = desk.for_receiver("a")
    assert receiver.enter(MR1) is None
    receiver.established()
    assert receiver.enter(MR2) is None
    receiver.leave(a_visit("MR2"), stood=False)
    assert count_of("associations_open") == 1
    receiver.leave(a_visit("MR1"))
    assert count_of("associations_open") == 0


def test_a_place_that_was_given_too_late_is_given_back(desk: FrontDesk) -> None:
    receiver = desk.for_receiver("a")
    for _ in range(5):
        assert receiver.enter(MR1) is None
        receiver.withdraw(MR1.calling_ae_title)


def test_titles_that_are_made_up_leave_nothing_behind(gate: Gate) -> None:
    policy = Policy(ae_title="SEGNODE", callers=parse_callers(["*"]))
    desk = FrontDesk(
        policy, gate, on_news=lambda _: None, on_visit=lambda _: None, services={}
    ).for_receiver("a")

    def visit(numbers: range) -> None:
        for number in numbers:
            assert desk.enter(replace(MR1, calling_ae_title=f"MR{number}")) is None
            desk.leave(a_visit(f"MR{number}"))

    visit(range(10))
    tracemalloc.start()
    try:
        visit(range(10, 2000))
        before = tracemalloc.get_traced_memory()[0]
        visit(range(2000, 4000))
        assert tracemalloc.get_traced_memory()[0] - before < 50_000
    finally:
        tracemalloc.stop()
