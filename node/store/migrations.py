"""Numbered steps forward from an empty database to the tables of node/store/schema.py.

A step that has left the house is never edited; a change of the schema is a new step at the
end. Words in braces are the types whose names differ between SQLite and PostgreSQL.
"""

from collections.abc import Mapping
from typing import Final

TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {
        "time": "DATETIME",
        "bytes": "BLOB",
        "number": "INTEGER PRIMARY KEY AUTOINCREMENT",
    },
    "postgresql": {
        "time": "TIMESTAMP WITH TIME ZONE",
        "bytes": "BYTEA",
        "number": "BIGSERIAL PRIMARY KEY",
    },
}

_FIRST: Final = (
    """CREATE TABLE segnode_studies (
        study_instance_uid TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        instances INTEGER NOT NULL,
        size_bytes BIGINT NOT NULL,
        first_received_at {time} NOT NULL,
        last_received_at {time} NOT NULL)""",
    "CREATE INDEX segnode_studies_recent ON segnode_studies (last_received_at)",
    """CREATE TABLE segnode_series (
        study_instance_uid TEXT NOT NULL,
        series_instance_uid TEXT NOT NULL,
        header_key TEXT NOT NULL,
        header TEXT NOT NULL,
        PRIMARY KEY (study_instance_uid, series_instance_uid))""",
    """CREATE TABLE segnode_instances (
        sop_instance_uid TEXT PRIMARY KEY,
        series_instance_uid TEXT NOT NULL,
        study_instance_uid TEXT NOT NULL,
        revision INTEGER NOT NULL,
        sop_class_uid TEXT NOT NULL,
        transfer_syntax_uid TEXT NOT NULL,
        path TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        data_set_sha256 TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        planes {bytes} NOT NULL,
        calling_ae_title TEXT NOT NULL,
        received_at {time} NOT NULL)""",
    """CREATE INDEX segnode_instances_of_study
        ON segnode_instances (study_instance_uid, series_instance_uid)""",
    """CREATE TABLE segnode_refusals (
        study_instance_uid TEXT NOT NULL,
        sop_instance_uid TEXT NOT NULL,
        calling_ae_title TEXT NOT NULL,
        code TEXT NOT NULL,
        text TEXT NOT NULL,
        at {time} NOT NULL,
        times INTEGER NOT NULL,
        PRIMARY KEY (study_instance_uid, sop_instance_uid, calling_ae_title, code))""",
    """CREATE TABLE segnode_revisions (
        study_instance_uid TEXT NOT NULL,
        revision INTEGER NOT NULL,
        state TEXT NOT NULL,
        decision TEXT,
        opened_at {time} NOT NULL,
        changed_at {time} NOT NULL,
        next_look_at {time},
        PRIMARY KEY (study_instance_uid, revision))""",
    "CREATE INDEX segnode_revisions_due ON segnode_revisions (next_look_at)",
    """CREATE TABLE segnode_analyses (
        analysis_id TEXT PRIMARY KEY,
        study_instance_uid TEXT NOT NULL,
        revision INTEGER NOT NULL,
        rule TEXT NOT NULL,
        bundle TEXT NOT NULL,
        inputs_sha256 TEXT NOT NULL,
        order_json TEXT NOT NULL,
        state TEXT NOT NULL,
        reason_code TEXT,
        reason_text TEXT,
        attempt INTEGER NOT NULL,
        created_at {time} NOT NULL,
        changed_at {time} NOT NULL)""",
    """CREATE INDEX segnode_analyses_of_study
        ON segnode_analyses (study_instance_uid, created_at)""",
    "CREATE INDEX segnode_analyses_by_state ON segnode_analyses (state, changed_at)",
    """CREATE TABLE segnode_steps (
        analysis_id TEXT NOT NULL,
        step TEXT NOT NULL,
        started_at {time} NOT NULL,
        seconds DOUBLE PRECISION,
        summary TEXT NOT NULL,
        PRIMARY KEY (analysis_id, step))""",
    """CREATE TABLE segnode_deliveries (
        analysis_id TEXT NOT NULL,
        destination TEXT NOT NULL,
        sop_instance_uid TEXT NOT NULL,
        kind TEXT NOT NULL,
        path TEXT NOT NULL,
        state TEXT NOT NULL,
        status INTEGER,
        attempts INTEGER NOT NULL,
        reason_code TEXT,
        reason_text TEXT,
        changed_at {time} NOT NULL,
        PRIMARY KEY (analysis_id, destination, sop_instance_uid))""",
    "CREATE INDEX segnode_deliveries_by_state ON segnode_deliveries (state)",
    """CREATE TABLE segnode_transitions (
        number {number},
        study_instance_uid TEXT NOT NULL,
        entity TEXT NOT NULL,
        entity_id TEXT NOT NULL,
        from_state TEXT NOT NULL,
        to_state TEXT NOT NULL,
        who TEXT NOT NULL,
        why TEXT NOT NULL,
        at {time} NOT NULL)""",
    """CREATE INDEX segnode_transitions_of_study
        ON segnode_transitions (study_instance_uid, number)""",
    """CREATE TABLE segnode_executors (
        executor_id TEXT PRIMARY KEY,
        beat_at {time} NOT NULL)""",
)

_SECOND: Final = (
    # Whether two objects are the same is found by comparing their bytes.
    "ALTER TABLE segnode_instances DROP COLUMN data_set_sha256",
    "ALTER TABLE segnode_deliveries ADD COLUMN seen_at {time}",
    "CREATE INDEX segnode_deliveries_of_object ON segnode_deliveries (sop_instance_uid)",
    """CREATE TABLE segnode_senders (
        calling_ae_title TEXT PRIMARY KEY,
        address TEXT NOT NULL,
        first_at {time} NOT NULL,
        last_at {time} NOT NULL,
        associations INTEGER NOT NULL,
        aborted INTEGER NOT NULL,
        rejected INTEGER NOT NULL,
        instances BIGINT NOT NULL,
        duplicates BIGINT NOT NULL,
        refused BIGINT NOT NULL,
        stalled BIGINT NOT NULL,
        size_bytes BIGINT NOT NULL,
        busy_seconds DOUBLE PRECISION NOT NULL,
        longest_gap_seconds DOUBLE PRECISION NOT NULL,
        max_pdu INTEGER NOT NULL,
        transfer_syntaxes TEXT NOT NULL)""",
    """CREATE TABLE segnode_procedure_steps (
        sop_instance_uid TEXT PRIMARY KEY,
        study_instance_uid TEXT NOT NULL,
        calling_ae_title TEXT NOT NULL,
        state TEXT NOT NULL,
        series TEXT NOT NULL,
        created_at {time} NOT NULL,
        changed_at {time} NOT NULL)""",
    """CREATE INDEX segnode_procedure_steps_of_study
        ON segnode_procedure_steps (study_instance_uid)""",
    """CREATE TABLE segnode_commitments (
        transaction_uid TEXT NOT NULL,
        calling_ae_title TEXT NOT NULL,
        address TEXT NOT NULL,
        objects TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        asked_at {time} NOT NULL,
        next_at {time},
        PRIMARY KEY (transaction_uid, calling_ae_title))""",
    "CREATE INDEX segnode_commitments_due ON segnode_commitments (next_at)",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST, _SECOND)
"""Step n of the list takes a database from version n - 1 to version n."""


def statements(version: int, dialect: str) -> tuple[str, ...]:
    """Return the SQL of the step that leads to `version` (from 1) on that dialect."""
    types = TYPES[dialect]
    return tuple(statement.format_map(types) for statement in MIGRATIONS[version - 1])
