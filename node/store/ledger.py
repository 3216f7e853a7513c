"""The ledger: everything that Segnode knows about studies, in one database.

Each part is one subject and lives in a file of its own; all of them share one engine, which
is also handed to DBOS, so that a decision and the work that it starts are one transaction.
Every part raises LedgerUnavailable when the database does not answer.
"""

from typing import Final

from sqlalchemy import Engine

from node.store.analyses import Analyses
from node.store.commitments import Commitments
from node.store.database import Database, Transaction, migrate, open_engine
from node.store.deliveries import Deliveries
from node.store.evidence import ProcedureSteps
from node.store.health import Health
from node.store.intake import Intake
from node.store.senders import Senders
from node.store.studies import Studies
from node.store.tales import Stories

__all__ = ["Ledger", "Transaction", "open_ledger"]


class Ledger:
    """The parts of the ledger on one engine; safe to use from many threads."""

    def __init__(self, engine: Engine) -> None:
        database = Database(engine)
        self.engine: Final = engine
        self.intake: Final = Intake(database)
        self.studies: Final = Studies(database)
        self.analyses: Final = Analyses(database)
        self.deliveries: Final = Deliveries(database)
        self.stories: Final = Stories(database)
        self.health: Final = Health(database)
        self.senders: Final = Senders(database)
        self.procedure_steps: Final = ProcedureSteps(database)
        self.commitments: Final = Commitments(database)

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def open_ledger(url: str) -> Ledger:
    """Connect, bring the tables to the newest version, and return the ledger.

    Raises ConfigurationInvalid for a URL or a database that this version cannot use, and
    LedgerUnavailable when the database does not answer.
    """
    engine = open_engine(url)
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Ledger(engine)
