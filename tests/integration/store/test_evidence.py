"""What modalities say, in the ledger and in the judgement, on SQLite and PostgreSQL."""

from collections.abc import Sequence

import pytest

from node.app.cli.story import story_lines
from node.domain.ids import AETitle, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from node.domain.states import RevisionState, StepState
from node.domain.study import AnalysisOrder
from node.store.evidence import StepChange
from node.store.ledger import Ledger, Transaction
from node.studies.review import OVERTAKEN, review
from tests.support.ledger_values import SCANNER, STUDY, a_decision, a_header, at, receive
from tests.unit.studies.world import KINDS, a_rule

STEP = SOPInstanceUID("1.2.826.0.1.3680043.10.1338.77")
OTHER = StudyInstanceUID("1.2.826.0.1.3680043.10.1338.51")
NUMBERS = range(1, 7)


class Queue:
    """A queue that keeps what it was given."""

    def __init__(self) -> None:
        self.orders: list[AnalysisOrder] = []

    def enqueue(self, order: AnalysisOrder, _transaction: Transaction) -> None:
        self.orders.append(order)


def series_uid(kind: str) -> SeriesInstanceUID:
    return SeriesInstanceUID(f"{STUDY}.{list(KINDS).index(kind) + 1}")


def send(ledger: Ledger, *kinds: str, numbers: Sequence[int] = NUMBERS, seconds: float = 0) -> None:
    for kind in kinds:
        description, repetition = KINDS[kind]
        for number in numbers:
            header = a_header(
                number,
                series=series_uid(kind),
                series_number=list(KINDS).index(kind) + 1,
                series_description=description,
                repetition_time_ms=repetition,
            )
            receive(ledger, header, seconds=seconds)


def listed(*kinds: str) -> dict[SeriesInstanceUID, list[SOPInstanceUID]]:
    return {
        series_uid(kind): [SOPInstanceUID(f"{series_uid(kind)}.{n}") for n in NUMBERS]
        for kind in kinds
    }


def begin(ledger: Ledger, *, seconds: float = 0, study: StudyInstanceUID = STUDY) -> bool:
    return ledger.procedure_steps.create(STEP, study, {}, calling_ae_title=SCANNER, now=at(seconds))


def finish(ledger: Ledger, *kinds: str, seconds: float = 0) -> StepChange:
    return ledger.procedure_steps.update(
        STEP, state=StepState.COMPLETED, images=listed(*kinds), now=at(seconds)
    )


def test_a_step_may_come_before_the_first_image(ledger: Ledger) -> None:
    assert begin(ledger)
    assert not begin(ledger)
    send(ledger, "T1")
    (step,) = ledger.studies.evidence(STUDY, at(1)).steps
    assert (step.state, step.calling_ae_title) == (StepState.IN_PROGRESS, "SCANNER1")


def test_listed_images_are_held_against_what_came(ledger: Ledger) -> None:
    begin(ledger)
    finish(ledger, "T1", "T2")
    send(ledger, "T1", numbers=[1, 2])
    send(ledger, "FLAIR", numbers=[1])
    evidence = ledger.studies.evidence(STUDY, at(1))
    assert [(s.images, s.missing) for s in evidence.steps] == [(12, 10)]
    assert evidence.unlisted == 1


def test_a_step_of_another_study_is_no_evidence(ledger: Ledger) -> None:
    begin(ledger, study=OTHER)
    send(ledger, "T1")
    evidence = ledger.studies.evidence(STUDY, at(1))
    assert (evidence.steps, evidence.unlisted) == ((), 0)


def test_a_step_ends_once(ledger: Ledger) -> None:
    assert finish(ledger, "T1") is StepChange.UNKNOWN
    begin(ledger)
    assert finish(ledger, "T1") is StepChange.UPDATED
    assert finish(ledger, "T1", "T2") is StepChange.ENDED


