"""Between `serve` and a receiving process: messages, connections, answers, and the end of it."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from node.domain.ids import AETitle
from node.listener import remote
from node.listener.callers import LOCAL_LIMIT_EXCEEDED, Request
from node.listener.channel import Channel, Message
from node.listener.desk import News
from node.listener.remote import RemoteDesk, visit_from
from node.store.visits import SenderVisit
from tests.support.peers import wait_until

REQUEST = Request(calling_ae_title="MR1", called_ae_title="SEGNODE", address="10.0.0.1")
VISIT = SenderVisit(
    calling_ae_title=AETitle("MR1"),
    address="10.0.0.1",
    ended_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    outcome="aborted",
    instances=3,
    transfer_syntaxes={"1.2.840.10008.1.2": 3},
)


class Serve:
    """The other end: answers calls as it is told, and keeps the reports in order."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.answers: list[dict[str, Any]] = []
        self.calls: list[Message] = []
        self.reports: list[Message] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while (received := self.channel.receive()) is not None:
            message, _ = received
            self.reports += message.get("reports", [])
            if "call" in message:
                self.calls.append(message)
                if self.answers:
                    self.channel.send({"answer": message["call"], **self.answers.pop(0)})


@pytest.fixture
def line() -> Iterator[tuple[Serve, RemoteDesk]]:
    ours, theirs = Channel.pair()
    serve, there = Serve(ours), Channel(theirs)
    desk = RemoteDesk(there)

    def receive() -> None:
        while (received := there.receive()) is not None:
            desk.answered(received[0])

    receiving = threading.Thread(target=receive)
    receiving.start()
    serve.thread.start()
    yield serve, desk
    desk.finish()
    there.hang_up()
    serve.thread.join(10)
    serve.channel.close()
    receiving.join(10)
    there.close()


