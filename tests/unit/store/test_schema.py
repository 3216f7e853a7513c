"""The tables as migrated are the tables as the statements think of them."""

from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Table, inspect, text

from node.store import migrations, schema
from node.store.database import migrate, open_engine
from node.store.schema import UtcDateTime, metadata


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda t: str(t.name))
def test_migrations_make_what_the_schema_says(table: Table, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'l.db'}")
    assert migrate(engine) == len(migrations.MIGRATIONS)
    found = inspect(engine)
    columns = {c["name"]: c for c in found.get_columns(table.name)}
    assert list(columns) == [c.name for c in table.columns]
    for column in table.columns:
        assert columns[column.name]["nullable"] == column.nullable or column.primary_key
    assert found.get_pk_constraint(table.name)["constrained_columns"] == [
        c.name for c in table.primary_key.columns
    ]
    assert {(i["name"], tuple(i["column_names"])) for i in found.get_indexes(table.name)} == {
        (i.name, tuple(c.name for c in i.columns)) for i in table.indexes
    }
    engine.dispose()


def test_every_dialect_names_the_same_types() -> None:
    assert set(migrations.TYPES["sqlite"]) == set(migrations.TYPES["postgresql"])


def test_a_sqlite_ledger_is_set_up_to_be_durable_and_shared_with_dbos(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'l.db'}")
    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
        raw = connection.connection.dbapi_connection
        assert raw is not None
        assert raw.isolation_level == "IMMEDIATE"
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 30_000,
        "foreign_keys": 1,
    }
    engine.dispose()


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), None)  # type: ignore[arg-type]  # noqa: DTZ001


def test_every_table_name_keeps_clear_of_dbos() -> None:
    assert all(name.startswith("segnode_") for name in schema.metadata.tables)
