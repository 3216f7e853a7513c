"""What the scrape reads: senders by the names that the site knows, all others as one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from node.domain.ids import AETitle
from node.operations.collect import MOST_SENDERS, OTHER_SENDERS, ledger_numbers, sender_numbers
from node.store.ledger import open_ledger
from node.store.senders import SenderRecord
from node.store.visits import SenderVisit
from tests.support.ledger_values import ManualClock, at

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_record(
    title: str, *, instances: int = 10, gap_s: float = 1.0, age_s: int = 0
) -> SenderRecord:
    return SenderRecord(
        calling_ae_title=AETitle(title),
        address="10.0.0.1",
        first_at=NOW - timedelta(days=1),
        last_at=NOW - timedelta(seconds=age_s),
        associations=1,
        aborted=0,
        rejected=0,
        instances=instances,
        duplicates=0,
        refused=0,
        stalled=0,
        size_bytes=1000 * instances,
        busy_seconds=2.0,
        longest_gap_s=gap_s,
        max_pdu=0,
        transfer_syntaxes={},
    )


def test_a_named_sender_keeps_its_name_and_strangers_share_one() -> None:
    records = [
        a_record("MR1"),
        a_record("X", gap_s=3, age_s=5),
        a_record("Y", instances=7, age_s=9),
    ]
    numbers = sender_numbers(records, frozenset({AETitle("MR1"), AETitle("CT1")}))
    assert set(numbers) == {"MR1", OTHER_SENDERS}
    assert numbers["MR1"].instances == 10
    others = numbers[OTHER_SENDERS]
    assert (others.instances, others.associations, others.size_bytes) == (17, 2, 17_000)
    assert (others.longest_gap_s, others.busy_seconds) == (3.0, 4.0)
    assert others.last_at == (NOW - timedelta(seconds=5)).timestamp()


@given(st.sets(st.text(min_size=1, max_size=16)), st.sets(st.text(min_size=1, max_size=16)))
def test_no_stranger_makes_a_name_and_no_instance_is_lost(
    called: set[str], named: set[str]
) -> None:
    numbers = sender_numbers([a_record(title) for title in called], frozenset(map(AETitle, named)))
    assert set(numbers) <= named | {OTHER_SENDERS}
    assert sum(n.instances for n in numbers.values()) == 10 * len(called)


def test_a_long_list_of_callers_gives_a_bounded_number_of_names(tmp_path: object) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    titles = [AETitle(f"MR{number:03d}") for number in range(MOST_SENDERS + 10)]
    ledger.senders.record(
        *(
            SenderVisit(calling_ae_title=t, address="", ended_at=at(0), outcome="released")
            for t in titles
        )
    )
    numbers = ledger_numbers(ledger, ManualClock(), senders=titles)()
    ledger.close()
    assert len(numbers.senders) == MOST_SENDERS + 1
    assert numbers.senders[OTHER_SENDERS].associations == 10
