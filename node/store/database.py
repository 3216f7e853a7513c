"""One engine, two kinds of transaction, and the edge where SQL errors become ours.

The same engine is handed to DBOS, so on SQLite it is set up as DBOS sets up its own
(isolation level IMMEDIATE, busy timeout, foreign keys), plus WAL and synchronous=FULL: a
commit is on the disk before the sender hears of it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from node.domain.errors import (
    ConfigurationInvalid,
    LedgerUnavailable,
    RowRefused,
    StepCrashed,
)
from node.store import migrations

BUSY_TIMEOUT_MS: Final = 30_000
MIGRATION_LOCK: Final = 0x5E67_0DE1
"""Key of the advisory lock under which PostgreSQL lets one process migrate."""

POOL: Final = {"pool_size": 8, "max_overflow": 24, "pool_timeout": 30}


def open_engine(url: str) -> Engine:
    """Return an engine for a `sqlite:///…` or `postgresql://…` URL; nothing is connected yet.

    Raises ConfigurationInvalid for a URL of any other kind.
    """
    try:
        parsed = _checked_url(url)
        # hide_parameters: the values of a statement are patient data, and errors are logged.
        engine = create_engine(parsed, hide_parameters=True, **_pool(parsed.get_backend_name()))
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationInvalid("The database URL cannot be understood.") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _checked_url(text: str) -> URL:
    url = make_url(text)
    backend = url.get_backend_name()
    if backend not in migrations.TYPES:
        raise ConfigurationInvalid("The database URL must begin with sqlite:/// or postgresql://.")
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ConfigurationInvalid("A SQLite database must be a file: sqlite:////path/to/it.")
    if url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    return url


def _pool(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {**POOL, "connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}
    return {**POOL, "pool_pre_ping": True}


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def migrate(engine: Engine) -> int:
    """Bring the tables to the newest version and return it; one process at a time does it.

    Raises LedgerUnavailable when the database does not answer, ConfigurationInvalid when a
    newer Segnode has written it.
    """
    with guarded(), engine.begin() as connection:
        _lock_for_migration(connection)
        connection.execute(
            text("CREATE TABLE IF NOT EXISTS segnode_migrations (version INTEGER PRIMARY KEY)")
        )
        found = connection.execute(text("SELECT MAX(version) FROM segnode_migrations")).scalar()
        newest = len(migrations.MIGRATIONS)
        if (found or 0) > newest:
            raise ConfigurationInvalid(
                f"The database was written by a newer Segnode (version {found} of its tables, "
                f"this one knows {newest})."
            )
        for version in range((found or 0) + 1, newest + 1):
            for statement in migrations.statements(version, engine.dialect.name):
                connection.execute(text(statement))
            connection.execute(
                text("INSERT INTO segnode_migrations (version) VALUES (:version)"),
                {"version": version},
            )
        return newest


def _lock_for_migration(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE"))
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})


class Transaction:
    """An open transaction of the ledger, for a room that must write in the same one.

    connection: opaque outside node/store, except to DBOS's `enqueue_in_transaction`.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection: Final = connection


class Database:
    """The engine with the two kinds of transaction that the ledger's parts use."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Final = engine
        self._is_sqlite: Final = engine.dialect.name == "sqlite"
        # SQLite has one writer. Threads that queue here wake at once and in turn; in its busy
        # handler they would sleep, longer each time.
        self._one_writer: Final = threading.Lock() if self._is_sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and writes nothing."""
        with guarded(), self.engine.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that commits at the end, or leaves nothing on an error.

        SQLite takes the write lock at the start, so what is read here cannot change before
        the commit. On PostgreSQL, rows that a decision rests on are read FOR UPDATE.
        """
        with self._one_writer, guarded(), self.engine.begin() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def insert(self, table: Any) -> Any:
        """Return the dialect's INSERT, which knows ON CONFLICT."""
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what SQLAlchemy raises into LedgerUnavailable, or StepCrashed for a defect of ours.

    The text of the driver is kept only where it speaks of the database, not of a row.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise LedgerUnavailable("The database is too busy: no connection became free.") from error
    except DBAPIError as error:
        kind = type(error.orig).__name__ if error.orig is not None else type(error).__name__
        if type(error).__name__ in {"OperationalError", "InterfaceError", "InternalError"}:
            lines = str(error.orig).strip().splitlines() or [kind]
            raise LedgerUnavailable(f"The database does not answer: {lines[0]}.") from error
        if type(error).__name__ == "DataError":
            raise RowRefused(f"The database cannot hold a value ({kind}).") from None
        raise StepCrashed(f"The database refused a statement of the ledger ({kind}).") from None
    except SQLAlchemyError as error:
        raise StepCrashed(f"The ledger used the database wrongly ({type(error).__name__}).") from (
            error
        )
