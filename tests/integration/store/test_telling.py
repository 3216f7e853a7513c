"""What people and probes read, on SQLite and PostgreSQL."""

import pytest

from node.domain.errors import ConfigurationInvalid, LedgerUnavailable
from node.domain.ids import RevisionNumber, SeriesInstanceUID, StudyInstanceUID
from node.domain.states import AnalysisState, RevisionState
from node.store.database import migrate, open_engine
from node.store.ledger import Ledger, open_ledger
from tests.support.ledger_values import (
    STUDY,
    a_decision,
    a_delivery,
    a_header,
    at,
    complete,
    receive,
    receive_series,
)

OTHER = StudyInstanceUID("1.2.3.4")


def test_the_newest_study_stands_first_in_the_list(ledger: Ledger) -> None:
    receive_series(ledger, slices=6, seconds=10)
    complete(ledger)
    other = a_header(1, study=OTHER, series=SeriesInstanceUID("1.2.3.4.1"))
    receive(ledger, other, seconds=20)
    first, second = ledger.stories.list_studies(10)
    assert (first.study_instance_uid, first.state, first.reason, first.analysis) == (
        OTHER,
        RevisionState.RECEIVING,
        None,
        None,
    )
    assert (second.series, second.instances, second.last_received_at) == (1, 6, at(10))
    assert second.reason is not None
    assert second.reason.text == "judged COMPLETE"
    assert second.analysis is AnalysisState.QUEUED
    assert ledger.stories.list_studies(1) == (first,)


def test_a_story_holds_all_that_happened(ledger: Ledger) -> None:
    receive_series(ledger, slices=6)
    order = complete(ledger)
    ledger.analyses.begin_step(order.analysis_id, "assemble", at(70))
    ledger.deliveries.plan([a_delivery(order)])
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert (story.instances, story.size_bytes) == (6, 6000)
    assert story.header.modality == "MR"
    assert [s.instances for s in story.series] == [6]
    (analysis,) = story.analyses
    assert analysis.record == ledger.analyses.get(order.analysis_id)
    assert [s.step for s in analysis.steps] == ["assemble"]
    assert analysis.deliveries == (a_delivery(order),)
    assert story.current.decision == a_decision(RevisionState.COMPLETE)


def test_there_is_no_story_of_an_unknown_study(ledger: Ledger) -> None:
    assert ledger.stories.story(STUDY) is None


def test_counts_name_every_state_also_those_without_entries(ledger: Ledger) -> None:
    receive_series(ledger, slices=6)
    complete(ledger)
    counts = ledger.health.counts()
    assert (counts.studies, counts.instances, counts.size_bytes) == (1, 6, 6000)
    assert set(counts.revisions) == set(RevisionState)
    assert counts.revisions[RevisionState.COMPLETE] == 1
    assert counts.analyses[AnalysisState.QUEUED] == 1
    assert counts.analyses[AnalysisState.FAILED] == 0


def test_counts_of_an_empty_ledger_are_zero(ledger: Ledger) -> None:
    counts = ledger.health.counts()
    assert (counts.studies, counts.instances, counts.size_bytes) == (0, 0, 0)
    assert counts.refusals == {}


def test_the_oldest_queued_analysis_tells_how_long_work_waits(ledger: Ledger) -> None:
    assert ledger.health.oldest_waiting_s(at(0)) is None
    receive_series(ledger)
    complete(ledger, seconds=61)
    assert ledger.health.oldest_waiting_s(at(100)) == pytest.approx(39)


def test_the_last_beat_of_an_executor_counts(ledger: Ledger) -> None:
    ledger.health.beat("a", at(1))
    ledger.health.beat("b", at(2))
    ledger.health.beat("a", at(3))
    assert [(e.executor_id, e.beat_at) for e in ledger.health.executors()] == [
        ("a", at(3)),
        ("b", at(2)),
    ]


def test_a_ledger_answers_a_ping(ledger: Ledger) -> None:
    ledger.health.ping()


def test_opening_a_ledger_again_migrates_nothing_and_keeps_all(
    ledger: Ledger, ledger_url: str
) -> None:
    receive(ledger, a_header())
    again = open_ledger(ledger_url)
    assert again.health.counts().instances == 1
    again.close()


def test_a_database_of_a_newer_segnode_is_left_alone(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO segnode_migrations (version) VALUES (999)")
    with pytest.raises(ConfigurationInvalid, match="newer Segnode"):
        migrate(ledger.engine)


def test_a_table_that_is_gone_makes_the_ledger_unavailable_or_broken_not_a_sql_error(
    ledger: Ledger,
) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE segnode_studies")
    with pytest.raises(Exception, match="database") as raised:
        ledger.studies.record(
            STUDY, RevisionNumber(1), a_decision(RevisionState.GAVE_UP), now=at(1)
        )
    assert type(raised.value).__module__ == "node.domain.errors"


def test_a_database_that_is_not_there_is_named_unavailable() -> None:
    for url in ("sqlite:////nowhere/at/all/ledger.db", "postgresql://a@/b?host=/nowhere"):
        with pytest.raises(LedgerUnavailable, match="does not answer"):
            open_ledger(url)


def test_an_unknown_kind_of_url_is_a_fault_of_the_configuration() -> None:
    for url in ("mysql://a/b", "nonsense", "mssql+nothing://x"):
        with pytest.raises(ConfigurationInvalid, match="URL"):
            open_engine(url)


def test_a_sqlite_ledger_in_memory_is_refused() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationInvalid, match="must be a file"):
            open_engine(url)
