"""Waits between attempts to send."""

from hypothesis import given
from hypothesis import strategies as st

from node.domain.ids import AnalysisId, DestinationName
from node.jobs.names import analysis_workflow_id, delivery_workflow_id
from node.jobs.workflows import Backoff


def test_waits_grow_to_the_longest_and_no_further() -> None:
    backoff = Backoff(first_s=5, factor=2, longest_s=30, attempts=6)
    waits = [backoff.wait_after(number) for number in range(1, 7)]
    assert waits == [5, 10, 20, 30, 30, None]


@given(st.integers(1, 50), st.integers(1, 100))
def test_there_is_no_wait_after_the_last_attempt(attempts: int, number: int) -> None:
    wait = Backoff(attempts=attempts).wait_after(number)
    assert (wait is None) == (number >= attempts)


def test_the_first_attempt_bears_the_analysis_id_and_a_retry_does_not() -> None:
    analysis = AnalysisId("a" * 32)
    assert analysis_workflow_id(analysis, 1) == analysis
    ids = {analysis_workflow_id(analysis, n) for n in range(1, 9)}
    assert len(ids) == 8


def test_each_destination_of_each_attempt_has_a_workflow_of_its_own() -> None:
    analysis = AnalysisId("a" * 32)
    names = (DestinationName("pacs"), DestinationName("vna"))
    ids = {
        delivery_workflow_id(analysis, attempt, name, number)
        for attempt in (1, 2)
        for name in names
        for number in (1, 2)
    }
    assert len(ids) == 8
