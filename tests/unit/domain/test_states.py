"""The three transition tables, enumerated: every pair of states is named here or refused."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product

import pytest

from node.domain.errors import StepCrashed
from node.domain.states import (
    ANALYSIS_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    REVISION_TRANSITIONS,
    AnalysisState,
    DeliveryState,
    RevisionState,
)
from node.store import moves

TABLES: list[tuple[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]]] = [
    (RevisionState, REVISION_TRANSITIONS),  # type: ignore[list-item]
    (AnalysisState, ANALYSIS_TRANSITIONS),  # type: ignore[list-item]
    (DeliveryState, DELIVERY_TRANSITIONS),  # type: ignore[list-item]
]

REVISION_STEPS = """
RECEIVING RECEIVING
RECEIVING WAITING
RECEIVING COMPLETE
RECEIVING NOT_ELIGIBLE
RECEIVING GAVE_UP
WAITING RECEIVING
WAITING WAITING
WAITING COMPLETE
WAITING NOT_ELIGIBLE
WAITING GAVE_UP
COMPLETE SUPERSEDED
NOT_ELIGIBLE RECEIVING
GAVE_UP RECEIVING
"""

ANALYSIS_STEPS = """
QUEUED RUNNING
QUEUED FAILED
QUEUED CANCELLED
RUNNING RUNNING
RUNNING ENCODED
RUNNING FAILED
RUNNING CANCELLED
ENCODED DELIVERED
ENCODED FAILED
ENCODED CANCELLED
FAILED QUEUED
"""

DELIVERY_STEPS = """
PENDING SENT
PENDING RETRY
PENDING REFUSED
PENDING DEAD
SENT PROVEN
SENT RETRY
SENT DEAD
RETRY SENT
RETRY RETRY
RETRY REFUSED
RETRY DEAD
REFUSED PENDING
DEAD PENDING
"""


def _pairs(text: str) -> set[tuple[str, str]]:
    return {(origin, to) for origin, to in (line.split() for line in text.split("\n") if line)}


@pytest.mark.parametrize(
    ("number", "steps"), [(0, REVISION_STEPS), (1, ANALYSIS_STEPS), (2, DELIVERY_STEPS)]
)
def test_a_table_has_exactly_the_steps_that_are_written_here(number: int, steps: str) -> None:
    states, table = TABLES[number]
    found = {(a.value, b.value) for a, b in product(states, states) if b in table[a]}
    assert found == _pairs(steps)


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_every_state_has_a_row_and_can_be_reached(
    states: type[StrEnum], table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    assert set(table) == set(states)
    reached = {next(iter(states))}
    for _ in states:
        reached |= {to for origin in reached for to in table[origin]}
    assert reached == set(states)


@pytest.mark.parametrize(("states", "table"), TABLES)
def test_the_ledger_refuses_every_other_step(
    states: type[StrEnum], table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    for origin, to in product(states, states):
        if to in table[origin]:
            moves.check(table, origin, to, entity="thing")
        else:
            with pytest.raises(StepCrashed, match=f"cannot go from {origin} to {to}"):
                moves.check(table, origin, to, entity="thing")


def test_tables_cannot_be_changed() -> None:
    for _, table in TABLES:
        with pytest.raises(TypeError):
            table[next(iter(table))] = frozenset()  # type: ignore[index]


def test_what_is_over_stays_over() -> None:
    assert REVISION_TRANSITIONS[RevisionState.SUPERSEDED] == frozenset()
    assert ANALYSIS_TRANSITIONS[AnalysisState.DELIVERED] == frozenset()
    assert ANALYSIS_TRANSITIONS[AnalysisState.CANCELLED] == frozenset()
    assert DELIVERY_TRANSITIONS[DeliveryState.PROVEN] == frozenset()
