"""The statements of the hot path, built once: building them cost more than running them."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import bindparam, select

from node.store import schema


class IntakeStatements:
    """What every received instance runs, for one dialect; values come as parameters.

    insert: the dialect's INSERT, which knows ON CONFLICT.
    """

    def __init__(self, insert: Callable[[Any], Any]) -> None:
        self.touch: Final = _touch(insert)
        self.state: Final = _state()
        self.keep_instances: Final = _keep_instances(insert)
        self.keep_header: Final = _keep_header(insert)
        self.find: Final = select(schema.instances).where(
            schema.instances.c.sop_instance_uid == bindparam("sop")
        )
        self.find_all: Final = select(schema.instances).where(_among("sops"))
        self.known: Final = select(schema.instances.c.sop_instance_uid).where(_among("sops"))
        self.refuse: Final = _refuse(insert)


def _touch(insert: Callable[[Any], Any]) -> Any:
    """Count instances into their study; the row is locked until the commit."""
    table = schema.studies
    insertion = insert(table)
    return insertion.on_conflict_do_update(
        index_elements=[table.c.study_instance_uid],
        set_={
            "instances": table.c.instances + insertion.excluded.instances,
            "size_bytes": table.c.size_bytes + insertion.excluded.size_bytes,
            "last_received_at": insertion.excluded.last_received_at,
        },
    ).returning(table.c.revision, table.c.instances)


def _state() -> Any:
    table = schema.revisions
    return select(table.c.state).where(
        table.c.study_instance_uid == bindparam("study"), table.c.revision == bindparam("number")
    )


def _among(name: str) -> Any:
    return schema.instances.c.sop_instance_uid.in_(bindparam(name, expanding=True))


def _keep_instances(insert: Callable[[Any], Any]) -> Any:
    """Keep instances and return their UIDs, without those that are known."""
    uid = schema.instances.c.sop_instance_uid
    return insert(schema.instances).on_conflict_do_nothing(index_elements=[uid]).returning(uid)


def _keep_header(insert: Callable[[Any], Any]) -> Any:
    """Keep the header with the lowest key of the series."""
    table = schema.series
    insertion = insert(table)
    return insertion.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={
            "header_key": insertion.excluded.header_key,
            "header": insertion.excluded.header,
        },
        where=insertion.excluded.header_key < table.c.header_key,
    )


def _refuse(insert: Callable[[Any], Any]) -> Any:
    table = schema.refusals
    insertion = insert(table)
    return insertion.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={
            "text": insertion.excluded.text,
            "at": insertion.excluded.at,
            "times": table.c.times + 1,
        },
    )
