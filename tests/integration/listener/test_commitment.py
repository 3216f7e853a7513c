"""A modality asks for storage commitment and is told, on its association or by calling back."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from node.domain.errors import LedgerUnavailable
from node.domain.ids import AETitle
from node.listener import requests
from node.listener.callback import CallbackPlan
from node.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Patience
from node.listener.requests import Body
from node.net.scu import Peer
from node.store.admit import Admitter
from node.store.commitments import CommitmentState
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool
from tests.support.dicom_objects import MR, dataset, sequence
from tests.support.ledger_values import SERIES, ManualClock, an_incoming, at
from tests.support.peers import free_port, wait_until
from tests.support.services import (
    MODALITY,
    Reports,
    a_registrar,
    a_request,
    front,
    modality,
    modality_that_is_called,
)

TRANSACTION = "1.2.826.0.1.3680043.10.1338.88"
NO_SUCH, CONFLICT = 0x0112, 0x0119
CT = "1.2.840.10008.5.1.4.1.1.2"


def image(number: int, sop_class: str = MR) -> tuple[str, str]:
    return (sop_class, f"{SERIES}.{number}")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "spool").mkdir()
    return Spool(tmp_path / "spool")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at(0))


@pytest.fixture
def stored(ledger: Ledger, spool: Spool, clock: ManualClock) -> list[tuple[str, str]]:
    """Store three images and return their references."""
    admitter = Admitter(spool, ledger, clock)
    for number in (1, 2, 3):
        admitter.admit(an_incoming(number))
    return [image(number) for number in (1, 2, 3)]


def ask(
    port: int, request: Dataset | None, *, action: int = 1, instance: str = PUSH_MODEL_INSTANCE
) -> tuple[Dataset, Reports]:
    """Ask for commitment and wait for the result on the same association, if it is to come."""
    reports = Reports()
    with modality(port, PUSH_MODEL, reports) as association:
        status, _ = association.send_n_action(request, action, PUSH_MODEL, instance)
        if status.Status == 0x0000:
            assert reports.arrived.wait(20)
    return status, reports


def told(reports: Reports) -> tuple[int, str, list[str], dict[str, int]]:
    """Return event type, transaction, committed UIDs and failed UIDs with their reasons."""
    ((event_type, information),) = reports.came
    committed = [i.ReferencedSOPInstanceUID for i in information.get("ReferencedSOPSequence", [])]
    failed = {
        i.ReferencedSOPInstanceUID: i.FailureReason
        for i in information.get("FailedSOPSequence", [])
    }
    return event_type, information.TransactionUID, committed, failed


def state_of(ledger: Ledger) -> CommitmentState | None:
    return ledger.commitments.state_of(TRANSACTION, MODALITY)


def wait_for_state(ledger: Ledger, state: CommitmentState) -> None:
    wait_until(lambda: state_of(ledger) is state, f"the request is {state}", 20)


def test_what_is_in_ledger_and_spool_is_committed(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    with front(a_registrar(ledger, spool, clock).answer) as node:
        status, reports = ask(node.port, a_request(TRANSACTION, *stored))
    assert status.Status == 0x0000
    assert told(reports) == (1, TRANSACTION, [sop for _, sop in stored], {})
    assert state_of(ledger) is CommitmentState.ANSWERED


def test_what_is_not_here_fails_with_its_reason(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    with front(a_registrar(ledger, spool, clock).answer) as node:
        _, reports = ask(node.port, a_request(TRANSACTION, stored[0], image(9), image(2, CT)))
    assert told(reports) == (
        2,
        TRANSACTION,
        [stored[0][1]],
        {image(9)[1]: NO_SUCH, image(2)[1]: CONFLICT},
    )


def test_a_file_that_the_disk_lost_or_cut_short_is_not_committed(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    lost, cut = sorted(spool.root.glob("objects/**/*.dcm"))[:2]
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    with front(a_registrar(ledger, spool, clock).answer) as node:
        _, reports = ask(node.port, a_request(TRANSACTION, *stored))
    event_type, _, committed, failed = told(reports)
    assert (event_type, len(committed)) == (2, 1)
    assert sorted(failed.values()) == [NO_SUCH, NO_SUCH]


def test_what_is_on_its_way_to_the_ledger_is_waited_for(
    ledger: Ledger, spool: Spool, clock: ManualClock
) -> None:
    admitter, waits = Admitter(spool, ledger, clock), [True, True, True]

    def settling() -> bool:
        if waits:
            waits.pop()
            if not waits:
                admitter.admit(an_incoming(1))
            return True
        return False

    with front(a_registrar(ledger, spool, clock, settling=settling).answer) as node:
        _, reports = ask(node.port, a_request(TRANSACTION, image(1)))
    assert told(reports)[0] == 1


def test_what_nobody_reported_yet_gets_a_second_look(
    ledger: Ledger, spool: Spool, clock: ManualClock
) -> None:
    registrar, admitter = a_registrar(ledger, spool, clock), Admitter(spool, ledger, clock)
    looks: list[Body] = []

    def answer(message: Body) -> Body:
        reply = registrar.answer(message)
        if message["kind"] == "commitment-look":
            looks.append(message)
            if len(looks) == 1:
                admitter.admit(an_incoming(1))
        return reply

    with front(answer) as node:
        _, reports = ask(node.port, a_request(TRANSACTION, image(1)))
    assert told(reports)[0] == 1
    assert len(looks) == 2


def test_thousands_of_objects_are_asked_for_and_told_at_once(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    missing = [image(number) for number in range(4, 5001)]
    messages: list[int] = []
    registrar = a_registrar(ledger, spool, clock)

    def answer(message: Body) -> Body:
        reply = registrar.answer(message)
        messages.extend(len(str(side)) for side in (message, reply))
        return reply

    with front(answer) as node:
        _, reports = ask(node.port, a_request(TRANSACTION, *stored, *missing))
    event_type, _, committed, failed = told(reports)
    assert (event_type, len(committed), len(failed)) == (2, 3, 4997)
    assert max(messages) < 100_000  # a datagram between processes holds 128 KiB


@pytest.mark.parametrize(
    ("request_", "others", "status"),
    [
        (a_request(TRANSACTION, image(1)), {"action": 2}, 0x0123),
        (a_request(TRANSACTION, image(1)), {"instance": "1.2.3"}, 0x0112),
        (a_request(TRANSACTION), {}, 0x0115),
        (a_request("", image(1)), {}, 0x0115),
        (dataset(TransactionUID=TRANSACTION), {}, 0x0115),
        (
            dataset(TransactionUID=TRANSACTION, ReferencedSOPSequence=sequence(dataset())),
            {},
            0x0115,
        ),
        (None, {}, 0x0115),
    ],
)
def test_a_request_that_is_none_is_refused_and_not_kept(
    ledger: Ledger,
    spool: Spool,
    clock: ManualClock,
    request_: Dataset | None,
    others: dict[str, Any],
    status: int,
) -> None:
    with front(a_registrar(ledger, spool, clock).answer) as node:
        answer, reports = ask(node.port, request_, **others)
    assert answer.Status == status
    assert answer.ErrorComment
    assert reports.came == []
    assert state_of(ledger) is None


def test_a_request_without_end_is_refused_unread(
    ledger: Ledger, spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_ITEMS", 10)
    with front(a_registrar(ledger, spool, clock).answer) as node:
        answer, _ = ask(node.port, a_request(TRANSACTION, *map(image, range(1, 12))))
    assert answer.Status == 0x0213


def test_while_the_ledger_is_away_nothing_is_promised(
    ledger: Ledger, spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object, **_named: object) -> None:
        raise LedgerUnavailable("The database does not answer: locked.")

    monkeypatch.setattr(ledger.commitments, "open", away)
    with front(a_registrar(ledger, spool, clock).answer) as node:
        assert ask(node.port, a_request(TRANSACTION, image(1)))[0].Status == 0x0213


def test_a_modality_that_has_left_is_called_back(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    reports, stop = Reports(), threading.Event()
    with modality_that_is_called(reports) as peer:
        registrar = a_registrar(
            ledger, spool, clock, peers={MODALITY: peer}, settling=lambda: not reports.came
        )
        caller = threading.Thread(target=registrar.run, args=(stop,))
        caller.start()
        try:
            with front(registrar.answer) as node, modality(node.port, PUSH_MODEL) as association:
                request = a_request(TRANSACTION, *stored)
                association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
                association.abort()
            assert reports.arrived.wait(20)
            wait_for_state(ledger, CommitmentState.ANSWERED)
        finally:
            stop.set()
            registrar.wake()
            caller.join(20)
    assert not caller.is_alive()
    assert told(reports) == (1, TRANSACTION, [sop for _, sop in stored], {})


def test_a_modality_that_refuses_the_result_on_its_association_is_called_back(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    later = Reports()
    with modality_that_is_called(later) as peer:
        registrar = a_registrar(ledger, spool, clock, peers={MODALITY: peer})
        with (
            front(registrar.answer) as node,
            modality(node.port, PUSH_MODEL, refusing := Reports(status=0x0110)) as association,
        ):
            request = a_request(TRANSACTION, *stored)
            association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            assert refusing.arrived.wait(20)
        assert state_of(ledger) is CommitmentState.ASKED
        assert registrar.answer_due() == 1
    assert told(later)[0] == 1
    assert state_of(ledger) is CommitmentState.ANSWERED


def opened(ledger: Ledger, spool: Spool, clock: ManualClock, port: int, **others: Any) -> Any:
    """Return a registrar that owes one answer, as after a crash between request and answer."""
    peer = Peer(
        ae_title=MODALITY,
        host="127.0.0.1",
        port=port,
        calling_ae_title=AETitle("SEGNODE"),
        timeout_s=5,
    )
    registrar = a_registrar(ledger, spool, clock, peers={MODALITY: peer}, **others)
    message = {
        "kind": "commitment-asked",
        "calling": MODALITY,
        "address": "127.0.0.1",
        "transaction": TRANSACTION,
        "objects": [list(image(1))],
    }
    assert registrar.answer(message) == {"status": 0}
    return registrar


def test_an_answer_that_is_owed_after_a_crash_is_told_when_the_grace_is_over(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    reports = Reports()
    with modality_that_is_called(reports) as peer:
        registrar = opened(ledger, spool, clock, peer.port)
        assert registrar.answer_due() == 0
        clock.advance(CallbackPlan().grace_s)
        assert registrar.answer_due() == 1
    assert told(reports) == (1, TRANSACTION, [image(1)[1]], {})


def test_a_modality_that_cannot_be_reached_is_tried_again_and_then_given_up(
    ledger: Ledger,
    spool: Spool,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan = CallbackPlan(grace_s=0, first_s=10, factor=3, longest_s=60, attempts=4)
    registrar = opened(ledger, spool, clock, free_port(), plan=plan)
    pauses = []
    while state_of(ledger) is CommitmentState.ASKED:
        assert registrar.answer_due() == 1
        pause = ledger.commitments.seconds_to_next(clock.now())
        if pause is not None:
            pauses.append(pause)
            clock.advance(pause)
    assert pauses == [10, 30, 60]
    assert state_of(ledger) is CommitmentState.GIVEN_UP
    with caplog.at_level(logging.WARNING):
        assert registrar.answer_due() == 0
    assert caplog.text.count("could not be told") == 1
    assert SERIES not in caplog.text


def test_a_modality_without_a_known_address_is_given_up_at_once(
    ledger: Ledger, spool: Spool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    registrar = opened(ledger, spool, clock, 1)
    registrar = a_registrar(ledger, spool, clock)
    told_nothing = {
        "kind": "commitment-told",
        "calling": MODALITY,
        "transaction": TRANSACTION,
        "taken": False,
    }
    assert registrar.answer(told_nothing) == {"status": 0}
    assert registrar.answer_due() == 1
    assert state_of(ledger) is CommitmentState.GIVEN_UP
    assert "listen.peers" in caplog.text


def test_a_transaction_that_is_used_again_means_its_last_request(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    with front(a_registrar(ledger, spool, clock).answer) as node:
        ask(node.port, a_request(TRANSACTION, image(9)))
        _, reports = ask(node.port, a_request(TRANSACTION, *stored))
    assert told(reports)[0] == 1


def test_when_it_stays_uncertain_the_association_goes_on_and_the_answer_comes_later(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    later, is_settling = Reports(), True
    with modality_that_is_called(later) as peer:
        registrar = a_registrar(
            ledger, spool, clock, peers={MODALITY: peer}, settling=lambda: is_settling
        )
        hasty = Patience(longest_s=0.0, look_s=0.01)
        with (
            front(registrar.answer, patience=hasty) as node,
            modality(node.port, PUSH_MODEL, Reports()) as association,
        ):
            request = a_request(TRANSACTION, image(9))
            for _ in range(2):  # the second is answered, too
                answer, _ = association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
                assert answer.Status == 0x0000
        assert registrar.answer_due() == 1
        assert later.came == []
        is_settling = False
        clock.advance(CallbackPlan().settling_s)
        assert registrar.answer_due() == 1
    assert told(later)[0] == 2


def test_closed_requests_are_forgotten_after_a_while(
    ledger: Ledger, spool: Spool, clock: ManualClock, stored: list[tuple[str, str]]
) -> None:
    with front(a_registrar(ledger, spool, clock).answer) as node:
        ask(node.port, a_request(TRANSACTION, *stored))
    assert ledger.commitments.forget(at(0)) == 0
    assert ledger.commitments.forget(at(1)) == 1
    assert state_of(ledger) is None
