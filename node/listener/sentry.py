"""Looks at disk, ledger and unfinished work, and sets the gate."""

import contextlib
import logging
import threading
from typing import Final

from node.domain.errors import SegnodeError
from node.listener.clerk import Clerk
from node.listener.gate import WORDS, Gate, Load, Watermarks, overload
from node.store.ledger import Ledger
from node.store.spool import Spool
from node.telemetry import metrics
from node.telemetry.outcomes import RefusingCause

logger: Final = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Sentry:
    """One thread that keeps the gate as the node's load demands."""

    def __init__(
        self,
        gate: Gate,
        marks: Watermarks,
        *,
        spool: Spool,
        ledger: Ledger,
        clerk: Clerk,
    ) -> None:
        self._gate: Final = gate
        self._marks: Final = marks
        self._spool: Final = spool
        self._ledger: Final = ledger
        self._clerk: Final = clerk
        self._cause: RefusingCause | None = None
        self._stopping: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="sentry")

    @property
    def cause(self) -> RefusingCause | None:
        """Why the gate was closed at the last look, None when it was open."""
        return self._cause

    def start(self) -> None:
        """Look once, then go on in the background."""
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """End; the gate stays as it is and goes stale."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        cause = overload(self._load(), self._marks)
        self._gate.set(cause)
        metrics.refusing(cause)
        if cause == self._cause:
            return
        if cause is not None:
            logger.error("nothing more is taken in", extra={"cause": cause, "why": WORDS[cause]})
        else:
            logger.info("images are taken in again")
        self._cause = cause

    def _load(self) -> Load:
        free_bytes = free_inodes = waiting = None
        with contextlib.suppress(SegnodeError):
            room = self._spool.room()
            free_bytes, free_inodes = room.free_bytes, room.free_inodes
        with contextlib.suppress(SegnodeError):
            waiting = self._ledger.health.waiting_analyses()
        return Load(
            free_bytes=free_bytes,
            free_inodes=free_inodes,
            unsettled=self._clerk.unsettled,
            waiting_analyses=waiting,
            stuck=self._clerk.stuck,
        )
