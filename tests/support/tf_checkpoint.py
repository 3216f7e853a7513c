"""Write TensorFlow checkpoints ("tensor bundles"), so that reading them can be tried."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.segmentation.checkpoint_tf import MAGIC, crc32c, masked

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
ROWS_PER_BLOCK = 16
ROWS_PER_RESTART = 4

Rows = list[tuple[bytes, bytes]]


def write_checkpoint(prefix: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write prefix.index and prefix.data-00000-of-00001."""
    data = b""
    rows: Rows = [(b"", number(1, 1) + field(3, number(1, 1)))]
    for name in sorted(arrays, key=str.encode):
        content = arrays[name].tobytes()
        rows.append((name.encode(), entry(arrays[name], len(data), content)))
        data += content
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
    prefix.with_name(prefix.name + ".index").write_bytes(table(rows))


def entry(array: NDArray[np.generic], offset: int, content: bytes) -> bytes:
    """Encode a BundleEntryProto."""
    shape = b"".join(field(2, number(1, length)) for length in array.shape)
    return (
        number(1, DTYPES[array.dtype.name])
        + field(2, shape)
        + number(4, offset)
        + number(5, len(content))
        + varint(6 << 3 | 5)
        + masked(crc32c(content)).to_bytes(4, "little")
    )


def table(rows: Rows) -> bytes:
    """Encode a LevelDB table, without compression."""
    out, directory = b"", []
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        chunk = rows[start : start + ROWS_PER_BLOCK]
        content = block(chunk)
        directory.append((chunk[-1][0], varint(len(out)) + varint(len(content) - 5)))
        out += content
    filters = block([])
    handles = varint(len(out)) + varint(len(filters) - 5)
    out += filters
    content = block(directory)
    handles += varint(len(out)) + varint(len(content) - 5)
    return out + content + handles.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def block(rows: Rows) -> bytes:
    """Encode rows that leave out what their key shares with the last one, and the trailer."""
    out, last, restarts = b"", b"", []
    for place, (key, value) in enumerate(rows):
        shared = 0
        if place % ROWS_PER_RESTART == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    out += b"".join(place.to_bytes(4, "little") for place in (*restarts, len(restarts))) + b"\0"
    return out + masked(crc32c(out)).to_bytes(4, "little")


def number(place: int, value: int) -> bytes:
    """Encode a protobuf field that holds a number."""
    return varint(place << 3) + varint(value)


def field(place: int, content: bytes) -> bytes:
    """Encode a protobuf field that holds bytes."""
    return varint(place << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Encode a protobuf number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