def test_what_a_modality_says_makes_a_waiting_study_due(ledger: Ledger) -> None:
    begin(ledger)
    send(ledger, "T1")
    decision = a_decision(RevisionState.WAITING, look_again_s=600)
    ledger.studies.record(STUDY, ledger.studies.revision(STUDY), decision, now=at(1))
    assert ledger.studies.due(at(5)) == ()
    finish(ledger, "T1", seconds=5)
    assert ledger.studies.due(at(5)) == (STUDY,)


def test_what_a_modality_says_does_not_reopen_what_was_given_up(ledger: Ledger) -> None:
    send(ledger, "T1")
    decision = a_decision(RevisionState.GAVE_UP)
    ledger.studies.record(STUDY, ledger.studies.revision(STUDY), decision, now=at(1))
    begin(ledger, seconds=5)
    assert ledger.studies.due(at(1e6)) == ()


def test_a_decision_that_did_not_know_what_the_modality_says_is_not_written(
    ledger: Ledger,
) -> None:
    begin(ledger)
    send(ledger, "T1")
    seen = ledger.studies.evidence(STUDY, at(1))
    finish(ledger, "T1", seconds=1)
    decision = a_decision(RevisionState.WAITING, look_again_s=600)
    revision = ledger.studies.revision(STUDY)
    assert not ledger.studies.record(STUDY, revision, decision, now=at(2), seen=seen)
    assert ledger.studies.due(at(2)) == (STUDY,)


def test_a_modality_that_speaks_during_the_judgement_is_heard(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(ledger)
    send(ledger, *KINDS)
    evidence = ledger.studies.evidence

    def slow(*arguments: object, **named: object) -> object:
        found = evidence(*arguments, **named)  # type: ignore[arg-type]
        finish(ledger, *KINDS, seconds=2)
        return found

    queue, rules = Queue(), [a_rule()]
    monkeypatch.setattr(ledger.studies, "evidence", slow)
    assert review(STUDY, ledger, rules, queue, at(2)) is OVERTAKEN
    monkeypatch.undo()
    assert ledger.studies.due(at(2)) == (STUDY,)
    assert review(STUDY, ledger, rules, queue, at(2)).state is RevisionState.COMPLETE
    assert len(queue.orders) == 1


def test_the_last_listed_image_completes_the_study_without_quiet_time(ledger: Ledger) -> None:
    queue, rules = Queue(), [a_rule()]
    begin(ledger)
    send(ledger, "T1", "T1C", "FLAIR")
    send(ledger, "T2", numbers=[1, 2, 3, 4, 5])
    finish(ledger, *KINDS, seconds=1)
    waiting = review(STUDY, ledger, rules, queue, at(100))
    assert waiting.state is RevisionState.WAITING
    assert "1 of the 24 images that SCANNER1 listed are not here" in waiting.reason.text
    send(ledger, "T2", numbers=[6], seconds=100)
    assert review(STUDY, ledger, rules, queue, at(100.5)).state is RevisionState.COMPLETE


def test_late_images_that_nobody_listed_wait_for_quiet_again(ledger: Ledger) -> None:
    queue, rules = Queue(), [a_rule()]
    begin(ledger)
    send(ledger, *KINDS)
    finish(ledger, *KINDS)
    assert review(STUDY, ledger, rules, queue, at(1)).state is RevisionState.COMPLETE
    send(ledger, "T2", numbers=[7], seconds=2)
    assert review(STUDY, ledger, rules, queue, at(3)).state is RevisionState.WAITING
    assert review(STUDY, ledger, rules, queue, at(62)).state is RevisionState.COMPLETE
    assert [order.revision for order in queue.orders] == [1, 2]


def test_the_story_tells_what_the_modality_said(ledger: Ledger) -> None:
    begin(ledger)
    send(ledger, "T1", numbers=[1, 2])
    finish(ledger, "T1")
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.procedure_steps[0].calling_ae_title == AETitle("SCANNER1")
    lines = [line.split() for line in story_lines(story)]
    assert ["procedure", "steps", "(MPPS):", "1"] in lines
    assert ["SCANNER1", "COMPLETED", "6", "images", "listed", "4", "not", "here"] in lines
