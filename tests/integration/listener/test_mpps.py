"""A modality tells of its work (MPPS), on real sockets, down to the ledger and the judgement."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import association as stock

from node.domain.errors import LedgerUnavailable
from node.domain.ids import SeriesInstanceUID
from node.domain.states import RevisionState, StepState
from node.listener import requests
from node.listener.mpps import MPPS
from node.listener.registrar import Registrar
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool
from tests.support.dicom_objects import dataset, sequence
from tests.support.ledger_values import STUDY, ManualClock, a_decision, a_header, at, receive
from tests.support.services import Front, a_new_step, a_registrar, front, modality, series_item

STEP = "1.2.826.0.1.3680043.10.1338.77"
SERIES = [f"{STUDY}.{number}" for number in (1, 2)]


def images_of(series: str, count: int = 6) -> list[str]:
    return [f"{series}.{number}" for number in range(1, count + 1)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def registrar(ledger: Ledger, tmp_path: Path) -> Registrar:
    return a_registrar(ledger, Spool(tmp_path), ManualClock(at(1)))


@pytest.fixture
def node(registrar: Registrar) -> Iterator[Front]:
    with front(registrar.answer) as opened:
        yield opened


def create(port: int, attributes: Dataset | None, step: str | None = STEP) -> Any:
    """Return status and attributes that N-CREATE was answered with."""
    with modality(port, MPPS) as association:
        return association.send_n_create(attributes, MPPS, step)


def change(port: int, attributes: Dataset, step: str = STEP) -> Dataset:
    """Return the status that N-SET was answered with."""
    with modality(port, MPPS) as association:
        status: Dataset = association.send_n_set(attributes, MPPS, step)[0]
        return status


def completed(*series: Dataset) -> Dataset:
    return dataset(
        PerformedProcedureStepStatus="COMPLETED", PerformedSeriesSequence=sequence(*series)
    )


def steps(ledger: Ledger) -> list[tuple[str, StepState, int, int]]:
    evidence = ledger.studies.evidence(STUDY, at(2))
    return [(s.calling_ae_title, s.state, s.images, s.missing) for s in evidence.steps]


def test_a_step_is_kept_from_its_beginning_to_its_end(node: Front, ledger: Ledger) -> None:
    receive(ledger, a_header(1, series=SeriesInstanceUID(SERIES[0])))
    assert create(node.port, a_new_step(STUDY))[0].Status == 0x0000
    assert steps(ledger) == [("MR1", StepState.IN_PROGRESS, 0, 0)]
    listed = completed(*(series_item(series, images_of(series)) for series in SERIES))
    assert change(node.port, listed).Status == 0x0000
    assert steps(ledger) == [("MR1", StepState.COMPLETED, 12, 11)]


def test_the_study_is_looked_at_when_the_modality_says_something(
    node: Front, ledger: Ledger
) -> None:
    receive(ledger, a_header(1))
    waiting = a_decision(RevisionState.WAITING, look_again_s=60)
    assert ledger.studies.record(STUDY, ledger.studies.revision(STUDY), waiting, now=at(1))
    assert ledger.studies.due(at(2)) == ()
    create(node.port, a_new_step(STUDY))
    assert ledger.studies.due(at(2)) == (STUDY,)


def test_a_step_without_a_name_gets_one(node: Front, ledger: Ledger) -> None:
    receive(ledger, a_header(1))
    assert create(node.port, a_new_step(STUDY), step=None)[0].Status == 0x0000
    with modality(node.port, MPPS) as association:
        ended, _ = association.send_n_set(
            dataset(PerformedProcedureStepStatus="DISCONTINUED"), MPPS, _named(ledger)
        )
    assert ended.Status == 0x0000
    assert steps(ledger) == [("MR1", StepState.DISCONTINUED, 0, 0)]


def _named(ledger: Ledger) -> str:
    (step,) = ledger.studies.evidence(STUDY, at(2)).steps
    assert step.sop_instance_uid.startswith("2.25.")
    return step.sop_instance_uid


def test_what_is_not_said_again_stays_as_it_was_said(node: Front, ledger: Ledger) -> None:
    receive(ledger, a_header(1))
    create(node.port, a_new_step(STUDY))
    item = series_item(SERIES[0], images_of(SERIES[0]))
    change(node.port, dataset(PerformedSeriesSequence=sequence(item)))
    change(node.port, dataset(PerformedProcedureStepStatus="COMPLETED"))
    assert steps(ledger) == [("MR1", StepState.COMPLETED, 6, 5)]


def test_a_step_is_created_once(node: Front) -> None:
    assert create(node.port, a_new_step(STUDY))[0].Status == 0x0000
    assert create(node.port, a_new_step(STUDY))[0].Status == 0x0111


def test_a_step_that_nobody_created_cannot_be_changed(node: Front) -> None:
    assert change(node.port, completed()).Status == 0x0112


@pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
def test_a_step_that_ended_stays_as_it_is(node: Front, ledger: Ledger, end: str) -> None:
    receive(ledger, a_header(1))
    create(node.port, a_new_step(STUDY))
    change(node.port, dataset(PerformedProcedureStepStatus=end))
    answer = change(node.port, dataset(PerformedProcedureStepStatus="IN PROGRESS"))
    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA506)
    assert steps(ledger) == [("MR1", StepState(end), 0, 0)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"ScheduledStepAttributesSequence": sequence()}, 0x0120),
        ({"ScheduledStepAttributesSequence": sequence(dataset())}, 0x0121),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "BEGUN"}, 0x0106),
        ({"PerformedProcedureStepStatus": ""}, 0x0106),
        ({"PerformedSeriesSequence": sequence(dataset(SeriesDescription="x"))}, 0x0121),
    ],
)
def test_a_step_without_what_it_must_have_is_refused(
    node: Front, changes: dict[str, Any], status: int
) -> None:
    answer, _ = create(node.port, a_new_step(STUDY, **changes))
    assert answer.Status == status
    assert 0 < len(answer.ErrorComment) <= 64


def test_the_node_goes_on_after_refusals_and_says_nothing_of_the_patient(
    node: Front, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        create(node.port, a_new_step(STUDY, PerformedProcedureStepStatus="ZZYZX MARKED"))
        assert create(node.port, a_new_step(STUDY))[0].Status == 0x0000
    assert "request refused" in caplog.text
    everything = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "zzyzx" not in everything.lower()
    assert STUDY not in everything


def test_a_study_of_twelve_thousand_images_is_listed_in_one_message(
    node: Front, ledger: Ledger
) -> None:
    receive(ledger, a_header(1))
    create(node.port, a_new_step(STUDY))
    listed = completed(
        *(series_item(f"{STUDY}.{n}", images_of(f"{STUDY}.{n}", 400)) for n in range(1, 31))
    )
    assert change(node.port, listed).Status == 0x0000
    assert steps(ledger) == [("MR1", StepState.COMPLETED, 12_000, 11_999)]


def test_a_list_without_end_is_refused_unread(node: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    create(node.port, a_new_step(STUDY))
    monkeypatch.setattr(requests, "MOST_ITEMS", 10)
    listed = completed(series_item(SERIES[0], images_of(SERIES[0], 11)))
    assert change(node.port, listed).Status == 0x0213


def test_while_the_ledger_is_away_the_modality_is_asked_to_try_again(
    node: Front, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object, **_named: object) -> bool:
        raise LedgerUnavailable("The database does not answer: locked.")

    monkeypatch.setattr(ledger.procedure_steps, "create", away)
    assert create(node.port, a_new_step(STUDY))[0].Status == 0x0213


def test_a_defect_is_answered_and_its_words_stay_out_of_the_log(
    node: Front, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object, **_named: object) -> bool:
        raise KeyError("Zzyzx^Marked")

    monkeypatch.setattr(ledger.procedure_steps, "create", broken)
    assert create(node.port, a_new_step(STUDY))[0].Status == 0x0110
    assert "Zzyzx" not in caplog.text


def test_when_nobody_answers_behind_the_receiver_the_modality_is_asked_to_try_again() -> None:
    def gone(_body: dict[str, Any]) -> dict[str, Any]:
        raise ConnectionError("nobody is there")

    with front(gone) as node:
        assert create(node.port, a_new_step(STUDY))[0].Status == 0x0213


@pytest.mark.parametrize(
    "garbage",
    [b"\0", b"\xff" * 1000, b"Scan notes: no data set" * 50, b"\x08\0\x18\0UI\xff\xff"],
)
def test_bytes_that_are_no_data_set_are_refused(
    node: Front, garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(node.port, a_new_step(STUDY))
    monkeypatch.setattr(stock, "encode", lambda *_: garbage)
    assert change(node.port, completed()).Status in (0x0106, 0x0120)
