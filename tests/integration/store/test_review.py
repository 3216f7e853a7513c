"""The shell of the judgement on a real ledger: review and the watchdog."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from node.domain.errors import LedgerUnavailable, StepCrashed
from node.domain.ids import SeriesInstanceUID
from node.domain.states import AnalysisState, RevisionState
from node.domain.study import AnalysisOrder
from node.rules.grammar import Rule
from node.store.ledger import Ledger, Transaction
from node.studies.review import OVERTAKEN, review
from node.studies.watch import Watch
from tests.support.ledger_values import STUDY, ManualClock, a_header, at, receive
from tests.unit.studies.world import GIVE_UP_S, KINDS, a_rule

SLICES = 6


class Queue:
    """A queue that keeps what it was given, and can be made to do something first."""

    def __init__(self) -> None:
        self.orders: list[AnalysisOrder] = []
        self.before: Callable[[], None] = lambda: None
        self.arrived = threading.Event()

    def enqueue(self, order: AnalysisOrder, transaction: Transaction) -> None:
        assert transaction.connection is not None
        self.before()
        self.orders.append(order)
        self.arrived.set()


class Rules:
    """Rules in force, which may change."""

    generation = 1

    def __init__(self, *rules: Rule) -> None:
        self.rules: Sequence[Rule] = rules

    def current(self) -> Sequence[Rule]:
        return self.rules


@pytest.fixture
def queue() -> Queue:
    return Queue()


def _receive(
    ledger: Ledger, *kinds: str, seconds: float = 0.0, numbers: Sequence[int] = range(1, 7)
) -> None:
    for kind in kinds:
        series = list(KINDS).index(kind) + 1 if kind in KINDS else 9
        description, repetition = KINDS.get(kind, ("ep2d", 100.0))
        for number in numbers:
            header = a_header(
                number,
                series=SeriesInstanceUID(f"{STUDY}.{series}"),
                series_number=series,
                series_description=description,
                repetition_time_ms=repetition,
            )
            receive(ledger, header, seconds=seconds)


def _state(ledger: Ledger) -> RevisionState:
    story = ledger.stories.story(STUDY)
    assert story is not None
    return story.current.state


def _deliver(ledger: Ledger, order: AnalysisOrder) -> None:
    for state in (AnalysisState.RUNNING, AnalysisState.ENCODED, AnalysisState.DELIVERED):
        ledger.analyses.move(order.analysis_id, state, reason=None, who="test", now=at(100))


def test_a_study_goes_from_receiving_over_waiting_to_complete(ledger: Ledger, queue: Queue) -> None:
    rules = [a_rule()]
    _receive(ledger, *KINDS)
    assert review(STUDY, ledger, rules, queue, at(1)).state is RevisionState.WAITING
    assert ledger.studies.due(at(59.9)) == ()
    assert ledger.studies.due(at(60)) == (STUDY,)
    assert review(STUDY, ledger, rules, queue, at(60)).state is RevisionState.COMPLETE
    (order,) = queue.orders
    assert ledger.analyses.get(order.analysis_id).order == order
    assert _state(ledger) is RevisionState.COMPLETE
    assert ledger.studies.due(at(1e6)) == ()


def test_a_study_with_a_missing_role_is_given_up_and_a_late_series_completes_it(
    ledger: Ledger, queue: Queue
) -> None:
    rules = [a_rule()]
    _receive(ledger, "T1", "T1C", "FLAIR")
    assert review(STUDY, ledger, rules, queue, at(GIVE_UP_S)).state is RevisionState.GAVE_UP
    _receive(ledger, "T2", seconds=700)
    assert review(STUDY, ledger, rules, queue, at(760)).state is RevisionState.COMPLETE
    assert [o.revision for o in queue.orders] == [1]


def test_a_missing_slice_that_comes_late_mends_the_study(ledger: Ledger, queue: Queue) -> None:
    rules = [a_rule()]
    _receive(ledger, "T1", "T1C", "FLAIR")
    _receive(ledger, "T2", numbers=[1, 2, 3, 5, 6, 7])
    decision = review(STUDY, ledger, rules, queue, at(61))
    assert (decision.state, decision.reason.code) == (RevisionState.WAITING, "slice-gap")
    _receive(ledger, "T2", numbers=[4], seconds=62)
    assert review(STUDY, ledger, rules, queue, at(122)).state is RevisionState.COMPLETE


def test_an_image_that_comes_during_the_judgement_is_not_judged_away(
    ledger: Ledger, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    _receive(ledger, *KINDS)
    evidence = ledger.studies.evidence

    def slow(*arguments: object, **named: object) -> object:
        found = evidence(*arguments, **named)  # type: ignore[arg-type]
        _receive(ledger, "DWI", seconds=10, numbers=[1])
        return found

    monkeypatch.setattr(ledger.studies, "evidence", slow)
    assert review(STUDY, ledger, [a_rule()], queue, at(60)) is OVERTAKEN
    assert queue.orders == []
    assert _state(ledger) is RevisionState.RECEIVING
    assert ledger.studies.due(at(60)) == (STUDY,)


def test_late_images_that_change_no_input_are_not_analysed_again(
    ledger: Ledger, queue: Queue
) -> None:
    rules = [a_rule()]
    _receive(ledger, *KINDS)
    review(STUDY, ledger, rules, queue, at(60))
    _deliver(ledger, queue.orders[0])
    _receive(ledger, "DWI", seconds=200)
    decision = review(STUDY, ledger, rules, queue, at(260))
    assert decision.state is RevisionState.COMPLETE
    assert "the same images were analysed for revision 1" in decision.reason.text
    assert len(queue.orders) == 1
    _receive(ledger, "T2", seconds=300, numbers=[7])
    assert review(STUDY, ledger, rules, queue, at(360)).state is RevisionState.COMPLETE
    assert [o.revision for o in queue.orders] == [1, 3]


def _watch(ledger: Ledger, queue: Queue, clock: ManualClock, *rules: Rule) -> Watch:
    return Watch(ledger, Rules(*rules), queue, clock, site_key=b"key", settle_s=0.0)


def test_one_round_reviews_what_is_due_and_nothing_else(ledger: Ledger, queue: Queue) -> None:
    clock = ManualClock()
    watch = _watch(ledger, queue, clock, a_rule())
    assert watch.review_due() == 0
    _receive(ledger, *KINDS)
    assert watch.review_due() == 1
    assert watch.review_due() == 0
    clock.advance(60)
    assert watch.review_due() == 1
    assert len(queue.orders) == 1


def test_a_queue_that_breaks_is_written_down_and_the_study_is_looked_at_again(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise StepCrashed("the queue is broken")

    queue.before = broken
    clock = ManualClock(at(60))
    watch = _watch(ledger, queue, clock, a_rule())
    _receive(ledger, *KINDS)
    watch.review_due()
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.current.decision is not None
    assert story.current.decision.reason.code == "step-crashed"
    assert "the queue is broken" in story.current.decision.reason.text
    queue.before = lambda: None
    clock.advance(60)
    watch.review_due()
    assert len(queue.orders) == 1
    assert STUDY not in caplog.text


def test_an_unforeseen_error_is_logged_without_what_it_quotes(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise KeyError("Gesperrt^Name")

    queue.before = broken
    _receive(ledger, *KINDS)
    with caplog.at_level(logging.ERROR):
        _watch(ledger, queue, ManualClock(at(60)), a_rule()).review_due()
    assert "KeyError at broken:" in caplog.text
    assert "Gesperrt" not in caplog.text
    assert STUDY not in caplog.text
    assert _state(ledger) is RevisionState.WAITING


@pytest.fixture
def running(ledger: Ledger, queue: Queue) -> Iterator[tuple[Watch, ManualClock]]:
    """Run a watchdog in a thread of its own."""
    clock, stop = ManualClock(at(60)), threading.Event()
    watch = _watch(ledger, queue, clock, a_rule())
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    yield watch, clock
    stop.set()
    watch.wake()
    thread.join(10)
    assert not thread.is_alive()


def test_a_running_watchdog_wakes_when_something_came(
    ledger: Ledger, queue: Queue, running: tuple[Watch, ManualClock]
) -> None:
    _receive(ledger, *KINDS)
    running[0].wake()
    assert queue.arrived.wait(20)
    assert len(queue.orders) == 1


def test_a_watchdog_outlives_a_ledger_that_is_away(
    ledger: Ledger, queue: Queue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = _watch(ledger, queue, ManualClock(at(60)), a_rule())
    stop = threading.Event()
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE segnode_revisions RENAME TO away")
    for _ in range(3):
        assert watch._round(stop) > 0
    assert caplog.text.count("studies are not judged now") == 1
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO segnode_revisions")
    _receive(ledger, *KINDS)
    watch._round(stop)
    assert len(queue.orders) == 1


def test_a_ledger_that_goes_away_during_a_review_ends_the_round_not_the_loop(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise LedgerUnavailable("The database does not answer: locked.")

    queue.before = away
    _receive(ledger, *KINDS)
    watch = _watch(ledger, queue, ManualClock(at(60)), a_rule())
    assert watch._round(threading.Event()) > 0
    assert "studies are not judged now: The database does not answer" in caplog.text
    assert _state(ledger) is RevisionState.RECEIVING
    queue.before = lambda: None
    watch._round(threading.Event())
    assert len(queue.orders) == 1


def test_rules_that_cannot_be_had_do_not_end_the_loop(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Rules):
        def current(self) -> Sequence[Rule]:
            raise ValueError("Gesperrt^Name")

    watch = Watch(ledger, Broken(), queue, ManualClock(), settle_s=0.0)
    assert watch._round(threading.Event()) > 0
    assert "ValueError at current:" in caplog.text
    assert "Gesperrt" not in caplog.text


def test_a_stopped_watchdog_begins_no_further_study(ledger: Ledger, queue: Queue) -> None:
    _receive(ledger, *KINDS)
    stop = threading.Event()
    stop.set()
    assert _watch(ledger, queue, ManualClock(at(60)), a_rule()).review_due(stop) == 0
    assert queue.orders == []
