"""Metrics: closed labels, series that exist from the start, the ledger read at scrape time."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.domain.errors import LedgerUnavailable, all_codes
from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.telemetry import metrics
from node.telemetry.metrics import LedgerNumbers, SenderNumbers
from node.telemetry.outcomes import ASSOCIATION_OUTCOMES, RECEIVED_OUTCOMES


def samples() -> dict[tuple[str, str], float]:
    """Return every sample of a scrape by name and joined label values."""
    text = metrics.render()[0].decode()
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def added() -> Iterator[dict[tuple[str, str], float]]:
    """Fill a dict with what a block added to each sample."""
    before = samples()
    difference: dict[tuple[str, str], float] = {}
    yield difference
    for key, value in samples().items():
        if value != before.get(key, 0.0):
            difference[key] = value - before.get(key, 0.0)


NUMBERS = LedgerNumbers(
    studies=3,
    instances=500,
    size_bytes=10**9,
    revisions={RevisionState.WAITING: 2},
    analyses={AnalysisState.FAILED: 1},
    deliveries={DeliveryState.RETRY: 4},
    refusals={"not-dicom": 5},
    oldest_waiting_s=12.5,
    executors=1,
    senders={
        "MR1": SenderNumbers(
            associations=4,
            aborted=1,
            rejected=2,
            instances=600,
            duplicates=5,
            refused=6,
            stalled=7,
            size_bytes=10**8,
            busy_seconds=9.5,
            longest_gap_s=1.5,
            last_at=1.8e9,
        )
    },
)


def test_an_instance_counts_once_with_its_bytes() -> None:
    with added() as difference:
        metrics.instance_received("stored", 1000)
        metrics.instance_received("refused", 24)
    assert difference == {
        ("segnode_instances_received_total", "stored"): 1,
        ("segnode_instances_received_total", "refused"): 1,
        ("segnode_received_bytes_total", ""): 1024,
    }


def test_every_verb_moves_its_metric() -> None:
    with added() as difference:
        metrics.association("released")
        metrics.associations_open(4)
        metrics.refused("slice-gap")
        metrics.store_seconds(0.004)
        metrics.study_judged(RevisionState.GAVE_UP)
    assert difference["segnode_associations_total", "released"] == 1
    assert samples()["segnode_associations_open", ""] == 4
    assert difference["segnode_refused_total", "slice-gap"] == 1
    assert difference["segnode_store_seconds_count", ""] == 1
    assert difference["segnode_studies_judged_total", "GAVE_UP"] == 1
    metrics.associations_open(0)


def test_labels_from_outside_the_closed_sets_do_not_make_series() -> None:
    with added() as difference:
        metrics.refused("DOE^JOHN")
    assert difference["segnode_refused_total", "segnode-error"] == 1
    assert b"DOE" not in metrics.render()[0]


def test_every_series_exists_before_its_first_event() -> None:
    present = samples()
    for code in all_codes():
        assert ("segnode_refused_total", code) in present
    for outcome in RECEIVED_OUTCOMES:
        assert ("segnode_instances_received_total", outcome) in present
    for ending in ASSOCIATION_OUTCOMES:
        assert ("segnode_associations_total", ending) in present


def test_every_name_begins_with_segnode_and_has_a_help() -> None:
    content, media_type = metrics.render()
    assert media_type.startswith("text/plain")
    for line in content.decode().splitlines():
        assert line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("segnode_")
    for family in text_string_to_metric_families(content.decode()):
        assert family.documentation.endswith(".")


def test_the_ledger_is_read_at_scrape_time() -> None:
    collector = metrics.observe_ledger(lambda: NUMBERS)
    try:
        present = samples()
    finally:
        metrics.forget_ledger(collector)
    assert present["segnode_ledger_up", ""] == 1
    assert present["segnode_ledger_instances", ""] == 500
    assert present["segnode_ledger_revisions", "WAITING"] == 2
    assert present["segnode_ledger_deliveries", "RETRY"] == 4
    assert present["segnode_ledger_refusals", "not-dicom"] == 5
    assert present["segnode_oldest_waiting_seconds", ""] == 12.5
    assert ("segnode_ledger_up", "") not in samples()


def test_each_sender_has_its_series() -> None:
    collector = metrics.observe_ledger(lambda: NUMBERS)
    try:
        present = samples()
    finally:
        metrics.forget_ledger(collector)
    of_sender = {name: value for (name, sender), value in present.items() if sender == "MR1"}
    assert of_sender == {
        "segnode_sender_associations_total": 4,
        "segnode_sender_aborted_total": 1,
        "segnode_sender_rejected_total": 2,
        "segnode_sender_instances_total": 600,
        "segnode_sender_duplicates_total": 5,
        "segnode_sender_refused_total": 6,
        "segnode_sender_stalled_total": 7,
        "segnode_sender_bytes_total": 10**8,
        "segnode_sender_busy_seconds_total": 9.5,
        "segnode_sender_longest_gap_seconds": 1.5,
        "segnode_sender_last_seconds": 1.8e9,
    }


def test_a_ledger_that_does_not_answer_leaves_the_other_metrics() -> None:
    def broken() -> LedgerNumbers:
        raise LedgerUnavailable("the database is locked")

    collector = metrics.observe_ledger(broken)
    try:
        present = samples()
    finally:
        metrics.forget_ledger(collector)
    assert present["segnode_ledger_up", ""] == 0
    assert ("segnode_ledger_instances", "") not in present
    assert ("segnode_received_bytes_total", "") in present


def test_registering_asks_the_ledger_nothing() -> None:
    def never() -> LedgerNumbers:
        pytest.fail("the ledger was asked")

    metrics.forget_ledger(metrics.observe_ledger(never))


def test_the_build_is_named() -> None:
    assert any(name == "segnode_build_info" for name, _ in samples())
