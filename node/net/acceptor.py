"""A listening port with a Door, and a thread for each association behind it."""

import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

from node.domain.errors import ConfigurationInvalid
from node.net.conversation import Conversation, Handler
from node.net.dimse import BACKLOG, resolve
from node.net.door import Door
from node.net.storing import ConversationLimits, Storing

STOP_LIMIT_S: Final = 5.0


class Acceptor:
    """Serves associations for an application entity, in the background.

    handlers: (event, function) of pynetdicom. limits: of each association.
    """

    def __init__(
        self,
        ae: Any,
        address: tuple[str, int],
        handlers: Sequence[Handler],
        storing: Storing,
        limits: ConversationLimits,
    ) -> None:
        self._ae: Final = ae
        self._host, self._port = address
        self._handlers: Final = handlers
        self._storing: Final = storing
        self._limits: Final = limits
        self._listening: socket.socket | None = None
        self._door: Door | None = None
        self._served: dict[threading.Thread, Conversation] = {}
        self._lock: Final = threading.Lock()

    @property
    def port(self) -> int:
        """The bound port; the one asked for while not started."""
        return self._port

    def start(self) -> None:
        """Bind and accept. Raises ConfigurationInvalid when the address cannot be bound."""
        try:
            address = (resolve(self._host, self._port), self._port)
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self._listening = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            text = f"cannot listen on {self._host}:{self._port}: {error.strerror}"
            raise ConfigurationInvalid(text) from error
        self._port = int(self._listening.getsockname()[1])
        self._door = Door(self._listening, self._serve, patience_s=self._limits.patience_s)
        self._door.start()

    def stop(self) -> None:
        """Accept no more, abort every association and wait for its thread."""
        if self._door is None or self._listening is None:
            return
        self._door.stop()
        self._door = None
        self._listening.close()
        with self._lock:
            served = dict(self._served)
        for conversation in served.values():
            conversation.end()
        for thread, conversation in served.items():
            thread.join(STOP_LIMIT_S)
            conversation.cut()
            thread.join(STOP_LIMIT_S)

    def _serve(self, connection: socket.socket, address: Any) -> None:
        conversation = Conversation(
            self._ae, connection, address, self._handlers, self._storing, self._limits
        )
        thread = threading.Thread(
            target=self._converse, args=(conversation,), name="association", daemon=True
        )
        with self._lock:
            self._served[thread] = conversation
        try:
            thread.start()
        except RuntimeError:  # no thread to be had
            self._forget(thread)
            raise

    def _converse(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        finally:
            self._forget(threading.current_thread())

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._served.pop(thread, None)
