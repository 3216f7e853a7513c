"""The completion watchdog: looks at every study when its next look is due.

It is woken when images come, and looks by itself often enough to see what other processes
wrote. One study that cannot be judged stops neither the others nor the loop.
"""

import logging
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol

from node.domain.clock import Clock
from node.domain.errors import LedgerUnavailable, SegnodeError, StepCrashed
from node.domain.ids import StudyInstanceUID
from node.domain.states import RevisionState
from node.domain.study import CompletionDecision, Reason
from node.rules.grammar import Rule
from node.store.ledger import Ledger
from node.studies.review import OVERTAKEN, JobQueue, review
from node.telemetry.logs import site_hash
from node.telemetry.metrics import study_judged

LOG: Final = logging.getLogger(__name__)

LONGEST_SLEEP_S: Final = 1.0
"""Images may come through another process, whose wake-up does not reach this one."""

SETTLE_S: Final = 1.0
"""Shortest time between two rounds: images come by the hundred, one look serves them all."""

LOOK_AFTER_CRASH_S: Final = 60.0

RECENT: Final = timedelta(days=7)
"""Studies received since then are judged again when the rules change."""


class RuleSource(Protocol):
    """What gives the rules in force; node.rules.files.RuleBook is one."""

    @property
    def generation(self) -> int:
        """Return a number that changes with the rules."""
        ...

    def current(self) -> Sequence[Rule]:
        """Return the rules in force, in order."""
        ...


class Watch:
    """Reviews what is due, until it is told to stop. One for each serving process."""

    def __init__(
        self,
        ledger: Ledger,
        rulebook: RuleSource,
        queue: JobQueue,
        clock: Clock,
        *,
        site_key: bytes = b"",
        settle_s: float = SETTLE_S,
    ) -> None:
        self._ledger: Final = ledger
        self._rulebook: Final = rulebook
        self._queue: Final = queue
        self._clock: Final = clock
        self._site_key: Final = site_key
        self._settle_s: Final = settle_s
        self._judged_by = rulebook.generation
        self._condition: Final = threading.Condition()
        self._is_woken = False
        self._said = ""

    def wake(self) -> None:
        """Say that something came; returns at once."""
        with self._condition:
            self._is_woken = True
            self._condition.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Review what is due until `stop` is set; a ledger that is away is waited for."""
        while not stop.is_set():
            sleep_s = self._round(stop)
            stop.wait(self._settle_s)
            self._sleep(min(sleep_s, LONGEST_SLEEP_S), stop)

    def _round(self, stop: threading.Event) -> float:
        """Review what is due and return the seconds until something may be due again."""
        try:
            self.reopen_for_new_rules()
            self.review_due(stop)
            seconds = self._ledger.studies.seconds_to_next_look(self._clock.now())
        except LedgerUnavailable as error:
            self._say_once(error.what)
        except Exception as error:  # noqa: BLE001 - the loop outlives every defect
            self._say_once(_in_words(error))
        else:
            self._said = ""
            return LONGEST_SLEEP_S if seconds is None else seconds
        return LONGEST_SLEEP_S

    def _say_once(self, what: str) -> None:
        """Log a fault when it begins, not in every round that it lasts."""
        if what != self._said:
            LOG.error("studies are not judged now: %s", what)
        self._said = what

    def reopen_for_new_rules(self) -> int:
        """Have recent studies that the old rules left out judged again; return how many.

        Raises LedgerUnavailable.
        """
        generation = self._rulebook.generation
        if generation == self._judged_by:
            return 0
        now = self._clock.now()
        studies = self._ledger.studies.undecided(now - RECENT)
        for study in studies:
            with suppress(StepCrashed):  # images or an operator were faster
                self._ledger.studies.reopen(study, now=now, who="new rules")
        self._judged_by = generation
        return len(studies)

    def review_due(self, stop: threading.Event | None = None) -> int:
        """Review each study whose look is due, once; return how many it were.

        Raises LedgerUnavailable; every other error is written down with its study.
        """
        due = self._ledger.studies.due(self._clock.now())
        rules = tuple(self._rulebook.current())
        for number, study in enumerate(due):
            if stop is not None and stop.is_set():
                return number
            self._review(study, rules)
        return len(due)

    def _review(self, study: StudyInstanceUID, rules: Sequence[Rule]) -> None:
        try:
            decision = review(study, self._ledger, rules, self._queue, self._clock.now())
            if decision is not OVERTAKEN:
                study_judged(decision.state)
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a defect in one study must not stop the rest
            self._note_crash(study, _in_words(error))

    def _note_crash(self, study: StudyInstanceUID, what: str) -> None:
        """Log the crash and write it down with the study, which is looked at again later."""
        LOG.error("judging study %s failed: %s", site_hash(self._site_key, study), what)
        now = self._clock.now()
        decision = CompletionDecision(
            state=RevisionState.WAITING,
            reason=Reason(code=StepCrashed.code, text=f"the study could not be judged: {what}"),
            evidence=(),
            look_again_s=LOOK_AFTER_CRASH_S,
        )
        try:
            revision = self._ledger.studies.revision(study)
            self._ledger.studies.record(study, revision, decision, now=now)
        except LedgerUnavailable:
            raise
        except SegnodeError as error:
            LOG.warning("the failure could not be written down: %s", error.what)

    def _sleep(self, seconds: float, stop: threading.Event) -> None:
        with self._condition:
            if not self._is_woken and not stop.is_set():
                self._condition.wait(seconds)
            self._is_woken = False


def _in_words(error: Exception) -> str:
    """Return what may be logged: our own words, else only kind and place of the error.

    Nobody knows what the message of an unforeseen error quotes.
    """
    if isinstance(error, SegnodeError):
        return f"{error.code}: {error.what}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
