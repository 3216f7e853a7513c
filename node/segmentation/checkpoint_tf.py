"""Read a TensorFlow checkpoint (a "tensor bundle") without TensorFlow.

A checkpoint NAME is a table, NAME.index, and the bytes, NAME.data-00000-of-00001. The table has
the format of LevelDB and maps the name of a tensor to a BundleEntryProto. What is read here may
be hostile: nothing is allocated or walked beyond the size of the two files.

Sources: leveldb/doc/table_format.md and tensorflow/core/protobuf/tensor_bundle.proto for the
format, RFC 3720 B.4 for CRC32C.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid

INDEX_SUFFIX: Final = ".index"
DATA_SUFFIX: Final = ".data-00000-of-00001"

MAX_INDEX_BYTES: Final = 4 * 1024 * 1024
MAX_TENSORS: Final = 20_000
MAX_NAME_BYTES: Final = 1024
MAX_DIMENSIONS: Final = 8

FOOTER_BYTES: Final = 48
MAGIC: Final = 0xDB4775248B80FB57
TRAILER_BYTES: Final = 5
"""After each block: its kind of compression, and a checksum of both."""

DT_FLOAT: Final = 1
LITTLE_ENDIAN: Final = 0

Message = dict[int, list[int | bytes]]


class _Damaged(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Where a tensor lies in the data file: BundleEntryProto. Bytes."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    is_sliced: bool


def read_checkpoint(prefix: Path, wanted: Callable[[str], bool]) -> dict[str, NDArray[np.float32]]:
    """Return the wanted tensors of a checkpoint by name, in the order of the names.

    prefix: path of the two files without their suffixes. wanted: told each name. Raises
    BundleInvalid when a file is absent, damaged, or a wanted tensor is not float32.
    """
    index_path = prefix.with_name(prefix.name + INDEX_SUFFIX)
    data_path = prefix.with_name(prefix.name + DATA_SUFFIX)
    try:
        with index_path.open("rb") as file:
            index = file.read(MAX_INDEX_BYTES + 1)
        entries = _entries(index)
        with data_path.open("rb") as data:
            return _tensors(data, {name: entries[name] for name in entries if wanted(name)})
    except _Damaged as error:
        raise BundleInvalid(f"checkpoint {prefix.name}: {error}") from error
    except OSError as error:
        raise BundleInvalid(f"checkpoint {prefix.name} cannot be read: {error.strerror}") from error


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum of bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return a checksum as LevelDB stores it, so that one over checksums stays a good one."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _castagnoli(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE: Final = tuple(_castagnoli(byte) for byte in range(256))


def _entries(index: bytes) -> dict[str, _Entry]:
    """Parse the whole index."""
    if not FOOTER_BYTES <= len(index) <= MAX_INDEX_BYTES:
        raise _Damaged("the index has no plausible size")
    rows = _rows(index)
    first = next(rows, None)
    header = _message(first[1]) if first else {}
    if not first or first[0] or _number(header, 1) != 1 or _number(header, 2) != LITTLE_ENDIAN:
        raise _Damaged("the index is not of one little-endian file")
    found: dict[str, _Entry] = {}
    last = b""
    for key, value in rows:
        if key <= last or len(found) == MAX_TENSORS:
            raise _Damaged("the index is not a sorted list of tensors")
        last = key
        try:
            found[key.decode()] = _entry(_message(value))
        except UnicodeDecodeError as error:
            raise _Damaged("the name of a tensor is no text") from error
    return found


def _rows(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table."""
    footer = index[-FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != MAGIC:
        raise _Damaged("the index is no table")
    _, at = _handle(footer, 0)  # of the filters, which TensorFlow does not use
    directory, _ = _handle(footer, at)
    free = 0
    for _, value in _block(index, directory):
        place, _ = _handle(value, 0)
        if place.start < free:
            raise _Damaged("blocks of the index overlap")
        free = place.stop
        yield from _block(index, place)


def _handle(data: bytes, at: int) -> tuple[range, int]:
    """Where a block lies, and where its handle ends."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return range(offset, offset + size), at


def _block(index: bytes, place: range) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; each key names how much of the last one it repeats."""
    end = place.stop + TRAILER_BYTES
    if end > len(index) - FOOTER_BYTES:
        raise _Damaged("a block of the index lies outside it")
    stored = int.from_bytes(index[end - 4 : end], "little")
    if masked(crc32c(index[place.start : end - 4])) != stored:
        raise _Damaged("the checksum of a block of the index is wrong")
    if index[place.stop] != 0:
        raise _Damaged("the index is compressed, which is not read here")
    block = index[place.start : place.stop]
    limit = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    key, at = b"", 0
    while at < limit:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or shared + own > MAX_NAME_BYTES or at + own + length > limit:
            raise _Damaged("a row of the index is longer than its block")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a protobuf number of at most 64 bits; return also where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise _Damaged("a number of the index has no end")


def _message(data: bytes) -> Message:
    """Return the fields of a protobuf message by number; bytes stay bytes."""
    fields: Message = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        else:
            raise _Damaged("a row of the index is no message")
        fields.setdefault(tag >> 3, []).append(value)
    if at != len(data):
        raise _Damaged("a row of the index is cut off")
    return fields


def _number(message: Message, field: int) -> int:
    """Return an integer field, the last one if repeated; 0 when absent."""
    value = message.get(field, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value[:8], "little")


def _entry(message: Message) -> _Entry:
    """Parse a BundleEntryProto; numbers of its .proto file."""
    dimensions: list[int] = []
    for shape in message.get(2, []):
        parts = _message(shape).get(2, []) if isinstance(shape, bytes) else []
        dimensions += [_number(_message(part), 1) for part in parts if isinstance(part, bytes)]
    return _Entry(
        dtype=_number(message, 1),
        shape=tuple(dimensions),
        shard=_number(message, 3),
        offset=_number(message, 4),
        size=_number(message, 5),
        crc=_number(message, 6),
        is_sliced=7 in message,
    )


def _tensors(data: BinaryIO, entries: dict[str, _Entry]) -> dict[str, NDArray[np.float32]]:
    """Read tensors; all of them together are not larger than the file."""
    length = data.seek(0, 2)
    if sum(entry.size for entry in entries.values()) > length:
        raise _Damaged("the data file is shorter than its tensors")
    return {name: _tensor(data, length, name, entry) for name, entry in entries.items()}


def _tensor(data: BinaryIO, length: int, name: str, entry: _Entry) -> NDArray[np.float32]:
    if entry.dtype != DT_FLOAT or entry.shard != 0 or entry.is_sliced:
        raise _Damaged(f"{name} is not one float32 array")
    if len(entry.shape) > MAX_DIMENSIONS or 0 in entry.shape:
        raise _Damaged(f"{name} has no plausible shape")
    if 4 * math.prod(entry.shape) != entry.size or entry.offset + entry.size > length:
        raise _Damaged(f"{name} does not fit the data file")
    data.seek(entry.offset)
    content = data.read(entry.size)
    if len(content) != entry.size or masked(crc32c(content)) != entry.crc:
        raise _Damaged(f"{name} is damaged: its checksum is wrong")
    return np.frombuffer(content, dtype="<f4").astype(np.float32).reshape(entry.shape)
