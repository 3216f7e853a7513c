"""The front desk as a receiving process sees it: over a channel."""

import itertools
import threading
from collections import deque
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from node.listener.callers import Rejection, Request
from node.listener.channel import Channel, Message
from node.listener.desk import Body, News
from node.store.visits import SenderVisit

ANSWER_LIMIT_S: Final = 30.0
GATHER_S: Final = 0.02
MOST_AT_ONCE: Final = 64
"""Reports that go in one message, so that it stays far below the channel's largest."""


class RemoteDesk:
    """A `Desk`; reports go through one thread, so that no association waits for them."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel
        self._numbers: Final = itertools.count()
        self._answers: dict[int, Message | None] = {}
        self._reports: Final[deque[Message]] = deque()
        self._something: Final = threading.Event()
        self._ending: Final = threading.Event()
        self._change: Final = threading.Condition()
        self._over = False
        self._reporter: Final = threading.Thread(target=self._report, name="reports", daemon=True)
        self._reporter.start()

    def enter(self, request: Request) -> Rejection | None:
        """See `Desk`."""
        answer = self._call({"enter": asdict(request)})["rejection"]
        return Rejection(**answer) if answer is not None else None

    def established(self) -> None:
        """See `Desk`."""
        self._put({"established": True})

    def leave(self, visit: SenderVisit) -> None:
        """See `Desk`."""
        self._put({"visit": {**asdict(visit), "ended_at": visit.ended_at.isoformat()}})

    def closed(self) -> None:
        """See `Desk`."""
        self._put({"closed": True})

    def refused_handshake(self, kind: str, address: str) -> None:
        """See `Desk`."""
        self._put({"handshake": [kind, address]})

    def tell(self, news: News) -> None:
        """See `Desk`."""
        self._put({"news": asdict(news)})

    def ask(self, service: str, body: Body) -> Body:
        """See `Desk`."""
        answer: Body = self._call({"ask": service, "body": body})["body"]
        return answer

    def answered(self, message: Message) -> None:
        """Take the answer to a call; from the thread that receives."""
        with self._change:
            if message["answer"] in self._answers:
                self._answers[message["answer"]] = message
                self._change.notify_all()

    def hang_up(self) -> None:
        """Let every call fail that waits for an answer; reports still go out."""
        with self._change:
            self._over = True
            self._change.notify_all()

    def finish(self) -> None:
        """Send the reports that are left, and end."""
        self.hang_up()
        self._ending.set()
        self._something.set()
        self._reporter.join()

    def _call(self, message: Message) -> Message:
        number = next(self._numbers)
        with self._change:
            self._answers[number] = None
        try:
            self._channel.send({**message, "call": number})
            with self._change:
                self._change.wait_for(
                    lambda: self._over or self._answers[number] is not None, ANSWER_LIMIT_S
                )
                answer = self._answers[number]
        finally:
            with self._change:
                del self._answers[number]
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
