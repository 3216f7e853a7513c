"""What receivers ask and tell: the values, and the desk that they turn to."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

from node.listener.callers import Rejection, Request
from node.store.visits import SenderVisit
from node.telemetry.outcomes import ReceivedOutcome

REGISTRAR: Final = "registrar"
"""The service that answers for MPPS and storage commitment."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What became of one object.

    path: of the committed file; "" when none was kept. seconds: from the
    last byte to the answer. code, text: of a refusal. study_instance_uid: "" where unknown.
    """

    outcome: ReceivedOutcome
    calling_ae_title: str
    sop_instance_uid: str
    size_bytes: int
    seconds: float = 0.0
    path: str = ""
    study_instance_uid: str = ""
    code: str = ""
    text: str = ""

    def to_json(self) -> Body:
        """Return it as plain JSON; `News(**...)` reads it. Many times faster than `asdict`."""
        return {name: getattr(self, name) for name in self.__slots__}


class Desk(Protocol):
    """Where a receiver turns to; safe for many threads."""

    def enter(self, request: Request) -> Rejection | None:
        """Take a place for an association, or say why not."""

    def established(self) -> None:
        """Say that an association that was let in stands."""

    def leave(self, visit: SenderVisit, *, stood: bool = True) -> None:
        """Give the place back, with what happened. stood: whether it was ever established."""

    def closed(self) -> None:
        """Say that a connection that was taken is closed, whatever became of it."""

    def refused_handshake(self, kind: str, address: str) -> None:
        """Report a connection whose TLS handshake failed."""

    def tell(self, news: News) -> None:
        """Report an object; does not wait."""

    def ask(self, service: str, body: Body) -> Body:
        """Have a request answered that needs the ledger. Raises OSError when nobody does."""
