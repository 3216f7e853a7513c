"""Steps between states: refused where the table has none, written down where it has."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import Connection, insert

from node.domain.errors import StepCrashed
from node.domain.ids import StudyInstanceUID
from node.store import schema
from node.store.stories import Transition

State = TypeVar("State", bound=StrEnum)


def check(
    table: Mapping[State, frozenset[State]], origin: State, to: State, *, entity: str
) -> None:
    """Raise StepCrashed when the transition table has no step from `origin` to `to`."""
    if to not in table[origin]:
        raise StepCrashed(f"A {entity} cannot go from {origin.value} to {to.value}.")


def write_down(
    connection: Connection, study: StudyInstanceUID, transitions: list[Transition]
) -> None:
    """Record state changes: what, from where to where, who, why and when."""
    if transitions:
        connection.execute(
            insert(schema.transitions),
            [
                {
                    "study_instance_uid": study,
                    "entity": t.entity,
                    "entity_id": t.entity_id,
                    "from_state": t.from_state,
                    "to_state": t.to_state,
                    "who": t.who,
                    "why": t.why,
                    "at": t.at,
                }
                for t in transitions
            ],
        )


def step(
    entity: str, entity_id: str, states: tuple[str, str], *, who: str, why: str, at: datetime
) -> Transition:
    """Return one line for the record; states are (from, to), "" where it began."""
    return Transition(
        entity=entity,
        entity_id=entity_id,
        from_state=states[0],
        to_state=states[1],
        who=who,
        why=why,
        at=at,
    )
