"""The C-STORE command set, read and written without pydicom (PS3.7 6.3.1, 9.3.1, annex E).

Only the usual form is read here; everything else is left to pynetdicom's decoder.
"""

import struct
from dataclasses import dataclass
from typing import Final

from node.net.storing import LONGEST_COMMENT, StoreAnswer
from node.net.wire import HEAD, ITEM, P_DATA

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
NO_DATA_SET: Final = 0x0101
LONGEST_UID: Final = 64
LAST_OF_COMMAND: Final = 0x03

_ELEMENT: Final = struct.Struct("<HHI")
_SHORT: Final = struct.Struct("<H")
_GROUP_LENGTH: Final = struct.Struct("<HHII")
_SHORT_ELEMENT: Final = struct.Struct("<HHIH")

_SHORTS: Final = frozenset({0x0100, 0x0110, 0x0700, 0x0800, 0x1031})
"""Command Field, Message ID, Priority, Command Data Set Type, Move Originator Message ID."""

_STRINGS: Final = frozenset({0x0002, 0x1000, 0x1030})
"""Affected SOP Class and Instance UID, Move Originator AE Title."""


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What is used of a C-STORE-RQ; UIDs as they came, with their padding."""

    message_id: int
    sop_class_uid: bytes
    sop_instance_uid: bytes
    has_data_set: bool


def read_store_command(command: bytes | bytearray | memoryview) -> StoreCommand | None:
    """Read a command set; None when it is no C-STORE-RQ of the usual form.

    Usual: elements of group 0000 in ascending order, none twice, none unknown, numbers of two
    bytes, nothing after the last.
    """
    offset, end = 0, len(command)
    before = -1
    values: dict[int, bytes] = {}
    while offset < end:
        if end - offset < _ELEMENT.size:
            return None
        group, element, length = _ELEMENT.unpack_from(command, offset)
        offset += _ELEMENT.size
        if group or element <= before or length > end - offset:
            return None
        if not _is_usual(element, length):
            return None
        values[element] = bytes(command[offset : offset + length])
        before = element
        offset += length
    try:
        if _SHORT.unpack(values[0x0100])[0] != C_STORE_RQ:
            return None
        return StoreCommand(
            message_id=_SHORT.unpack(values[0x0110])[0],
            sop_class_uid=values[0x0002],
            sop_instance_uid=values[0x1000],
            has_data_set=_SHORT.unpack(values[0x0800])[0] != NO_DATA_SET,
        )
    except KeyError:
        return None


def _is_usual(element: int, length: int) -> bool:
    if element in _SHORTS:
        return length == 2
    return element in _STRINGS or (element == 0 and length == 4)


def text_of(uid: bytes) -> str:
    """Return a UID without its padding; every byte a character, whatever it is."""
    return uid.rstrip(b"\0 ").decode("latin-1")


def store_response(command: StoreCommand, context_id: int, answer: StoreAnswer) -> bytes:
    """Return a C-STORE-RSP as one P-DATA-TF PDU.

    A UID that is no UID by its length is not repeated.
    """
    elements = [
        _uid(0x0002, command.sop_class_uid),
        _SHORT_ELEMENT.pack(0, 0x0100, 2, C_STORE_RSP),
        _SHORT_ELEMENT.pack(0, 0x0120, 2, command.message_id),
        _SHORT_ELEMENT.pack(0, 0x0800, 2, NO_DATA_SET),
        _SHORT_ELEMENT.pack(0, 0x0900, 2, answer.status),
        _comment(answer.comment),
        _uid(0x1000, command.sop_instance_uid),
    ]
    body = b"".join(elements)
    length = _GROUP_LENGTH.size + len(body)
    return b"".join(
        (
            HEAD.pack(P_DATA, ITEM.size + length),
            ITEM.pack(2 + length, context_id, LAST_OF_COMMAND),
            _GROUP_LENGTH.pack(0, 0, 4, len(body)),
            body,
        )
    )


def _uid(element: int, value: bytes) -> bytes:
    if len(value) > LONGEST_UID or len(value) % 2:
        return b""
    return _ELEMENT.pack(0, element, len(value)) + value


def _comment(text: str) -> bytes:
    if not text:
        return b""
    value = text[:LONGEST_COMMENT].encode("ascii", "replace")
    value += b" " * (len(value) % 2)
    return _ELEMENT.pack(0, 0x0902, len(value)) + value
