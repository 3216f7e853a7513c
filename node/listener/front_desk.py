"""The front desk: one for all receivers. It decides who may enter, counts, and passes on.

It is asked where all associations of all receiving processes are known; receivers hold no
list and no database.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from node.domain.ids import AETitle
from node.listener.callers import (
    Occupancy,
    Policy,
    Rejection,
    Request,
    may_connect,
    rejection,
)
from node.listener.desk import Body, News
from node.listener.gate import Gate
from node.store.visits import SenderVisit
from node.telemetry import metrics

logger: Final = logging.getLogger(__name__)

Service = Callable[[Body], Body]


@dataclass(slots=True)
class _Places:
    """Associations of one receiver that were let in, by calling AE title; those that stand."""

    taken: Counter[str] = field(default_factory=Counter)
    standing: int = 0

    def give_back(self, title: str) -> None:
        """Take one away; of titles without a place, which anybody may invent, nothing is kept."""
        if self.taken[title] > 1:
            self.taken[title] -= 1
        else:
            del self.taken[title]


class FrontDesk:
    """Decides, counts and passes on; safe for many threads.

    on_news: gets each object that was stored, refused or came home. on_visit: gets each
    association that ended, or was not let in. services: answer what receivers ask.
    """

    def __init__(
        self,
        policy: Policy,
        gate: Gate,
        *,
        on_news: Callable[[News], None],
        on_visit: Callable[[SenderVisit], None],
        services: Mapping[str, Service],
    ) -> None:
        self._policy: Final = policy
        self._gate: Final = gate
        self._on_news: Final = on_news
        self._on_visit: Final = on_visit
        self._services: Final = services
        self._places: dict[str, _Places] = {}
        self._lock = threading.Lock()

    def for_receiver(self, name: str) -> "DeskOfReceiver":
        """Return the desk as one receiver sees it; what it holds goes with `forget`."""
        return DeskOfReceiver(self, name)

    def forget(self, receiver: str) -> None:
        """Give back all places of a receiver that is gone."""
        with self._lock:
            self._places.pop(receiver, None)
            self._show()

    def may_connect(self, address: str) -> bool:
        """Whether a connection from there may come to anything, for what costs more than one."""
        return may_connect(self._policy.callers, address)

    def enter(self, receiver: str, request: Request) -> Rejection | None:
        """Let an association in, or return why not."""
        calling = request.calling_ae_title.strip()
        with self._lock:
            everywhere = [places.taken for places in self._places.values()]
            found = rejection(
                request,
                self._policy,
                Occupancy(
                    open=sum(taken.total() for taken in everywhere),
                    of_caller=sum(taken[calling] for taken in everywhere),
                    overloaded=self._gate.closed() is not None,
                ),
            )
            if found is None:
                self._places.setdefault(receiver, _Places()).taken[calling] += 1
        if found is not None:
            self._turn_away(calling, request, found)
        return found

    def _turn_away(self, calling: str, request: Request, found: Rejection) -> None:
        metrics.association("rejected")
        metrics.rejected(found.kind)
        logger.warning(
            "association rejected",
            extra={
                "calling": calling,
                "called": request.called_ae_title.strip(),
                "address": request.address,
                "reason": found.kind,
            },
        )
        self._on_visit(
            SenderVisit(
                calling_ae_title=AETitle(calling),
                address=request.address,
                ended_at=datetime.now(UTC),
                outcome="rejected",
            )
        )

    def established(self, receiver: str) -> None:
        """Count an association that stands."""
        with self._lock:
            self._places.setdefault(receiver, _Places()).standing += 1
            self._show()

    def leave(self, receiver: str, visit: SenderVisit, *, stood: bool = True) -> None:
        """Give a place back. stood: whether the association was ever established."""
        with self._lock:
            places = self._places.setdefault(receiver, _Places())
            places.give_back(visit.calling_ae_title)
            places.standing = max(places.standing - stood, 0)
            self._show()
        metrics.association("aborted" if visit.outcome == "aborted" else "released")
        logger.info(
            "association ended",
            extra={
                "calling": visit.calling_ae_title,
                "address": visit.address,
                "outcome": visit.outcome,
                "seconds": round(visit.seconds, 3),
                "instances": visit.instances,
                "duplicates": visit.duplicates,
                "refused": visit.refused,
                "bytes": visit.size_bytes,
            },
        )
        self._on_visit(visit)

    def withdraw(self, receiver: str, calling_ae_title: str) -> None:
        """Give back the place of an association that no longer waited for it."""
        with self._lock:
            self._places.setdefault(receiver, _Places()).give_back(calling_ae_title.strip())
        metrics.association("aborted")

    def refused_handshake(self, kind: str, address: str) -> None:
        """Count a connection that got no further than its handshake."""
        metrics.association("rejected")
        metrics.rejected("tls")
        logger.warning("TLS handshake refused", extra={"reason": kind, "address": address})

    def tell(self, news: News) -> None:
        """Count an object and pass it on."""
        metrics.instance_received(news.outcome, news.size_bytes)
        metrics.store_seconds(news.seconds)
        if news.outcome == "refused":
            metrics.refused(news.code)
            logger.warning(
                "instance refused",
                extra={
                    "code": news.code,
                    "calling": news.calling_ae_title,
                    "bytes": news.size_bytes,
                },
            )
        self._on_news(news)

    def ask(self, service: str, body: Body) -> Body:
        """Answer what needs the ledger."""
        return self._services[service](body)

    def _show(self) -> None:
        metrics.associations_open(sum(p.standing for p in self._places.values()))


class DeskOfReceiver:
    """The front desk, for one receiver in the same process."""

    def __init__(self, desk: FrontDesk, receiver: str) -> None:
        self._desk: Final = desk
        self._receiver: Final = receiver

    def enter(self, request: Request) -> Rejection | None:
        """See `Desk`."""
        return self._desk.enter(self._receiver, request)

    def established(self) -> None:
        """See `Desk`."""
        self._desk.established(self._receiver)

    def leave(self, visit: SenderVisit, *, stood: bool = True) -> None:
        """See `Desk`."""
        self._desk.leave(self._receiver, visit, stood=stood)

    def withdraw(self, calling_ae_title: str) -> None:
        """Give back a place that was given when nobody waited for it any more."""
        self._desk.withdraw(self._receiver, calling_ae_title)

    def closed(self) -> None:
        """See `Desk`; a receiver in this process is not counted."""

    def refused_handshake(self, kind: str, address: str) -> None:
        """See `Desk`."""
        self._desk.refused_handshake(kind, address)

    def tell(self, news: News) -> None:
        """See `Desk`."""
        self._desk.tell(news)

    def ask(self, service: str, body: Body) -> Body:
        """See `Desk`."""
        return self._desk.ask(service, body)
