"""Writes into the ledger what receivers report, in batches, in one thread.

What is stored lies in a journal already, so nothing is lost when the ledger does not answer:
it is tried again, and the gate is closed meanwhile.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.domain.clock import Clock
from node.domain.errors import LedgerUnavailable, SegnodeError, SpoolUnwritable
from node.domain.ids import AETitle, SOPInstanceUID, StudyInstanceUID
from node.domain.study import Reason, Refusal
from node.listener.desk import News
from node.store.ledger import Ledger
from node.store.settle import Settler
from node.store.visits import SenderVisit
from node.telemetry.outcomes import RefusingCause

logger: Final = logging.getLogger(__name__)

BATCH: Final = 256
MOST_NOTES: Final = 10_000
"""Refusals and visits that wait for the ledger; beyond, the oldest are forgotten."""

PAUSE_S: Final = 0.1
"""Without a new image, a burst is over."""

BURST: Final = 4096
LONGEST_BURST_S: Final = 5.0
AGAIN_S: Final = 1.0

LOOK_S: Final = 30.0
"""Between looks for journals that nobody has: a receiver may outlive the `serve` that had it."""


@dataclass(slots=True)
class _Tray:
    """What waits to be written down."""

    paths: deque[Path] = field(default_factory=deque)
    notes: deque[News | SenderVisit] = field(default_factory=lambda: deque(maxlen=MOST_NOTES))
    orphans: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths or self.notes or self.orphans)


class Clerk:
    """One thread between receivers and the ledger; `put` and `note` are for any thread.

    on_settled: called after every batch that changed what is known of a study.
    """

    def __init__(
        self,
        settler: Settler,
        ledger: Ledger,
        clock: Clock,
        *,
        on_settled: Callable[[], None],
    ) -> None:
        self._settler: Final = settler
        self._ledger: Final = ledger
        self._clock: Final = clock
        self._on_settled: Final = on_settled
        self._tray: Final = _Tray()
        self._in_hand = 0
        self._something: Final = threading.Condition()
        self._writing = False
        self._stuck: RefusingCause | None = None
        self._ending: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="clerk")

    @property
    def unsettled(self) -> int:
        """Instances that were acknowledged and are not in the ledger yet."""
        with self._something:
            return len(self._tray.paths) + self._in_hand

    @property
    def stuck(self) -> RefusingCause | None:
        """Why nothing can be written down now, None while it can."""
        return self._stuck

    @property
    def is_idle(self) -> bool:
        """Whether all that was reported is written down."""
        with self._something:
            return not self._tray and not self._in_hand and not self._writing

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is there, if the ledger answers; the rest is found at the next start."""
        self._ending.set()
        with self._something:
            self._something.notify()
        self._thread.join()

    def put(self, path: Path) -> None:
        """Have a committed file settled."""
        with self._something:
            self._tray.paths.append(path)
            self._something.notify()

    def note(self, note: News | SenderVisit) -> None:
        """Have something written down that is not worth a retry for ever."""
        with self._something:
            self._tray.notes.append(note)
            self._something.notify()

    def look_for_orphans(self) -> None:
        """Have the journal of a receiver that died settled."""
        with self._something:
            self._tray.orphans = True
            self._something.notify()

    def _run(self) -> None:
        while True:
            with self._something:
                self._something.wait_for(lambda: self._tray or self._ending.is_set(), LOOK_S)
                if not self._tray:
                    if self._ending.is_set():
                        return
                    self._tray.orphans = True
                self._writing = True
            self._let_a_burst_pass()
            try:
                self._write_down()
                self._stuck = None
            except (LedgerUnavailable, SpoolUnwritable) as error:
                cause: RefusingCause = "ledger" if isinstance(error, LedgerUnavailable) else "spool"
                if cause != self._stuck:  # once, for it may last
                    logger.warning("what was received waits", extra={"code": error.code})
                self._stuck = cause
                if self._ending.wait(AGAIN_S):
                    return
            except Exception as error:  # the edge: the thread must live
                logger.error("the clerk failed", exc_info=error)  # noqa: TRY400 -- text stays out
                if self._ending.wait(AGAIN_S):
                    return
            finally:
                self._writing = False

    def _let_a_burst_pass(self) -> None:
        """Wait while more comes, so that senders need not share the machine with settling.

        Not for long, and not when much waits already: then senders slow down by themselves.
        """
        latest = time.monotonic() + LONGEST_BURST_S
        waiting = -1
        while waiting < len(self._tray.paths) < BURST and time.monotonic() < latest:
            waiting = len(self._tray.paths)
            if self._ending.wait(PAUSE_S):
                return

    def _write_down(self) -> None:
        while self._settle_some():
            self._on_settled()
        if self._tray.orphans:
            self._tray.orphans = False
            try:
                found = self._settler.recover()
            except SegnodeError:
                self._tray.orphans = True
                raise
            if found:
                self._on_settled()
        self._write_notes()

    def _settle_some(self) -> bool:
        """Settle a batch; return whether there was one."""
        with self._something:
            batch = [self._tray.paths.popleft() for _ in range(min(BATCH, len(self._tray.paths)))]
            self._in_hand = len(batch)
        try:
            if batch:
                self._settler.settle(batch)
        except BaseException:
            with self._something:
                self._tray.paths.extendleft(reversed(batch))
            raise
        finally:
            self._in_hand = 0
        return bool(batch)

    def _write_notes(self) -> None:
        with self._something:
            notes = list(self._tray.notes)
            self._tray.notes.clear()
        try:
            visits = [note for note in notes if isinstance(note, SenderVisit)]
            if visits:
                self._ledger.senders.record(*visits)
            for note in notes:
                if isinstance(note, News):
                    self._write_news(note)
        except LedgerUnavailable:
            with self._something:
                self._tray.notes.extendleft(reversed(notes))
            raise

    def _write_news(self, news: News) -> None:
        sop = SOPInstanceUID(news.sop_instance_uid)
        if news.outcome == "ours":
            self._ledger.deliveries.record_seen(sop, self._clock.now())
        elif news.outcome == "refused":
            study = StudyInstanceUID(news.study_instance_uid) if news.study_instance_uid else None
            refusal = Refusal(
                study_instance_uid=study,
                sop_instance_uid=sop,
                calling_ae_title=AETitle(news.calling_ae_title),
                reason=Reason(code=news.code, text=news.text),
                at=self._clock.now(),
            )
            self._ledger.intake.record_refusal(refusal)
