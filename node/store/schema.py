"""The tables of the ledger (SQLAlchemy Core), one set for SQLite and PostgreSQL.

Every name begins with `segnode_`, because on SQLite the tables of DBOS lie beside them. The
tables are made by node/store/migrations.py; a test holds the two to each other.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite keeps it without a zone, in text that sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Convert to UTC; a naive time is refused, since nobody knows what it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone was given to the ledger.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

studies = Table(
    "segnode_studies",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("revision", Integer, nullable=False),  # the current one
    Column("instances", Integer, nullable=False),  # grows by one with every instance
    Column("size_bytes", BigInteger, nullable=False),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Index("segnode_studies_recent", "last_received_at"),
)

series = Table(
    "segnode_series",
    metadata,
    # Both, because senders exist that use one series UID in two studies.
    Column("study_instance_uid", Text, primary_key=True),
    Column("series_instance_uid", Text, primary_key=True),
    # The header kept is that of the lowest key, so that the order of arrival has no say.
    Column("header_key", Text, nullable=False),
    Column("header", Text, nullable=False),  # JSON of Header, without planes
)

instances = Table(
    "segnode_instances",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("series_instance_uid", Text, nullable=False),
    Column("study_instance_uid", Text, nullable=False),
    Column("revision", Integer, nullable=False),  # the one in which it came
    Column("sop_class_uid", Text, nullable=False),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),  # of the file
    Column("size_bytes", BigInteger, nullable=False),
    Column("planes", LargeBinary, nullable=False),  # nine little-endian doubles each
    Column("calling_ae_title", Text, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Index("segnode_instances_of_study", "study_instance_uid", "series_instance_uid"),
)

refusals = Table(
    "segnode_refusals",
    metadata,
    # "" where unknown: a unique key must not hold NULL, or repeats would pile up.
    Column("study_instance_uid", Text, primary_key=True),
    Column("sop_instance_uid", Text, primary_key=True),
    Column("calling_ae_title", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),  # the last time
    Column("times", Integer, nullable=False),
)

revisions = Table(
    "segnode_revisions",
    metadata,
    Column("study_instance_uid", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("decision", Text),  # JSON of the last CompletionDecision
    Column("opened_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("next_look_at", UtcDateTime),  # NULL when nothing is to be looked at
    Index("segnode_revisions_due", "next_look_at"),
)

analyses = Table(
    "segnode_analyses",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("inputs_sha256", Text, nullable=False),
    Column("order_json", Text, nullable=False),  # JSON of AnalysisOrder
    Column("state", Text, nullable=False),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("attempt", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("segnode_analyses_of_study", "study_instance_uid", "created_at"),
    Index("segnode_analyses_by_state", "state", "changed_at"),
)

steps = Table(
    "segnode_steps",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seconds", Float(53)),
    Column("summary", Text, nullable=False),  # JSON object
)

deliveries = Table(
    "segnode_deliveries",
    metadata,
    Column("analysis_id", Text, primary_key=True),
    Column("destination", Text, primary_key=True),
    Column("sop_instance_uid", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Integer),
    Column("attempts", Integer, nullable=False),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime),  # when the object came back to us from an archive
    Index("segnode_deliveries_by_state", "state"),
    Index("segnode_deliveries_of_object", "sop_instance_uid"),
)

transitions = Table(
    "segnode_transitions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("entity", Text, nullable=False),  # "revision", "analysis" or "delivery"
    Column("entity_id", Text, nullable=False),
    Column("from_state", Text, nullable=False),  # "" when it began
    Column("to_state", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("segnode_transitions_of_study", "study_instance_uid", "number"),
)

executors = Table(
    "segnode_executors",
    metadata,
    Column("executor_id", Text, primary_key=True),
    Column("beat_at", UtcDateTime, nullable=False),
)

senders = Table(
    "segnode_senders",
    metadata,
    Column("calling_ae_title", Text, primary_key=True),
    Column("address", Text, nullable=False),  # of the last association
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("associations", Integer, nullable=False),
    Column("aborted", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("instances", BigInteger, nullable=False),  # stored, duplicates and all
    Column("duplicates", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("stalled", BigInteger, nullable=False),  # waited for a delayed acknowledgement
    Column("size_bytes", BigInteger, nullable=False),
    Column("busy_seconds", Float(53), nullable=False),  # of associations that sent something
    Column("longest_gap_seconds", Float(53), nullable=False),  # between two instances
    Column("max_pdu", Integer, nullable=False),  # that the sender takes, bytes, 0: no limit
    Column("transfer_syntaxes", Text, nullable=False),  # JSON: UID to number of instances
)

procedure_steps = Table(
    "segnode_procedure_steps",
    metadata,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("study_instance_uid", Text, nullable=False),
    Column("calling_ae_title", Text, nullable=False),
    Column("state", Text, nullable=False),  # Performed Procedure Step Status
    Column("series", Text, nullable=False),  # JSON: Series Instance UID to its SOP Instance UIDs
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("segnode_procedure_steps_of_study", "study_instance_uid"),
)

commitments = Table(
    "segnode_commitments",
    metadata,
    Column("transaction_uid", Text, primary_key=True),
    Column("calling_ae_title", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("objects", Text, nullable=False),  # JSON: pairs of SOP Class and Instance UID
    Column("state", Text, nullable=False),  # "asked", "answered" or "given-up"
    Column("attempts", Integer, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("next_at", UtcDateTime),  # NULL when there is nothing left to do
    Index("segnode_commitments_due", "next_at"),
)
