"""What is known of each sender, on SQLite and PostgreSQL."""

from dataclasses import replace
from typing import Any

import pytest

from node.domain.ids import AETitle
from node.store.ledger import Ledger
from node.store.senders import (
    MOST_SENDERS,
    MOST_STRANGERS,
    MOST_SYNTAXES,
    OTHER_SYNTAXES,
    OTHERS,
    SenderRecord,
)
from node.store.visits import SenderVisit
from tests.support.dicom_objects import DEFLATED, EXPLICIT
from tests.support.ledger_values import SCANNER, at

VISIT = SenderVisit(
    calling_ae_title=SCANNER,
    address="10.0.0.1",
    ended_at=at(10),
    outcome="released",
    instances=100,
    duplicates=3,
    refused=2,
    stalled=1,
    size_bytes=20_000_000,
    seconds=4.0,
    longest_gap_s=0.5,
    max_pdu=16384,
    transfer_syntaxes={EXPLICIT: 100},
)


def a_rejection(**changes: Any) -> SenderVisit:
    made = SenderVisit(
        calling_ae_title=SCANNER, address="10.0.0.66", ended_at=at(20), outcome="rejected"
    )
    return replace(made, **changes)


def only(ledger: Ledger) -> SenderRecord:
    (found,) = ledger.senders.all()
    return found


def test_nobody_is_known_at_first(ledger: Ledger) -> None:
    assert ledger.senders.all() == ()


def test_one_visit_is_told_as_it_was(ledger: Ledger) -> None:
    ledger.senders.record(VISIT)
    assert only(ledger) == SenderRecord(
        calling_ae_title=SCANNER,
        address="10.0.0.1",
        first_at=at(10),
        last_at=at(10),
        associations=1,
        aborted=0,
        rejected=0,
        instances=100,
        duplicates=3,
        refused=2,
        stalled=1,
        size_bytes=20_000_000,
        busy_seconds=4.0,
        longest_gap_s=0.5,
        max_pdu=16384,
        transfer_syntaxes={EXPLICIT: 100},
    )
    assert only(ledger).instances_per_second == 25


def test_visits_add_up(ledger: Ledger) -> None:
    second = replace(
        VISIT,
        ended_at=at(30),
        address="10.0.0.2",
        outcome="aborted",
        instances=50,
        longest_gap_s=0.25,
        max_pdu=0,
        transfer_syntaxes={EXPLICIT: 20, DEFLATED: 30},
    )
    ledger.senders.record(VISIT)
    ledger.senders.record(second)
    found = only(ledger)
    assert (found.associations, found.aborted, found.rejected) == (2, 1, 0)
    assert (found.instances, found.duplicates, found.refused, found.stalled) == (150, 6, 4, 2)
    assert (found.size_bytes, found.busy_seconds) == (40_000_000, 8.0)
    assert (found.first_at, found.last_at, found.address) == (at(10), at(30), "10.0.0.2")
    assert (found.longest_gap_s, found.max_pdu) == (0.5, 0)
    assert found.transfer_syntaxes == {EXPLICIT: 120, DEFLATED: 30}


def test_many_visits_at_once_are_as_good_as_one_by_one(ledger: Ledger) -> None:
    other = replace(VISIT, calling_ae_title=AETitle("CT1"), ended_at=at(40))
    ledger.senders.record(VISIT, other, VISIT)
    assert [(r.calling_ae_title, r.associations) for r in ledger.senders.all()] == [
        ("CT1", 1),
        (SCANNER, 2),
    ]


def test_a_visit_that_is_recorded_late_does_not_pass_for_the_last(ledger: Ledger) -> None:
    ledger.senders.record(VISIT)
    ledger.senders.record(replace(VISIT, ended_at=at(5), address="10.0.0.9", max_pdu=1))
    found = only(ledger)
    assert (found.first_at, found.last_at) == (at(5), at(10))
    assert (found.address, found.max_pdu) == ("10.0.0.1", 16384)


def test_an_association_in_which_nothing_was_sent_slows_no_rate(ledger: Ledger) -> None:
    ledger.senders.record(
        VISIT,
        SenderVisit(
            calling_ae_title=SCANNER, address="", ended_at=at(99), outcome="released", seconds=60
        ),
    )
    assert only(ledger).instances_per_second == 25


def test_a_sender_that_only_asked_has_no_rate(ledger: Ledger) -> None:
    ledger.senders.record(a_rejection())
    found = only(ledger)
    assert found.instances_per_second is None
    assert (found.associations, found.rejected) == (0, 1)


def test_a_rejection_leaves_what_is_known_of_the_pdu(ledger: Ledger) -> None:
    ledger.senders.record(VISIT, a_rejection())
    assert (only(ledger).max_pdu, only(ledger).address) == (16384, "10.0.0.66")


def test_strangers_with_ever_new_names_fill_no_table(ledger: Ledger) -> None:
    names = [AETitle(f"STRANGER{number}") for number in range(MOST_STRANGERS + 10)]
    for name in names:
        ledger.senders.record(a_rejection(calling_ae_title=name))
    ledger.senders.record(a_rejection(calling_ae_title=names[0]))
    rows = {r.calling_ae_title: r for r in ledger.senders.all()}
    assert len(rows) == MOST_STRANGERS + 1
    assert rows[OTHERS].rejected == 10
    assert rows[names[0]].rejected == 2


def test_strangers_take_no_place_from_those_who_are_let_in(ledger: Ledger) -> None:
    for number in range(MOST_STRANGERS + 1):
        ledger.senders.record(a_rejection(calling_ae_title=AETitle(f"STRANGER{number}")))
    ledger.senders.record(VISIT)
    assert SCANNER in {r.calling_ae_title for r in ledger.senders.all()}


def test_also_those_who_are_let_in_are_bounded(ledger: Ledger) -> None:
    visits = [
        replace(VISIT, calling_ae_title=AETitle(f"MR{number}"))
        for number in range(MOST_SENDERS + 3)
    ]
    ledger.senders.record(*visits)
    rows = {r.calling_ae_title: r for r in ledger.senders.all()}
    assert len(rows) == MOST_SENDERS + 1
    assert rows[OTHERS].instances == 300


def test_a_sender_of_ever_new_syntaxes_fills_no_row(ledger: Ledger) -> None:
    ledger.senders.record(
        replace(VISIT, transfer_syntaxes={f"1.2.{n}": 1 for n in range(MOST_SYNTAXES + 5)})
    )
    found = only(ledger).transfer_syntaxes
    assert len(found) == MOST_SYNTAXES + 1
    assert found[OTHER_SYNTAXES] == 5


def test_the_largest_pdu_that_a_sender_can_claim_fits(ledger: Ledger) -> None:
    ledger.senders.record(replace(VISIT, max_pdu=2**32 - 1))
    assert only(ledger).max_pdu == 2**31 - 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(" MR1 ", "MR1"), ("A\x1b[31mB\n", "A?[31mB?"), ("X" * 40, "X" * 16), ("Ä\0", "??"), ("", "")],
)
def test_a_title_is_made_fit_for_a_terminal(ledger: Ledger, sent: str, kept: str) -> None:
    ledger.senders.record(replace(VISIT, calling_ae_title=AETitle(sent)))
    assert only(ledger).calling_ae_title == kept
