"""The front desk as a receiving process sees it: over a channel."""

import itertools
import threading
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from node.listener.callers import Rejection, Request
from node.listener.channel import Channel, Message
from node.listener.desk import Body, News
from node.store.visits import SenderVisit

ANSWER_LIMIT_S: Final = 30.0
GATHER_S: Final = 0.02
MOST_AT_ONCE: Final = 32
"""Reports that go in one message, so that it stays far below the channel's largest."""

MOST_REFUSALS: Final = 10_000
"""While so many reports wait because `serve` stands still, refusals are not reported."""


@dataclass(slots=True)
class _Call:
    """A question. Each has an event of its own: a thousand may wait, and one is answered."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: Message | None = None


class RemoteDesk:
    """A `Desk`; reports go through one thread, so that no association waits for them."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel
        self._numbers: Final = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._late: dict[int, str] = {}  # who asked to enter and could wait no longer
        self._reports: Final[deque[Message]] = deque()
        self._something: Final = threading.Event()
        self._ending: Final = threading.Event()
        self._lock: Final = threading.Lock()
        self._over = False
        self._reporter: Final = threading.Thread(target=self._report, name="reports", daemon=True)
        self._reporter.start()

    def enter(self, request: Request) -> Rejection | None:
        """See `Desk`."""
        answer = self._call({"enter": asdict(request)}, for_title=request.calling_ae_title)
        found = answer["rejection"]
        return Rejection(**found) if found is not None else None

    def established(self) -> None:
        """See `Desk`."""
        self._put({"established": True})

    def leave(self, visit: SenderVisit, *, stood: bool = True) -> None:
        """See `Desk`."""
        body = {**asdict(visit), "ended_at": visit.ended_at.isoformat()}
        self._put({"visit": body, "stood": stood})

    def closed(self) -> None:
        """See `Desk`."""
        self._put({"closed": True})

    def refused_handshake(self, kind: str, address: str) -> None:
        """See `Desk`."""
        self._put({"handshake": [kind, address]})

    def tell(self, news: News) -> None:
        """See `Desk`."""
        if news.outcome != "refused" or len(self._reports) < MOST_REFUSALS:
            self._put({"news": news.to_json()})

    def ask(self, service: str, body: Body) -> Body:
        """See `Desk`."""
        answer: Body = self._call({"ask": service, "body": body})["body"]
        return answer

    def answered(self, message: Message) -> None:
        """Take the answer to a call; from the thread that receives."""
        number = message["answer"]
        with self._lock:
            call = self._calls.get(number)
            if call is not None:
                call.answer = message
                call.done.set()
            title = self._late.pop(number, None)
        if title is not None and "rejection" in message and message["rejection"] is None:
            self._put({"withdrawn": title})  # a place that nobody takes any more

    def hang_up(self) -> None:
        """Let every call fail that waits for an answer; reports still go out."""
        with self._lock:
            self._over = True
            waiting = list(self._calls.values())
        for call in waiting:
            call.done.set()

    def finish(self) -> None:
        """Send the reports that are left, and end."""
        self.hang_up()
        self._ending.set()
        self._something.set()
        self._reporter.join()

    def _call(self, message: Message, for_title: str = "") -> Message:
        """Ask and wait for the answer. for_title: who asks to enter."""
        number, call = next(self._numbers), _Call()
        with self._lock:
            if self._over:
                raise ConnectionError("the front desk is closed")
            self._calls[number] = call
        try:
            self._channel.send({**message, "call": number})
            call.done.wait(ANSWER_LIMIT_S)
        finally:
            with self._lock:
                del self._calls[number]
                answer = call.answer
                if answer is None and for_title:
                    self._late[number] = for_title
        if answer is None or "failed" in answer:
            raise ConnectionError("the front desk does not answer")
        return answer

    def _put(self, report: Message) -> None:
        self._reports.append(report)
        if not self._something.is_set():  # or else the thread that sends has yet to look
            self._something.set()

    def _report(self) -> None:
        while not (self._ending.is_set() and not self._reports):
            self._something.wait()
            # To be woken for each image costs more than to send what came in some milliseconds.
            self._ending.wait(GATHER_S)
            self._something.clear()
            while self._reports:
                count = min(MOST_AT_ONCE, len(self._reports))
                reports = [self._reports.popleft() for _ in range(count)]
                try:
                    self._channel.send({"reports": reports})
                except OSError:
                    return  # nobody is there; what was committed is found by its journal


def visit_from(body: dict[str, Any]) -> SenderVisit:
    """Return a visit as it was put into a message."""
    return SenderVisit(**{**body, "ended_at": datetime.fromisoformat(body["ended_at"])})
