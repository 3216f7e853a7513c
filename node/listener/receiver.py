"""The associations of one process: a thread for each, and the journal that they write."""

import contextlib
import ctypes
import gc
import logging
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pynetdicom import AE

from node.domain.errors import SpoolUnwritable
from node.domain.ids import AETitle
from node.listener import commitment, mpps
from node.listener.arrival import Shelf
from node.listener.desk import REGISTRAR, Desk
from node.listener.gate import Gate
from node.listener.reception import Reception
from node.listener.requests import TRANSFER_SYNTAXES
from node.net.conversation import Conversation
from node.net.dimse import VERIFICATION, identify
from node.net.storing import ConversationLimits, Ending
from node.net.tls import ServerTls, TlsOptions, TlsRefused, subject_of
from node.store.journal import Journal
from node.store.spool import Spool

logger: Final = logging.getLogger(__name__)

STOP_LIMIT_S: Final = 5.0
NO_LIMIT: Final = 1_000_000
TIDY_S: Final = 0.25
LOWEST_PRIORITY: Final = 19
FEW_BLANKS: Final = 64

CROWD: Final = 64
"""More connections at once than honest senders have; rejected ones, that is."""

HUNG_UP: Final = frozenset(
    {Ending.SILENT, Ending.SLOW, Ending.LONG, Ending.TOO_MANY, Ending.PROTOCOL, Ending.CRASHED}
)
"""Ends of associations that their peers have neither asked for nor caused by going away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """How associations are served. longest: bytes of one data set."""

    ae_title: AETitle
    limits: ConversationLimits
    max_pdu: int
    longest: int
    tls: TlsOptions | None = None


class Receiver:
    """Serves connections that are handed to it."""

    def __init__(self, options: ReceiverOptions, spool: Spool, gate: Gate, desk: Desk) -> None:
        """Open a journal. Raises SpoolUnwritable."""
        self._options: Final = options
        self._desk: Final = desk
        self._tls: Final = ServerTls(options.tls) if options.tls is not None else None
        self._journal: Final = Journal(spool)
        self._shelf: Final = Shelf(
            spool=spool, journal=self._journal, gate=gate, longest=options.longest
        )
        self._ae: Final = _application_entity(options)
        ask = partial(desk.ask, REGISTRAR)
        self._services: Final = [*mpps.handlers(ask), *commitment.handlers(ask)]
        self._served: dict[threading.Thread, socket.socket | Conversation] = {}
        self._lock: Final = threading.Lock()
        self._most = 0  # served at once, since memory was given back
        self._fault: str | None = None  # why there are no blanks
        self._stopping: Final = threading.Event()
        self._has_ended: Final = threading.Event()
        self._ready = 0
        self._tidier: Final = threading.Thread(target=self._tidy, name="tidy", daemon=True)
        self._tidier.start()

    def take(self, connection: socket.socket, address: tuple[Any, ...], *, tls: bool) -> None:
        """Serve a connection in a thread of its own. tls: it begins with a handshake."""
        thread = threading.Thread(
            target=self._serve, args=(connection, address, tls), name="association", daemon=True
        )
        with self._lock:
            if self._stopping.is_set():
                connection.close()
                return
            self._served[thread] = connection
            self._most = max(self._most, len(self._served))
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            with self._lock:
                del self._served[thread]
            connection.close()
            raise

    def stop(self) -> None:
        """End every association; what is being committed is finished first."""
        with self._lock:
            self._stopping.set()
            served = dict(self._served)
        for one in served.values():
            _end(one)
        deadline = time.monotonic() + STOP_LIMIT_S
        for thread in served:
            thread.join(max(deadline - time.monotonic(), 0.0))
        for thread, one in served.items():
            if thread.is_alive() and isinstance(one, Conversation):
                one.cut()
                thread.join(STOP_LIMIT_S)
        self._tidier.join()
        self._journal.close()

    def _shake_hands(
        self, connection: socket.socket, address: tuple[Any, ...]
    ) -> ssl.SSLSocket | None:
        if self._tls is None:
            connection.close()
            return None
        try:
            return self._tls.shake_hands(connection, self._options.limits.patience_s)
        except TlsRefused as refused:
            self._desk.refused_handshake(refused.kind, str(address[0]))
            return None

    def _tidy(self) -> None:
        """Keep blanks ready and memory small, at the lowest priority of a thread in Linux."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
        while not self._stopping.is_set():
            self._refill()
            if self._has_ended.is_set():
                # pynetdicom's objects of an association hold each other, and may hold much.
                self._has_ended.clear()
                gc.collect()
                self._recover_from_a_crowd()
            self._stopping.wait(TIDY_S)

    def _recover_from_a_crowd(self) -> None:
        """Give memory back when many were here at once, and all are gone."""
        with self._lock:
            is_over = not self._served and self._most >= CROWD
            if is_over:
                self._most = 0
        if is_over:
            give_memory_back()

    def _refill(self) -> None:
        """Make blanks, when nobody takes them just now or few are left.

        Says once why there can be none, for the disk may be full for hours.
        """
        ready, before = self._journal.ready, self._ready
        self._ready = ready
        if FEW_BLANKS <= ready < before:
            return
        fault = None
        try:
            self._journal.refill()
        except SpoolUnwritable as error:
            fault = error.what
        if fault is not None and fault != self._fault:
            logger.warning("no blanks can be made", extra={"reason": fault})
        self._fault = fault

    def _serve(self, connection: socket.socket, address: tuple[Any, ...], tls: bool) -> None:
        reception = Reception(self._shelf, self._desk)
        subject = ""
        try:
            if tls:
                secured = self._shake_hands(connection, address)
                if secured is None:
                    return
                connection, subject = secured, subject_of(secured)
            conversation = Conversation(
                self._ae,
                connection,
                address,
                [*reception.handlers(), *self._services],
                reception,
                self._options.limits,
                tls_subject=subject,
            )
            with self._lock:
                if self._stopping.is_set():
                    connection.close()
                    return
                self._served[threading.current_thread()] = conversation
            conversation.run()
            _tell_of_the_end(conversation.association.ending, address)
        except Exception as error:  # the edge: one association must not end the others
            logger.error("an association crashed", exc_info=error)  # noqa: TRY400 -- see above
            with contextlib.suppress(OSError):
                connection.close()
        finally:
            reception.leave()
            with self._lock:
                self._served.pop(threading.current_thread(), None)
            self._has_ended.set()
            self._desk.closed()


