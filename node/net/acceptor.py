"""A listening port on which pynetdicom serves associations, behind a Door."""

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.transport import AssociationServer

from node.domain.errors import ConfigurationInvalid
from node.net.dimse import BACKLOG, PeerRequestHandler, end_all, resolve, stop_waiting, tune
from node.net.door import Door

STOP_LIMIT_S: Final = 5.0

Handler = tuple[Any, Callable[[evt.Event], Any]]


class _Server(AssociationServer):  # type: ignore[misc]
    """Holds the listening socket and the handlers; the Door accepts in its place."""

    request_queue_size = BACKLOG


class Acceptor:
    """Accepts associations for an application entity, in the background.

    handlers: (event, function) of pynetdicom. patience_s: how long a connection may take to
    ask for an association. on_ignored: called for each connection that never does.
    """

    def __init__(
        self,
        ae: Any,
        address: tuple[str, int],
        handlers: Sequence[Handler],
        *,
        patience_s: float,
        on_ignored: Callable[[], None] = lambda: None,
    ) -> None:
        self._ae: Final = ae
        self._host, self._asked_port = address
        self._handlers: Final = [
            (evt.EVT_CONN_OPEN, tune),
            (evt.EVT_CONN_CLOSE, stop_waiting),
            *handlers,
        ]
        self._patience_s: Final = patience_s
        self._on_ignored: Final = on_ignored
        self._server: Any = None
        self._door: Door | None = None

    @property
    def port(self) -> int:
        """The bound port; the one asked for while not started."""
        return self._asked_port if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and accept. Raises ConfigurationInvalid when the address cannot be bound."""
        try:
            address = (resolve(self._host, self._asked_port), self._asked_port)
            self._server = self._ae.make_server(
                address,
                evt_handlers=self._handlers,
                server_class=_Server,
                request_handler=PeerRequestHandler,
            )
        except OSError as error:
            text = f"cannot listen on {self._host}:{self._asked_port}: {error.strerror}"
            raise ConfigurationInvalid(text) from error
        self._asked_port = self.port
        self._door = Door(
            self._server.socket,
            self._associate,
            patience_s=self._patience_s,
            on_ignored=self._on_ignored,
        )
        self._door.start()

    def stop(self) -> None:
        """Accept no more, abort every association and wait for its threads."""
        if self._door is None:
            return
        self._door.stop()
        self._door = None
        self._server.server_close()
        end_all(self._server.active_associations, within_s=STOP_LIMIT_S)

    def _associate(self, connection: socket.socket, address: Any) -> None:
        self._server.finish_request(connection, address)
