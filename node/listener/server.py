"""The listener: a door on each port, and receivers behind them."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from node.domain.errors import ConfigurationInvalid
from node.listener.front_desk import FrontDesk
from node.listener.gate import Gate
from node.listener.receiver import Receiver, ReceiverOptions
from node.listener.receiver_process import charge
from node.listener.staff import Staff
from node.net.dimse import BACKLOG, resolve
from node.net.door import ASSOCIATE_RQ, CLIENT_HELLO, Door
from node.store.spool import Spool
from node.telemetry import metrics

RECEIVER_HERE: Final = "receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOptions:
    """Where to listen and by how many processes.

    port, tls_port: 0 takes any free one; None opens no TLS port. patience_s: how long a
    connection may take to ask for something. processes: 0 serves associations in this one.
    """

    receiver: ReceiverOptions
    host: str = "127.0.0.1"
    port: int = 11112
    tls_port: int | None = None
    patience_s: float = 10.0
    processes: int = 0
    log_level: str = "INFO"


class Listener:
    """Storage, verification and what else the receivers offer, on one or two ports.

    on_death: called when a receiving process is gone, whose journal is then to be settled.
    """

    def __init__(
        self,
        options: ListenerOptions,
        spool: Spool,
        gate: Gate,
        desk: FrontDesk,
        *,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self._options: Final = options
        self._spool: Final = spool
        self._gate: Final = gate
        self._desk: Final = desk
        self._on_death: Final = on_death
        self._sockets: dict[bytes, socket.socket] = {}
        self._started: ExitStack | None = None

    @property
    def port(self) -> int:
        """The bound port; the one asked for while not started."""
        return self._bound(ASSOCIATE_RQ, self._options.port)

    @property
    def tls_port(self) -> int | None:
        """The bound TLS port, None when there is none."""
        asked = self._options.tls_port
        return None if asked is None else self._bound(CLIENT_HELLO, asked)

    def start(self) -> None:
        """Bind and listen in the background.

        Raises ConfigurationInvalid when an address cannot be bound or a certificate not be
        read, SpoolUnwritable.
        """
        with ExitStack() as started:
            take = self._open_receivers(started)
            self._open_door(started, ASSOCIATE_RQ, self._options.port, take)
            if self._options.tls_port is not None:
                self._open_door(started, CLIENT_HELLO, self._options.tls_port, take)
            self._started = started.pop_all()

    def stop(self) -> None:
        """Accept no more, end every association, wait for all threads and processes.

        What is being committed is finished; what was not acknowledged stays with its sender.
        """
        if self._started is not None:
            self._started.close()
            self._started = None
            self._sockets.clear()

    def _bound(self, first: bytes, asked: int) -> int:
        found = self._sockets.get(first)
        return asked if found is None else int(found.getsockname()[1])

    def _open_receivers(self, started: ExitStack) -> Callable[..., None]:
        options = self._options
        if options.processes == 0:
            desk = self._desk.for_receiver(RECEIVER_HERE)
            receiver = Receiver(options.receiver, self._spool, self._gate, desk)
            started.callback(self._desk.forget, RECEIVER_HERE)
            started.callback(receiver.stop)
            return receiver.take
        staff = Staff(
            options.processes,
            charge(options.receiver, self._spool, options.log_level),
            self._gate,
            self._desk,
            on_death=self._on_death,
        )
        started.callback(staff.stop)
        staff.start()
        return staff.take

    def _open_door(
        self, started: ExitStack, first: bytes, port: int, take: Callable[..., None]
    ) -> None:
        listening = self._sockets[first] = _listen(self._options.host, port)
        started.callback(listening.close)

        def take_over(connection: socket.socket, address: Any) -> None:
            tls = first == CLIENT_HELLO
            if tls and not self._desk.may_connect(str(address[0])):
                connection.close()
                self._desk.refused_handshake("stranger", str(address[0]))
                return
            take(connection, address, tls=tls)

        door = Door(
            listening,
            take_over,
            patience_s=self._options.patience_s,
            first=first,
            on_ignored=lambda: metrics.association("ignored"),
        )
        door.start()
        started.callback(door.stop)


def _listen(host: str, port: int) -> socket.socket:
    """Bind and listen. Raises ConfigurationInvalid."""
    try:
        address = resolve(host, port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        raise ConfigurationInvalid(message) from error
    return listening
