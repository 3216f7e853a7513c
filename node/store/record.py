"""The record in the preamble of a file of ours: what makes a file in the journal committed.

A DICOM file begins with 128 bytes that the standard leaves free (PS3.10 section 7.1). In ours
they hold a magic, the length of the file and the CRC-32 of all that follows them. They are
zero until the file is whole, and they are written together with its end: a file that a power
cut caught in the middle has no record, or one that does not fit. The record stays in the file,
so that it can be checked by itself; the magic begins no other kind of file.
"""

import contextlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from node.dicom.elements import Encoded

MAGIC: Final = b"SEGNODE\x01"
PREAMBLE_SIZE: Final = 128
PIECE: Final = 1 << 20
"""How much of a file is in memory at once, bytes."""

MAPPED_FROM: Final = 16 * 2**20
"""A data set from this size on is read through a mapping, so that memory stays flat."""

_RECORD: Final = struct.Struct("<8sQI")


class Fault(Enum):
    """Why a file counts as not committed."""

    BLANK = "no record"
    TORN = "a record that does not fit what the file holds"


@dataclass(frozen=True, slots=True)
class Record:
    """What the preamble says. length: of the whole file, bytes; crc: of all behind it."""

    length: int
    crc: int

    def encode(self) -> bytes:
        """Return the preamble that says it."""
        return _RECORD.pack(MAGIC, self.length, self.crc).ljust(PREAMBLE_SIZE, b"\0")


def read_record(head: bytes) -> Record | None:
    """Return what the beginning of a file says of itself, None where that is nothing."""
    if len(head) < PREAMBLE_SIZE or not head.startswith(MAGIC):
        return None
    _, length, crc = _RECORD.unpack_from(head)
    return Record(length, crc)


def examine(path: Path) -> Record | Fault:
    """Return the record of a file that is what its record says. Raises OSError."""
    with opened(path) as descriptor:
        record = read_record(os.pread(descriptor, PREAMBLE_SIZE, 0))
        if record is None:
            return Fault.BLANK
        if record.length != os.fstat(descriptor).st_size:
            return Fault.TORN
        crc = 0
        for piece in pieces(descriptor, PREAMBLE_SIZE, record.length):
            crc = zlib.crc32(piece, crc)
        return record if crc == record.crc else Fault.TORN


@contextlib.contextmanager
def encoded(descriptor: int, end: int) -> Iterator[Encoded]:
    """Yield the first `end` bytes of a file, a long one through a mapping. Raises OSError."""
    if end < MAPPED_FROM:
        yield os.pread(descriptor, end, 0)
        return
    with mmap.mmap(descriptor, end, access=mmap.ACCESS_READ) as data:
        yield data


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file for reading and yield its descriptor. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def pieces(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from start to end, a piece at a time; ends early where the file does."""
    while start < end:
        piece = os.pread(descriptor, min(PIECE, end - start), start)
        if not piece:
            return
        start += len(piece)
        yield piece


def same_bytes(ours: int, span: tuple[int, int], theirs: int, other: tuple[int, int]) -> bool:
    """Whether two files hold the same bytes in these spans (start, end). Raises OSError."""
    if span[1] - span[0] != other[1] - other[0]:
        return False
    pairs = zip(pieces(ours, *span), pieces(theirs, *other), strict=False)
    compared = 0
    for a, b in pairs:
        if a != b:
            return False
        compared += len(a)
    return compared == span[1] - span[0]  # less where one of them ends early