def _end(one: socket.socket | Conversation) -> None:
    """End a conversation when what is in hand is finished, or a handshake at once."""
    if isinstance(one, Conversation):
        one.end()
        return
    with contextlib.suppress(OSError):  # it ended by itself
        one.shutdown(socket.SHUT_RDWR)


def give_memory_back() -> None:
    """Have the C library return to the system what is free between what is used, if it can.

    Allocations of other threads may wait for some 50 ms.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _tell_of_the_end(ending: Ending | None, address: tuple[Any, ...]) -> None:
    """Say why we have hung up, if it was us: what peers do wrong is seen nowhere else."""
    if ending in HUNG_UP:
        extra = {"why": ending.value, "address": str(address[0])}
        logger.warning("an association was cut off", extra=extra)


def _application_entity(options: ReceiverOptions) -> AE:
    ae = AE(ae_title=options.ae_title)
    identify(ae)
    ae.maximum_pdu_size = options.max_pdu
    ae.maximum_associations = NO_LIMIT  # the front desk has its own
    # Storage needs no entry: every storage context is accepted, see node.net.dimse.
    ae.add_supported_context(VERIFICATION)
    for service in (*mpps.CONTEXTS, *commitment.CONTEXTS):
        ae.add_supported_context(service, list(TRANSFER_SYNTAXES))
    return ae
