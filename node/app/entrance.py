"""The ways in, from the configuration: associations, STOW-RS and the drop folder."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from node.app.settings import MIB, Settings
from node.app.wiring import CLOCK
from node.domain.errors import Overloaded, SpoolUnwritable
from node.domain.ids import AETitle
from node.listener.callers import Policy, parse_callers, parse_networks
from node.listener.clerk import Clerk
from node.listener.desk import REGISTRAR, News
from node.listener.drop import DropFolder, DropOptions
from node.listener.front_desk import FrontDesk
from node.listener.gate import WORDS, Gate, Watermarks
from node.listener.receiver import ReceiverOptions
from node.listener.registrar import Registrar
from node.listener.sentry import Sentry
from node.listener.server import Listener, ListenerOptions
from node.net.dimse import MAX_PDU
from node.net.scu import Peer
from node.net.storing import ConversationLimits
from node.store.admit import Admission, Admitter, Incoming
from node.store.ledger import Ledger
from node.store.settle import Settler
from node.store.spool import UNFINISHED, Spool
from node.web.stow import StowOptions, stow_router

PARTS: Final = UNFINISHED
"""Where objects lie that do not come over an association, in files without a name."""

MOST_PROCESSES: Final = 4
"""Receivers that are started unless the configuration says how many."""


_Part = Clerk | Sentry | Listener | DropFolder


class Entrance:
    """Everything that takes images in and writes them down; started and stopped as one.

    on_settled: called whenever more is known of a study.
    """

    def __init__(
        self, settings: Settings, spool: Spool, ledger: Ledger, *, on_settled: Callable[[], None]
    ) -> None:
        self._settings: Final = settings
        self._spool: Final = spool
        self._settler: Final = Settler(spool, ledger, CLOCK)
        self._admitter: Final = Admitter(spool, ledger, CLOCK)
        self._on_settled: Final = on_settled
        self._gate: Final = Gate()
        self._clerk: Final = Clerk(self._settler, ledger, CLOCK, on_settled=on_settled)
        self._sentry: Final = Sentry(
            self._gate,
            watermarks(settings),
            spool=spool,
            ledger=ledger,
            clerk=self._clerk,
        )
        self._registrar: Final = Registrar(
            ledger,
            spool,
            CLOCK,
            peers=callers_of(settings),
            settling=lambda: self._clerk.unsettled > 0,
        )
        desk = FrontDesk(
            policy(settings),
            self._gate,
            on_news=self._file,
            on_visit=self._clerk.note,
            services={REGISTRAR: self._registrar.answer},
        )
        self._listener: Final = Listener(
            listener_options(settings),
            spool,
            self._gate,
            desk,
            on_death=self._clerk.look_for_orphans,
        )
        self._drop: Final = drop_folder(settings, spool, self._admit)
        self._started: Final = ExitStack()

    def recover(self) -> int:
        """Settle what a crash left in journals; return how many instances that was.

        Raises LedgerUnavailable, SpoolUnwritable.
        """
        return self._settler.recover()

    def start(self) -> None:
        """Take images in. Raises ConfigurationInvalid, SpoolUnwritable; then nothing runs."""
        with ExitStack() as started:
            started.callback(self._gate.close)
            started.callback(self._admitter.close)
            stop = threading.Event()
            callback = threading.Thread(target=self._registrar.run, args=(stop,), name="callback")
            callback.start()
            started.callback(callback.join)
            started.callback(self._registrar.wake)
            started.callback(stop.set)
            parts: list[_Part] = [self._clerk, self._sentry, self._listener]
            for part in [*parts, self._drop] if self._drop is not None else parts:
                part.start()
                started.callback(part.stop)
            # First of all, too: where the ledger does not answer, each attempt takes its time.
            started.callback(self._registrar.wake)
            started.callback(stop.set)
            self._started.push(started.pop_all())

    def stop(self) -> None:
        """Take nothing more in, and write down what came, if the ledger answers."""
        self._started.close()

    def refusing(self) -> str | None:
        """Return why nothing more is taken in, None while it is."""
        cause = self._sentry.cause
        return None if cause is None else WORDS[cause]

    def stow_routes(self) -> Any:
        """Return the routes for STOW-RS, None when nobody may send there.

        Raises ConfigurationInvalid for a token file that cannot be used, SpoolUnwritable.
        """
        http, resolve = self._settings.http, self._settings.resolve
        if not http.stow_from:
            return None
        options = StowOptions(
            networks=parse_networks(http.stow_from),
            temporary=self._spool.path(PARTS),
            instance_bytes=self._settings.listen.limits.instance_mib * MIB,
            token_file=None if http.stow_token_file is None else resolve(http.stow_token_file),
        )
        try:
            return stow_router(options, self._admit, ready=self._check_open)
        except OSError as error:
            message = f"there can be no folder for STOW-RS in the spool: {error.strerror}"
            raise SpoolUnwritable(message) from error

    def _file(self, news: News) -> None:
        if news.path:
            self._clerk.put(Path(news.path))
        elif news.outcome in ("ours", "refused"):
            self._clerk.note(news)

    def _admit(self, incoming: Incoming) -> Admission:
        """Take in what does not come over an association."""
        self._check_open()
        admission = self._admitter.admit(incoming)
        self._on_settled()
        return admission

    def _check_open(self) -> None:
        cause = self._gate.closed()
        if cause is not None:
            raise Overloaded(f"Nothing more is taken in: {WORDS[cause]}.")


def policy(settings: Settings) -> Policy:
    """Return who may send."""
    listen = settings.listen
    return Policy(
        ae_title=settings.ae_title,
        callers=parse_callers(listen.callers),
        require_called_ae_title=listen.require_called_ae_title,
        most=listen.max_associations,
        most_per_caller=listen.max_associations_per_caller,
    )


def watermarks(settings: Settings) -> Watermarks:
    """Return when new images are refused."""
    overload = settings.overload
    return Watermarks(
        free_bytes=overload.min_free_mib * MIB,
        free_inodes=overload.min_free_inodes,
        unsettled=overload.most_unsettled,
        waiting_analyses=overload.most_waiting_analyses,
    )


def listener_options(settings: Settings) -> ListenerOptions:
    """Return where to listen, by how many processes, and how associations are served."""
    listen = settings.listen
    receiver = ReceiverOptions(
        ae_title=AETitle(settings.ae_title),
        limits=ConversationLimits(
            patience_s=listen.patience_s,
            idle_s=listen.idle_timeout_s,
            message_s=listen.limits.message_s,
            association_s=listen.limits.association_s,
            instances=listen.limits.instances_per_association,
        ),
        max_pdu=MAX_PDU,
        longest=listen.limits.instance_mib * MIB,
        tls=settings.tls_options,
    )
    return ListenerOptions(
        receiver=receiver,
        host=listen.host,
        port=listen.port,
        tls_port=listen.tls.port if listen.tls is not None else None,
        patience_s=listen.patience_s,
        processes=listen.processes or min(os.cpu_count() or 1, MOST_PROCESSES),
        log_level=settings.log_level,
    )


def named_senders(settings: Settings) -> tuple[AETitle, ...]:
    """Return the AE titles that the list of callers names."""
    callers = parse_callers(settings.listen.callers)
    return tuple(AETitle(caller.ae_title) for caller in callers if caller.ae_title is not None)


def callers_of(settings: Settings) -> dict[AETitle, Peer]:
    """Return where callers listen themselves, by AE title, for what they are told later."""
    return {
        AETitle(title): Peer(
            ae_title=AETitle(title),
            host=caller.host,
            port=caller.port,
            calling_ae_title=AETitle(settings.ae_title),
        )
        for title, caller in settings.listen.peers.items()
    }


def drop_folder(
    settings: Settings, spool: Spool, admit: Callable[[Incoming], Admission]
) -> DropFolder | None:
    """Return the watched folder, None when there is none."""
    if settings.drop.folder is None:
        return None
    options = DropOptions(
        folder=settings.resolve(settings.drop.folder),
        temporary=spool.path(PARTS),
        largest_bytes=settings.listen.limits.instance_mib * MIB,
    )
    return DropFolder(options, admit)