def test_a_question_gets_its_answer(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    rejected = {"result": 2, "source": 3, "reason": 2, "kind": "too-many"}
    serve.answers += [{"rejection": None}, {"rejection": rejected}, {"body": {"said": "b"}}]
    assert desk.enter(REQUEST) is None
    assert desk.enter(REQUEST) == LOCAL_LIMIT_EXCEEDED
    assert desk.ask("echo", {"said": "a"}) == {"said": "b"}


def test_answers_find_their_questions_whatever_the_order(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    found: dict[str, Any] = {}
    askers = [
        threading.Thread(target=lambda name=name: found.update({name: desk.ask(name, {})}))
        for name in "abc"
    ]
    for asker in askers:
        asker.start()
    wait_until(lambda: len(serve.calls) == 3, "all have asked", 10)
    for call in reversed(serve.calls):
        serve.channel.send({"answer": call["call"], "body": {"to": call["ask"]}})
    for asker in askers:
        asker.join(10)
    assert found == {name: {"to": name} for name in "abc"}


def test_an_answer_wakes_nobody_but_who_has_asked(
    line: tuple[Serve, RemoteDesk], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, desk = line
    askers = [threading.Thread(target=desk.ask, args=("echo", {})) for _ in range(50)]
    for asker in askers:
        asker.start()
    wait_until(lambda: len(serve.calls) == 50, "all have asked", 20)
    woken: list[int] = []
    monkeypatch.setattr(threading.Condition, "notify_all", counted(woken))
    serve.channel.send({"answer": serve.calls[0]["call"], "body": {}})
    wait_until(lambda: sum(asker.is_alive() for asker in askers) == 49, "one is answered", 20)
    assert max(woken) <= 1
    for call in serve.calls[1:]:
        serve.channel.send({"answer": call["call"], "body": {}})
    for asker in askers:
        asker.join(20)


def counted(woken: list[int]) -> Any:
    """Return a `notify_all` that notes how many it wakes."""
    notify_all = threading.Condition.notify_all

    def count(condition: Any) -> None:
        woken.append(len(condition._waiters))
        notify_all(condition)

    return count


def test_a_question_that_cannot_be_answered_fails(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    serve.answers += [{"failed": True}]
    with pytest.raises(OSError, match="does not answer"):
        desk.ask("echo", {})


def test_who_waits_for_an_answer_hears_when_it_is_over(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    failures: list[OSError] = []

    def ask() -> None:
        try:
            desk.ask("echo", {})
        except OSError as error:
            failures.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    wait_until(lambda: serve.calls, "it has asked", 10)
    desk.hang_up()
    asker.join(10)
    assert len(failures) == 1


def test_reports_come_in_order_and_all_of_them(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    news = [
        News(outcome="stored", calling_ae_title="MR1", sop_instance_uid=f"1.{i}", size_bytes=i)
        for i in range(500)
    ]
    desk.established()
    for one in news:
        desk.tell(one)
    desk.leave(VISIT)
    desk.closed()
    desk.finish()
    wait_until(lambda: len(serve.reports) == 503, "all have come", 10)
    assert serve.reports[0] == {"established": True}
    assert [News(**report["news"]) for report in serve.reports[1:501]] == news
    assert visit_from(serve.reports[501]["visit"]) == VISIT
    assert serve.reports[502] == {"closed": True}


def test_who_could_not_wait_to_be_let_in_gives_the_place_back(
    line: tuple[Serve, RemoteDesk], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, desk = line
    monkeypatch.setattr(remote, "ANSWER_LIMIT_S", 0.01)
    for _ in range(2):
        with pytest.raises(OSError, match="does not answer"):
            desk.enter(REQUEST)
    wait_until(lambda: len(serve.calls) == 2, "both have asked", 10)
    rejected = {"result": 2, "source": 3, "reason": 2, "kind": "too-many"}
    for call, rejection in zip(serve.calls, (rejected, None), strict=True):
        serve.channel.send({"answer": call["call"], "rejection": rejection})
    wait_until(lambda: serve.reports, "it is told", 10)
    desk.closed()
    wait_until(lambda: len(serve.reports) == 2, "all is told", 10)
    assert serve.reports == [{"withdrawn": "MR1"}, {"closed": True}]


def test_refusals_do_not_pile_up_while_nobody_takes_reports(
    line: tuple[Serve, RemoteDesk], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, desk = line
    monkeypatch.setattr(remote, "MOST_REFUSALS", 10)
    refused = News(outcome="refused", calling_ae_title="MR1", sop_instance_uid="1", size_bytes=0)
    with monkeypatch.context() as held:
        held.setattr(Channel, "send", lambda *_: threading.Event().wait(0.2))
        for _ in range(1000):
            desk.tell(refused)
        desk.tell(replace(refused, outcome="stored"))
    desk.finish()
    wait_until(lambda: not serve.thread.is_alive() or serve.reports, "the rest comes", 10)
    assert len(serve.reports) < 100


def test_no_report_is_too_long_for_the_channel(line: tuple[Serve, RemoteDesk]) -> None:
    serve, desk = line
    longest = "\1" * 64
    news = News(
        outcome="refused",
        calling_ae_title="\1" * 16,
        sop_instance_uid=longest,
        size_bytes=2**40,
        path="/" + "p" * 500,
        study_instance_uid=longest,
        code="c" * 40,
        text="t" * 300,
    )
    visit = replace(VISIT, transfer_syntaxes={f"{n:064d}": n for n in range(17)})
    for _ in range(100):
        desk.tell(news)
        desk.leave(visit)
    wait_until(lambda: len(serve.reports) == 200, "all have come", 10)


def test_a_connection_travels_with_its_message() -> None:
    ours, theirs = Channel.pair()
    there = Channel(theirs)
    near, far = socket.socketpair()
    ours.send({"address": ["10.0.0.1", 4711]}, far)
    far.close()
    received = there.receive()
    assert received is not None
    message, connection = received
    assert message == {"address": ["10.0.0.1", 4711]}
    assert connection is not None
    near.sendall(b"hello")
    assert connection.recv(10) == b"hello"
    for one in (near, connection):
        one.close()
    ours.close()
    assert there.receive() is None
    there.close()
