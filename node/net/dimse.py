"""What Segnode changes in pynetdicom: settings for the process, and its sockets.

Whoever uses pynetdicom in Segnode imports this first. The version range in pyproject.toml is
narrow because of the few inner parts that are replaced here.
"""

import contextlib
import socket
from typing import Any, Final

from pynetdicom import AE, _config, evt
from pynetdicom.transport import AssociationSocket

from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# Offered storage contexts are accepted whatever their SOP class is, known or not, with the
# sender's first transfer syntax; single instances are then refused with a named reason.
_config.UNRESTRICTED_STORAGE_SERVICE = True
# Files are sent as the bytes that they are, not decoded and encoded again.
_config.STORE_SEND_CHUNKED_DATASET = True
# The stock handlers write every message into the log, with what it holds.
_config.LOG_HANDLER_LEVEL = "none"

MAX_PDU: Final = 131072
"""Longest P-DATA-TF that we ask peers for."""

LONGEST_PDU: Final = 2**20
"""Longest PDU that is read at all; pynetdicom would trust any 32-bit length."""

BACKLOG: Final = 512
"""Connections that the kernel keeps while none is accepted (pynetdicom: 5)."""

VERIFICATION: Final = "1.2.840.10008.1.1"
SUCCESS: Final = 0x0000


class PeerSocket(AssociationSocket):  # type: ignore[misc]
    """A socket that reads PDUs in one go, within a limit, and always closes."""

    _was_connected = False

    @property
    def _is_connected(self) -> bool:
        """Whether there was ever a connection.

        Whoever requests looks at it after the request has left. The stock flag is then down
        again when a rejection came at once, and the peer seems not to be there.
        """
        return self._was_connected

    @_is_connected.setter
    def _is_connected(self, value: bool) -> None:
        self._was_connected = self._was_connected or value

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly nr_bytes, fewer when the peer closes.

        Raises OSError for a PDU that is too long; pynetdicom then drops the connection.
        """
        if nr_bytes > LONGEST_PDU:
            raise OSError("a PDU is longer than any that is taken")
        data = bytearray(nr_bytes)
        view, filled = memoryview(data), 0
        while filled < nr_bytes:
            count = self.socket.recv_into(view[filled:])
            if count == 0:
                break
            filled += count
        view.release()
        del data[filled:]
        return data

    def _shutdown_socket(self) -> None:
        """Close the socket also when it is not connected, where the stock one leaves it open."""
        if self.socket is None:
            return
        with contextlib.suppress(OSError):  # the peer was first
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class CallingAE(AE):  # type: ignore[misc]
    """An application entity that calls with our sockets and our identity."""

    def __init__(self, ae_title: str, *, timeout_s: float) -> None:
        super().__init__(ae_title=ae_title)
        identify(self)
        self.acse_timeout = self.dimse_timeout = timeout_s
        self.network_timeout = self.connection_timeout = timeout_s

    def _create_socket(self, assoc: Any, address: Any, tls_args: Any) -> PeerSocket:
        wrapper = PeerSocket(assoc, address=address)
        wrapper.tls_args = tls_args
        return wrapper


def identify(ae: Any) -> None:
    """Let an application entity say in every association that it is Segnode."""
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME


def tune(event: evt.Event) -> None:
    """Set up the socket of a connection that we open (handler of EVT_CONN_OPEN).

    Without TCP_NODELAY a small PDU waits for the peer's delayed acknowledgement, 40 ms an
    image; without a timeout a silent or stuck peer holds two threads for ever.
    """
    wrapper = event.assoc.dul.socket
    connection = wrapper.socket if wrapper is not None else None
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(event.assoc.network_timeout)


def resolve(host: str, port: int) -> str:
    """Return a numeric address for a host name, IPv4 if there is one. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    best = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return str(best[4][0])
