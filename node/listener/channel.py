"""Messages and connections between `serve` and its receiving processes, over a socket pair.

Each message is one datagram of JSON; a connection travels with its message as a descriptor.
"""

import json
import socket
import threading
from typing import Any, Final

LARGEST: Final = 128 * 1024
"""Bytes of one message; a sequenced-packet socket takes it whole."""

BUFFER: Final = 4 * 1024 * 1024

Message = dict[str, Any]


class Channel:
    """One end; sending is safe from many threads, receiving is for one."""

    def __init__(self, end: socket.socket) -> None:
        self._end: Final = end
        self._sending: Final = threading.Lock()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    @classmethod
    def pair(cls) -> tuple["Channel", socket.socket]:
        """Return our end, and the other one to hand on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def send(self, message: Message, connection: socket.socket | None = None) -> None:
        """Send a message, with a connection where one is given. Raises OSError when it is over."""
        data = json.dumps(message, separators=(",", ":")).encode()
        with self._sending:
            if connection is None:
                self._end.sendall(data)
            else:
                socket.send_fds(self._end, [data], [connection.fileno()])

    def receive(self) -> tuple[Message, socket.socket | None] | None:
        """Wait for a message; None when the other end is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, LARGEST, 1)
        except OSError:
            return None
        if not data:
            return None
        connection = socket.socket(fileno=descriptors[0]) if descriptors else None
        message: Message = json.loads(data)
        return message, connection

    def hang_up(self) -> None:
        """Let both ends see that it is over; what was sent can still be received."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other end was first

    def close(self) -> None:
        """Close this end."""
        self._end.close()
