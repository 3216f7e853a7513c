"""What modalities say of their work (MPPS): kept as it was said, held against what came.

A step is made once, changed until it ends, and never after that (PS3.4 F.7.2). Whatever
changes, the study is looked at again at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from node.domain.ids import AETitle, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from node.domain.states import StepState
from node.domain.study import ProcedureStep
from node.store import schema
from node.store.database import Database

STEPS_LIMIT: Final = 100
"""Steps of one study that are looked at, the newest ones; a study has a handful."""

Images = Mapping[SeriesInstanceUID, Sequence[SOPInstanceUID]]


class StepChange(StrEnum):
    """What became of a change."""

    UPDATED = "updated"
    UNKNOWN = "unknown"  # nobody made this step here
    ENDED = "ended"  # it was COMPLETED or DISCONTINUED before and stays so


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of a study. unlisted: instances here that no COMPLETED step lists."""

    steps: tuple[ProcedureStep, ...] = ()
    unlisted: int = 0


class ProcedureSteps:
    """The side of the ledger that the MPPS service uses."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def create(
        self,
        step: SOPInstanceUID,
        study: StudyInstanceUID,
        images: Images,
        *,
        calling_ae_title: AETitle,
        now: datetime,
    ) -> bool:
        """Begin a step, IN PROGRESS; False, and nothing written, when it is there already."""
        with self._database.write() as connection:
            _lock(connection, study)
            made = connection.execute(
                self._database.insert(schema.procedure_steps)
                .values(
                    sop_instance_uid=step,
                    study_instance_uid=study,
                    calling_ae_title=calling_ae_title,
                    state=StepState.IN_PROGRESS.value,
                    series=_packed(images),
                    created_at=now,
                    changed_at=now,
                )
                .on_conflict_do_nothing(index_elements=["sop_instance_uid"])
                .returning(schema.procedure_steps.c.sop_instance_uid)
            ).one_or_none()
            if made is not None:
                _have_looked_at(connection, study, now)
            return made is not None

    def update(
        self,
        step: SOPInstanceUID,
        *,
        state: StepState | None,
        images: Images | None,
        now: datetime,
    ) -> StepChange:
        """Change a step that goes on; None leaves state or images as they were said before."""
        table = schema.procedure_steps
        this = table.c.sop_instance_uid == step
        with self._database.write() as connection:
            study = connection.execute(select(table.c.study_instance_uid).where(this)).scalar()
            if study is None:
                return StepChange.UNKNOWN
            _lock(connection, study)
            found = connection.execute(select(table.c.state).where(this).with_for_update()).scalar()
            if found != StepState.IN_PROGRESS:
                return StepChange.ENDED
            values: dict[str, Any] = {"changed_at": now}
            if state is not None:
                values["state"] = state.value
            if images is not None:
                values["series"] = _packed(images)
            connection.execute(update(table).where(this).values(**values))
            _have_looked_at(connection, study, now)
            return StepChange.UPDATED


def said_of(connection: Connection, study: StudyInstanceUID) -> Said:
    """Return what modalities said of a study, oldest first, and how much of it is here."""
    table = schema.procedure_steps
    found = connection.execute(
        select(table)
        .where(table.c.study_instance_uid == study)
        .order_by(table.c.created_at.desc(), table.c.sop_instance_uid)
        .limit(STEPS_LIMIT)
    ).all()
    if not found:
        return Said()
    here = _instances_of(connection, study)
    listed = {row.sop_instance_uid: _listed(row) for row in found}
    ended = [listed[r.sop_instance_uid] for r in found if r.state == StepState.COMPLETED]
    return Said(
        steps=tuple(_step(row, listed[row.sop_instance_uid], here) for row in reversed(found)),
        unlisted=len(here.difference(*ended)),
    )


def _step(row: Row[Any], listed: frozenset[str], here: frozenset[str]) -> ProcedureStep:
    return ProcedureStep(
        sop_instance_uid=SOPInstanceUID(row.sop_instance_uid),
        calling_ae_title=AETitle(row.calling_ae_title),
        state=StepState(row.state),
        images=len(listed),
        missing=len(listed - here),
    )


def _listed(row: Row[Any]) -> frozenset[str]:
    series: dict[str, list[str]] = json.loads(row.series)
    return frozenset(uid for images in series.values() for uid in images)


def _instances_of(connection: Connection, study: StudyInstanceUID) -> frozenset[str]:
    table = schema.instances
    query = select(table.c.sop_instance_uid).where(table.c.study_instance_uid == study)
    return frozenset(connection.execute(query).scalars())


def _packed(images: Images) -> str:
    return json.dumps({series: list(uids) for series, uids in images.items()})


def _lock(connection: Connection, study: str) -> None:
    """Let no judgement of the study be written before the commit; it would not know of this."""
    table = schema.studies
    query = select(table.c.revision).where(table.c.study_instance_uid == study)
    connection.execute(query.with_for_update())


def _have_looked_at(connection: Connection, study: str, now: datetime) -> None:
    """Make the study due, if it waits for anything."""
    table = schema.revisions
    connection.execute(
        update(table)
        .where(table.c.study_instance_uid == study, table.c.next_look_at.is_not(None))
        .values(next_look_at=now)
    )
