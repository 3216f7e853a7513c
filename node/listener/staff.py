"""Receiving processes: started, given connections, answered, and replaced when they die."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Final

from node.listener.callers import Request
from node.listener.channel import Channel, Message
from node.listener.desk import News
from node.listener.front_desk import DeskOfReceiver, FrontDesk
from node.listener.gate import Gate
from node.listener.remote import visit_from

logger: Final = logging.getLogger(__name__)

PROGRAM: Final = (sys.executable, "-m", "node.listener.receiver_process")
STOP_LIMIT_S: Final = 20.0
PAUSES_S: Final = (0.0, 1.0, 5.0, 30.0)
"""Before a receiver that died is replaced; the last one from then on."""

LONG_S: Final = 60.0
"""A receiver that lived so long is replaced at once when it dies."""

MEMORY: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What the C library frees goes back to the system, rather than to one heap for each thread."""

ANSWERERS: Final = 2
"""Threads that answer what receivers ask of the ledger."""


class Colleague:
    """One receiving process and our end of its channel. Raises OSError where none can be."""

    def __init__(self, name: str, first: Message, gate: Gate) -> None:
        self.name: Final = name
        self.channel, theirs = Channel.pair()
        self.busy = 0  # connections that it has
        with ExitStack() as undoing:
            undoing.callback(self.channel.close)
            with theirs:
                self.process: Final = _start((theirs.fileno(), gate.descriptor))
            undoing.callback(self.process.wait)
            undoing.callback(self.process.kill)
            self.channel.send(first)
            undoing.pop_all()


class Staff:
    """As many receiving processes as are asked for; safe for many threads.

    on_death: called when one is gone, whose journal is then to be settled.
    """

    def __init__(
        self,
        size: int,
        first: Message,
        gate: Gate,
        desk: FrontDesk,
        *,
        on_death: Callable[[], None],
    ) -> None:
        self._size: Final = size
        self._first: Final = first
        self._gate: Final = gate
        self._desk: Final = desk
        self._on_death: Final = on_death
        self._present: dict[str, Colleague] = {}
        self._lock: Final = threading.Lock()
        self._stopping: Final = threading.Event()
        self._threads: list[threading.Thread] = []
        self._answering: Final = ThreadPoolExecutor(ANSWERERS, thread_name_prefix="answers")

    def start(self) -> None:
        """Start all of them."""
        for number in range(self._size):
            name = f"receiver-{number}"
            thread = threading.Thread(target=self._keep, args=(name, self._hire(name)), name=name)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Have them finish what they are committing, and wait until they are gone."""
        with self._lock:
            self._stopping.set()
            present = list(self._present.values())
        for colleague in present:
            _tell_to_stop(colleague)
        for thread in self._threads:
            thread.join(STOP_LIMIT_S)
        for colleague in present:
            if colleague.process.poll() is None:
                colleague.process.kill()
        for thread in self._threads:
            thread.join()
        self._answering.shutdown()

    def take(self, connection: socket.socket, address: tuple[Any, ...], *, tls: bool) -> None:
        """Hand a connection to the one that has the fewest. Raises OSError when none is there."""
        with self._lock:
            if not self._present:
                raise ConnectionError("no receiver is there")
            colleague = min(self._present.values(), key=lambda one: one.busy)
            colleague.busy += 1
        with connection:
            colleague.channel.send({"address": list(address), "tls": tls}, connection)

    def _hire(self, name: str) -> Colleague:
        colleague = Colleague(name, self._first, self._gate)
        with self._lock:
            self._present[name] = colleague
            is_late = self._stopping.is_set()
        if is_late:  # those who were there have been told already
            _tell_to_stop(colleague)
        return colleague

    def _keep(self, name: str, colleague: Colleague) -> None:
        """Listen to one until it is gone, and replace it; until all is stopped."""
        deaths = 0
        while True:
            began = time.monotonic()
            self._attend(colleague)
            self._see_off(colleague)
            if self._stopping.is_set():
                return
            logger.error("a receiver ended", extra={"code": colleague.process.returncode})
            deaths = 0 if time.monotonic() - began > LONG_S else deaths + 1
            if self._stopping.wait(PAUSES_S[min(deaths, len(PAUSES_S) - 1)]):
                return
            replacement = self._replace(name)
            if replacement is None:
                return
            colleague = replacement

    def _replace(self, name: str) -> Colleague | None:
        """Start another one, as soon as that can be; None when all is stopped meanwhile."""
        while True:
            try:
                return self._hire(name)
            except OSError as error:  # no descriptors, no memory
                logger.warning("no receiver can be started", extra={"errno": error.errno})
            if self._stopping.wait(PAUSES_S[-1]):
                return None

    def _attend(self, colleague: Colleague) -> None:
        """Listen to one until it is gone, or says what nobody understands; then it has to go."""
        try:
            self._listen(colleague)
        except Exception as error:  # the edge: whoever is not listened to must not go on
            logger.error("a receiver is not understood", exc_info=error)  # noqa: TRY400 -- text stays out
            colleague.process.kill()

    def _see_off(self, colleague: Colleague) -> None:
        with self._lock:
            self._present.pop(colleague.name, None)
        colleague.process.wait()
        colleague.channel.close()
        self._desk.forget(colleague.name)
        self._on_death()

    def _listen(self, colleague: Colleague) -> None:
        desk = self._desk.for_receiver(colleague.name)
        while (received := colleague.channel.receive()) is not None:
            message, _ = received
            if "reports" in message:
                for report in message["reports"]:
                    self._file(colleague, desk, report)
            elif "enter" in message:
                found = desk.enter(Request(**message["enter"]))
                self._answer(colleague, message, rejection=asdict(found) if found else None)
            elif "ask" in message:
                self._answering.submit(self._serve, colleague, desk, message)

    def _file(self, colleague: Colleague, desk: DeskOfReceiver, report: Message) -> None:
        if "news" in report:
            desk.tell(News(**report["news"]))
        elif "visit" in report:
            desk.leave(visit_from(report["visit"]), stood=report["stood"])
        elif "withdrawn" in report:
            desk.withdraw(report["withdrawn"])
        elif "handshake" in report:
            desk.refused_handshake(*report["handshake"])
        elif "established" in report:
            desk.established()
        elif "closed" in report:
            with self._lock:
                colleague.busy -= 1

    def _serve(self, colleague: Colleague, desk: DeskOfReceiver, message: Message) -> None:
        """Answer what needs the ledger; in a thread of its own."""
        try:
            answer = desk.ask(message["ask"], message["body"])
        except Exception as error:  # the edge: the asker must hear of it
            logger.error("a request failed", exc_info=error)  # noqa: TRY400 -- its text stays out
            self._answer(colleague, message, failed=True)
        else:
            self._answer(colleague, message, body=answer)

    def _answer(self, colleague: Colleague, message: Message, **answer: Any) -> None:
        with contextlib.suppress(OSError):  # it died meanwhile
            colleague.channel.send({"answer": message["call"], **answer})


def _start(inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a receiving process with these descriptors. Raises OSError."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [*PROGRAM, *map(str, inherited)],
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **MEMORY},
    )


def _tell_to_stop(colleague: Colleague) -> None:
    with contextlib.suppress(OSError):  # it died meanwhile
        colleague.channel.send({"stop": True})
