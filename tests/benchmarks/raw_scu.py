"""A C-STORE sender that speaks the protocol byte by byte: fast, and it can be rude on purpose.

It shares no code with what it measures. Encodings: PS3.8 section 9.3, PS3.7 section 9.3.1.
"""

import socket
import ssl
import struct
from types import TracebackType
from typing import Final, Self

from tests.benchmarks.corpus import CALLING
from tests.support.dicom_objects import EXPLICIT, MR

APPLICATION: Final = b"1.2.840.10008.3.1.1.1"
ASSOCIATE_AC: Final = 2
P_DATA: Final = 4
CONTEXT: Final = 1
LAST_COMMAND: Final = 3
DATA: Final = 0
LAST_DATA: Final = 2
SUCCESS: Final = 0x0000
HEADER: Final = struct.Struct(">BBI")
FRAGMENT: Final = struct.Struct(">IBB")
LONGEST: Final = 128 * 1024
"""Bytes of a PDU, when the receiver takes so many."""


class Refused(Exception):
    """The association was not accepted."""


class RawSender:
    """One association on a socket of its own, for MR images in explicit VR little endian."""

    def __init__(
        self,
        port: int,
        *,
        called: str = "SEGNODE",
        calling: str = CALLING,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Connect and associate. Raises Refused or OSError."""
        plain = socket.create_connection(("127.0.0.1", port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket: Final = (
            plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        )
        self._number = 0
        self.socket.sendall(associate_request(called, calling))
        kind, body = self._pdu()
        if kind != ASSOCIATE_AC:
            self.socket.close()
            raise Refused(f"PDU of type {kind} in answer: {body.hex()}")
        self.longest: Final = min(_longest_pdu(body) or LONGEST, LONGEST)

    def store(self, uid: str, data_set: bytes) -> int:
        """Send an instance and return the status of the answer. Raises OSError when lost."""
        self._number = self._number % 0xFFFF + 1
        self.socket.sendall(self.request(uid, data_set))
        kind, body = self._pdu()
        if kind != P_DATA:
            raise ConnectionError(f"PDU of type {kind} instead of an answer")
        return _status(body[6:])

    def request(self, uid: str, data_set: bytes) -> bytes:
        """Return the bytes of a whole C-STORE request."""
        pdus = [_p_data(LAST_COMMAND, _command(uid, self._number))]
        step = self.longest - FRAGMENT.size
        for start in range(0, len(data_set), step):
            is_last = start + step >= len(data_set)
            pdus.append(_p_data(LAST_DATA if is_last else DATA, data_set[start : start + step]))
        return b"".join(pdus)

    def release(self) -> None:
        """Ask for the end, and wait for the consent."""
        self.socket.sendall(HEADER.pack(5, 0, 4) + bytes(4))
        self._pdu()
        self.socket.close()

    def abort(self) -> None:
        """End at once."""
        self.socket.sendall(HEADER.pack(7, 0, 4) + bytes(4))
        self.socket.close()

    def _pdu(self) -> tuple[int, bytes]:
        kind, _, length = HEADER.unpack(self._exactly(HEADER.size))
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            more = self.socket.recv(size - len(found))
            if not more:
                raise ConnectionError("the receiver hung up")
            found += more
        return bytes(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.release()
        self.socket.close()


def associate_request(called: str, calling: str) -> bytes:
    """Return an A-ASSOCIATE-RQ for MR images in explicit VR little endian."""
    context = struct.pack(">BBBB", CONTEXT, 0, 0, 0) + _item(0x30, MR.encode())
    context += _item(0x40, EXPLICIT.encode())
    user = _item(0x51, struct.pack(">I", LONGEST)) + _item(0x52, b"1.2.826.0.1.3680043.10.9.77")
    items = _item(0x10, APPLICATION) + _item(0x20, context) + _item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + items
    return HEADER.pack(1, 0, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _p_data(control: int, fragment: bytes) -> bytes:
    head = HEADER.pack(P_DATA, 0, FRAGMENT.size + len(fragment))
    return head + FRAGMENT.pack(len(fragment) + 2, CONTEXT, control) + fragment


def _command(uid: str, number: int) -> bytes:
    elements = (
        _element(0x0002, _padded(MR))
        + _element(0x0100, struct.pack("<H", 0x0001))
        + _element(0x0110, struct.pack("<H", number))
        + _element(0x0700, struct.pack("<H", 0))
        + _element(0x0800, struct.pack("<H", 0x0001))
        + _element(0x1000, _padded(uid))
    )
    return _element(0x0000, struct.pack("<I", len(elements))) + elements


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, number, len(value)) + value


def _padded(uid: str) -> bytes:
    value = uid.encode()
    return value + b"\0" * (len(value) % 2)


def _status(command: bytes) -> int:
    """Return the status (0000,0900) of a command set."""
    place = 0
    while place < len(command):
        _, number, length = struct.unpack_from("<HHI", command, place)
        if number == 0x0900:
            return int(struct.unpack_from("<H", command, place + 8)[0])
        place += 8 + length
    raise ConnectionError("an answer without a status")


def _longest_pdu(accept: bytes) -> int:
    """Return the maximum length that an A-ASSOCIATE-AC names, 0 for none."""
    place = 68  # of the first item
    while place < len(accept):
        kind, _, length = struct.unpack_from(">BBH", accept, place)
        if kind == 0x51:
            return int(struct.unpack_from(">I", accept, place + 4)[0])
        place += 4 if kind == 0x50 else 4 + length  # 0x50 holds the others
    return 0
