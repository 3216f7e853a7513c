"""What receiving writes, on SQLite and PostgreSQL."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from node.domain.errors import RowRefused
from node.domain.header import Header
from node.domain.ids import (
    AETitle,
    RevisionNumber,
    SeriesInstanceUID,
    SOPInstanceUID,
    StudyInstanceUID,
)
from node.domain.states import AnalysisState, RevisionState
from node.domain.study import Reason, Refusal
from node.store import schema
from node.store.intake import Received
from node.store.ledger import Ledger, open_ledger
from tests.support.ledger_values import (
    SCANNER,
    SERIES,
    STUDY,
    a_decision,
    a_header,
    an_instance,
    at,
    complete,
    receive,
    receive_series,
)

OTHER_SERIES = SeriesInstanceUID(f"{SERIES}.9")


def _state(ledger: Ledger) -> tuple[RevisionNumber, RevisionState]:
    story = ledger.stories.story(STUDY)
    assert story is not None
    return story.current.revision, story.current.state


def test_the_first_instance_opens_revision_one_and_is_due_at_once(ledger: Ledger) -> None:
    assert receive(ledger, a_header())
    assert _state(ledger) == (1, RevisionState.RECEIVING)
    assert ledger.studies.due(at(0)) == (STUDY,)


def test_a_stored_instance_is_found_as_it_was_written(ledger: Ledger) -> None:
    receive(ledger, a_header())
    assert ledger.intake.find_instance(a_header().sop_instance_uid) == an_instance(a_header())


def test_an_unknown_instance_is_not_found(ledger: Ledger) -> None:
    assert ledger.intake.find_instance(SOPInstanceUID("1.2.3")) is None


def test_the_same_instance_again_counts_nothing(ledger: Ledger) -> None:
    receive(ledger, a_header())
    assert not receive(ledger, a_header(), seconds=30)
    assert ledger.health.counts().instances == 1
    assert ledger.studies.evidence(STUDY, at(40)).quiet_s == pytest.approx(40)


@pytest.mark.parametrize(
    "state", [RevisionState.WAITING, RevisionState.NOT_ELIGIBLE, RevisionState.GAVE_UP]
)
def test_a_later_instance_has_the_same_revision_looked_at_again(
    ledger: Ledger, state: RevisionState
) -> None:
    receive(ledger, a_header(1))
    ledger.studies.record(STUDY, RevisionNumber(1), a_decision(state, look_again_s=50), now=at(10))
    assert ledger.studies.due(at(11)) == ()
    receive(ledger, a_header(2), seconds=12)
    assert _state(ledger) == (1, RevisionState.RECEIVING)
    assert ledger.studies.due(at(12)) == (STUDY,)


def test_a_late_instance_supersedes_a_complete_revision(ledger: Ledger) -> None:
    receive_series(ledger)
    order = complete(ledger)
    receive(ledger, a_header(7), seconds=90)
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert [r.state for r in story.revisions] == [
        RevisionState.SUPERSEDED,
        RevisionState.RECEIVING,
    ]
    assert ledger.analyses.get(order.analysis_id).state is AnalysisState.CANCELLED
    assert not ledger.analyses.is_current(order.analysis_id)
    assert ledger.studies.due(at(90)) == (STUDY,)


def test_a_running_analysis_of_a_superseded_revision_is_left_to_find_out(ledger: Ledger) -> None:
    receive_series(ledger)
    order = complete(ledger)
    ledger.analyses.move(
        order.analysis_id, AnalysisState.RUNNING, reason=None, who="work", now=at(70)
    )
    assert ledger.analyses.is_current(order.analysis_id)
    receive(ledger, a_header(7), seconds=90)
    assert ledger.analyses.get(order.analysis_id).state is AnalysisState.RUNNING
    assert not ledger.analyses.is_current(order.analysis_id)


def test_every_change_of_state_is_written_down_with_who_why_and_when(ledger: Ledger) -> None:
    receive_series(ledger)
    complete(ledger)
    receive(ledger, a_header(7), seconds=90)
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert [(t.entity, t.from_state, t.to_state) for t in story.transitions] == [
        ("revision", "", "RECEIVING"),
        ("revision", "RECEIVING", "COMPLETE"),
        ("analysis", "", "QUEUED"),
        ("revision", "COMPLETE", "SUPERSEDED"),
        ("analysis", "QUEUED", "CANCELLED"),
        ("revision", "", "RECEIVING"),
    ]
    assert all(t.who and t.why for t in story.transitions)
    assert story.transitions[-1].at == at(90)


def test_the_order_of_arrival_has_no_say_in_the_header_that_is_kept(ledger: Ledger) -> None:
    for number in (3, 1, 2):
        receive(ledger, a_header(number, series_description=f"number {number}"))
    (series,) = ledger.studies.evidence(STUDY, at(0)).series
    assert series.header.series_description == "number 1"
    assert series.header.planes == ()


def test_one_series_uid_in_two_studies_is_a_series_in_each(ledger: Ledger) -> None:
    other = StudyInstanceUID("1.2.3")
    receive(ledger, a_header(1))
    receive(ledger, a_header(2, study=other))
    for study in (STUDY, other):
        (series,) = ledger.studies.evidence(study, at(0)).series
        assert (series.instances, series.header.study_instance_uid) == (1, study)


def test_many_threads_with_the_same_instance_record_it_once(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda _: receive(ledger, a_header()), range(16)))
    assert sum(news) == 1
    assert ledger.health.counts().instances == 1


def test_many_threads_on_one_study_lose_no_instance(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda n: receive(ledger, a_header(n)), range(1, 41)))
    assert all(news)
    evidence = ledger.studies.evidence(STUDY, at(0))
    assert sum(s.instances for s in evidence.series) == 40
    assert ledger.health.counts().instances == 40


def test_a_refusal_that_repeats_stays_one_row_and_counts_up(ledger: Ledger) -> None:
    refusal = Refusal(
        study_instance_uid=None,
        sop_instance_uid=SOPInstanceUID("1.2.3"),
        calling_ae_title=SCANNER,
        reason=Reason(code="not-dicom", text="no data set"),
        at=at(0),
    )
    for _ in range(3):
        ledger.intake.record_refusal(refusal)
    assert ledger.stories.refusals_without_study() == (refusal,)
    assert ledger.health.counts().refusals == {"not-dicom": 3}


def test_a_refusal_of_a_known_study_is_part_of_its_story(ledger: Ledger) -> None:
    receive(ledger, a_header())
    refusal = Refusal(
        study_instance_uid=STUDY,
        sop_instance_uid=a_header().sop_instance_uid,
        calling_ae_title=SCANNER,
        reason=Reason(code="duplicate-differs", text="other bytes"),
        at=at(5),
    )
    ledger.intake.record_refusal(refusal)
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.refusals == (refusal,)
    assert ledger.stories.refusals_without_study() == ()


def test_instances_are_given_by_series(ledger: Ledger) -> None:
    receive_series(ledger, slices=3)
    found = ledger.studies.instances_of(STUDY, [SERIES])
    assert [i.sop_instance_uid for i in found[SERIES]] == [f"{SERIES}.{n}" for n in (1, 2, 3)]


def _received(header: Header) -> Received:
    return Received(header=header, instance=an_instance(header), calling_ae_title=SCANNER)


def test_a_batch_counts_what_is_new_once_for_each_study(ledger: Ledger) -> None:
    other = StudyInstanceUID(f"{STUDY}.9")
    receive(ledger, a_header(3))
    batch = [_received(a_header(n)) for n in (1, 2, 2, 3)]
    batch += [_received(a_header(n, study=other, series=OTHER_SERIES)) for n in (1, 2)]
    new = ledger.intake.record_instances(batch, now=at(10))
    assert new == {r.instance.sop_instance_uid for r in batch} - {a_header(3).sop_instance_uid}
    assert ledger.health.counts().instances == 5
    with ledger.engine.connect() as connection:
        found = connection.execute(
            select(
                schema.studies.c.study_instance_uid,
                schema.studies.c.instances,
                schema.studies.c.size_bytes,
            ).order_by(schema.studies.c.study_instance_uid)
        ).all()
    assert [tuple(row) for row in found] == [(STUDY, 3, 3000), (other, 2, 2000)]


def test_an_empty_batch_records_nothing(ledger: Ledger) -> None:
    assert ledger.intake.record_instances([], now=at(0)) == frozenset()
    assert ledger.health.counts().instances == 0


@given(st.permutations(range(1, 7)), st.integers(1, 6))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_how_a_series_is_cut_into_batches_has_no_say(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], size: int
) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path_factory.mktemp('l') / 'ledger.db'}")
    batch = [_received(a_header(n, series_description=f"slice {n}")) for n in order]
    for start in range(0, len(batch), size):
        ledger.intake.record_instances(batch[start : start + size], now=at(start))
    (facts,) = ledger.studies.evidence(STUDY, at(60)).series
    assert facts.header.series_description == "slice 1"
    assert facts.instances == 6
    ledger.close()


def test_batches_that_overlap_at_one_moment_record_each_instance_once(
    ledger_url: str, ledger: Ledger
) -> None:
    ledgers = [open_ledger(ledger_url) for _ in range(4)]
    studies = [StudyInstanceUID(f"{STUDY}.{n}") for n in range(4)]

    def record(who: int) -> frozenset[SOPInstanceUID]:
        """Record the same UIDs in a study of one's own and in one that all have."""
        own = [_received(a_header(n, study=studies[who])) for n in range(1, 21)]
        shared = [_received(a_header(n, series=OTHER_SERIES)) for n in range(1, 21)]
        batch = own + shared
        random.Random(who).shuffle(batch)
        return ledgers[who].intake.record_instances(batch, now=at(0))

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(record, range(4)))
    assert sum(map(len, new)) == len(frozenset().union(*new)) == 40
    assert ledger.health.counts().instances == 40
    for opened in ledgers:
        opened.close()


def test_a_refusal_is_recorded_whatever_a_stranger_calls_itself(ledger: Ledger) -> None:
    refusal = Refusal(
        study_instance_uid=None,
        sop_instance_uid=SOPInstanceUID("1.2\0/../" + "9" * 100),
        calling_ae_title=AETitle("\0\u20ac" * 20),
        reason=Reason(code="not-dicom", text="no data set"),
        at=at(0),
    )
    ledger.intake.record_refusal(refusal)
    (found,) = ledger.stories.refusals_without_study()
    assert found.sop_instance_uid == "1.2?/../" + "9" * 56
    assert found.calling_ae_title == "?" * 16


def test_a_value_that_the_database_cannot_hold_is_told_from_a_database_that_is_away(
    ledger: Ledger,
) -> None:
    header = a_header(series_instance_uid=SeriesInstanceUID("1.2\0.3"))
    if ledger.engine.dialect.name == "postgresql":
        with pytest.raises(RowRefused):
            receive(ledger, header)
        assert ledger.health.counts().instances == 0
    else:
        assert receive(ledger, header)
