"""The clerk: what is reported reaches the ledger, also what another process left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.domain.clock import SystemClock
from node.listener import clerk as clerk_module
from node.listener.clerk import MOST_NOTES, Clerk
from node.listener.desk import News
from node.store.journal import Journal
from node.store.ledger import Ledger, open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.ledger_values import an_incoming
from tests.support.peers import wait_until


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    (tmp_path / "spool").mkdir()
    return Spool(tmp_path / "spool")


@pytest.fixture
def settled() -> list[int]:
    return []


@pytest.fixture
def clerk(
    spool: Spool, ledger: Ledger, settled: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clerk]:
    monkeypatch.setattr(clerk_module, "LOOK_S", 0.05)
    clock = SystemClock()
    made = Clerk(Settler(spool, ledger, clock), ledger, clock, on_settled=lambda: settled.append(1))
    made.start()
    yield made
    made.stop()


def committed(journal: Journal, number: int) -> Path:
    incoming = an_incoming(number)
    entry = journal.begin(incoming.arriving)
    entry.write(incoming.data_set)
    return entry.commit().path


def instances(ledger: Ledger) -> int:
    return ledger.health.counts().instances


def test_a_burst_is_settled_in_few_batches(
    clerk: Clerk, spool: Spool, ledger: Ledger, settled: list[int]
) -> None:
    journal = Journal(spool)
    for number in range(600):
        clerk.put(committed(journal, number))
    wait_until(lambda: instances(ledger) == 600, "all are in the ledger", 60)
    assert 3 <= len(settled) < 60
    assert clerk.unsettled == 0
    journal.close()


def test_a_journal_whose_process_ended_later_is_found(
    clerk: Clerk, spool: Spool, ledger: Ledger
) -> None:
    journal = Journal(spool)
    committed(journal, 1)
    assert instances(ledger) == 0
    journal.close()  # and nobody says so
    wait_until(lambda: instances(ledger) == 1, "it is found", 20)


def test_refusals_and_what_came_home_are_written_down(clerk: Clerk, ledger: Ledger) -> None:
    refused = News(
        outcome="refused",
        calling_ae_title="MR1",
        sop_instance_uid="1.2.3",
        size_bytes=10,
        code="not-dicom",
        text="The bytes are no data set.",
    )
    clerk.note(refused)
    clerk.note(refused)
    wait_until(lambda: ledger.health.counts().refusals.get("not-dicom") == 2, "both count", 20)


def test_notes_do_not_pile_up_without_end(spool: Spool, ledger: Ledger) -> None:
    clock = SystemClock()
    waiting = Clerk(Settler(spool, ledger, clock), ledger, clock, on_settled=lambda: None)
    for _ in range(MOST_NOTES + 10):
        waiting.note(
            News(outcome="ours", calling_ae_title="A", sop_instance_uid="1.2", size_bytes=1)
        )
    waiting.start()
    waiting.stop()
    assert waiting.is_idle
