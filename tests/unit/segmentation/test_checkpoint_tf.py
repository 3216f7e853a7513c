"""TensorFlow's checkpoints: read whole, or refused by name."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import BundleInvalid
from node.segmentation import checkpoint_tf
from node.segmentation.checkpoint_tf import crc32c, masked, read_checkpoint
from tests.support import tf_checkpoint
from tests.support.tf_checkpoint import field, number, table, varint, write_checkpoint

RANDOM = np.random.default_rng(0)
ARRAYS = {
    **{f"net/block{n}/conv/w": RANDOM.standard_normal((1, 3, 3, 4, n + 1)) for n in range(40)},
    "net/scale": RANDOM.standard_normal(()),
    "net/gamma": RANDOM.standard_normal(7),
}
FLOATS = {name: np.asarray(array, dtype=np.float32) for name, array in ARRAYS.items()}
OTHERS = {"global_step": np.asarray(20000, dtype=np.int64), "net/gamma/Adam": np.ones(7)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "net.ckpt", {**FLOATS, **OTHERS})
    return tmp_path / "net.ckpt"


def index(checkpoint: Path) -> Path:
    return checkpoint.with_name("net.ckpt.index")


def data(checkpoint: Path) -> Path:
    return checkpoint.with_name("net.ckpt.data-00000-of-00001")


def everything(_: str) -> bool:
    return True


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 B.4, and every implementation
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_wanted_arrays_come_back_bit_by_bit_in_the_order_of_their_names(checkpoint: Path) -> None:
    found = read_checkpoint(checkpoint, lambda name: name in FLOATS)
    assert list(found) == sorted(FLOATS)
    for name, array in FLOATS.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_what_is_not_wanted_is_not_read(checkpoint: Path) -> None:
    assert list(read_checkpoint(checkpoint, lambda name: name == "net/gamma")) == ["net/gamma"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_refused_by_name(checkpoint: Path, name: str) -> None:
    with pytest.raises(BundleInvalid, match=f"{re.escape(name)} is not one float32 array"):
        read_checkpoint(checkpoint, everything if name == "global_step" else name.__eq__)


def test_an_absent_file_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="other cannot be read"):
        read_checkpoint(tmp_path / "other", everything)
    data(checkpoint).unlink()
    with pytest.raises(BundleInvalid, match="cannot be read: No such file"):
        read_checkpoint(checkpoint, lambda name: name in FLOATS)


def test_a_flipped_bit_of_the_data_is_noticed(checkpoint: Path) -> None:
    content = bytearray(data(checkpoint).read_bytes())
    content[-1] ^= 1
    data(checkpoint).write_bytes(content)
    with pytest.raises(BundleInvalid, match="its checksum is wrong"):
        read_checkpoint(checkpoint, lambda name: name in FLOATS)


def test_a_short_data_file_is_noticed(checkpoint: Path) -> None:
    data(checkpoint).write_bytes(data(checkpoint).read_bytes()[:100])
    with pytest.raises(BundleInvalid, match="shorter than its tensors"):
        read_checkpoint(checkpoint, lambda name: name in FLOATS)


def an_entry(**changes: object) -> bytes:
    """Encode the entry of one array of 4 bytes at the beginning of the data, with changes."""
    values: dict[str, object] = {"dtype": 1, "shape": [1], "shard": 0, "offset": 0, "size": 4}
    values |= changes
    shape = b"".join(field(2, number(1, length)) for length in values["shape"])  # type: ignore[attr-defined]
    numbers = ("dtype", 1), ("shard", 3), ("offset", 4), ("size", 5)
    return field(2, shape) + b"".join(number(place, values[key]) for key, place in numbers)  # type: ignore[arg-type]


HEADER = number(1, 1)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "not of one little-endian file"),
        ([(b"a", an_entry())], "not of one little-endian file"),
        ([(b"", number(1, 2))], "not of one little-endian file"),
        ([(b"", HEADER + number(2, 1))], "not of one little-endian file"),
        ([(b"", HEADER), (b"b", an_entry()), (b"a", an_entry())], "not a sorted list"),
        ([(b"", HEADER), (b"a", an_entry()), (b"a", an_entry())], "not a sorted list"),
        ([(b"", HEADER), (b"\xff", an_entry())], "is no text"),
        ([(b"", HEADER), (b"a", b"\x08")], "has no end"),
        ([(b"", HEADER), (b"a", b"\x0b")], "is no message"),
        ([(b"", HEADER), (b"a", b"\x12\x7f")], "is cut off"),
        ([(b"", HEADER), (b"a", an_entry(shard=1))], "not one float32 array"),
        ([(b"", HEADER), (b"a", an_entry() + field(7, b""))], "not one float32 array"),
        ([(b"", HEADER), (b"a", an_entry(shape=[1] * 9))], "no plausible shape"),
        ([(b"", HEADER), (b"a", an_entry(shape=[0, 2**62], size=0))], "no plausible shape"),
        ([(b"", HEADER), (b"a", an_entry(shape=[2**40], size=2**42))], "shorter than its"),
        ([(b"", HEADER), (b"a", an_entry(shape=[2**63], size=4))], "does not fit"),
        ([(b"", HEADER), (b"a", an_entry(offset=2**63))], "does not fit"),
        ([(b"", HEADER), (b"a", an_entry()), (b"b", an_entry())], "shorter than its tensors"),
        ([(b"", HEADER), (b"a", an_entry())], "its checksum is wrong"),
        ([(b"", HEADER), (b"a" * 2000, an_entry())], "longer than its block"),
    ],
)
def test_a_hostile_index_is_refused_with_a_reason(
    tmp_path: Path, rows: tf_checkpoint.Rows, reason: str
) -> None:
    (tmp_path / "net.ckpt.index").write_bytes(table(rows))
    (tmp_path / "net.ckpt.data-00000-of-00001").write_bytes(b"\0\0\0\1")
    with pytest.raises(BundleInvalid, match=reason):
        read_checkpoint(tmp_path / "net.ckpt", everything)


def without_magic(content: bytes) -> bytes:
    return content[:-1]


def with_a_handle_outside(content: bytes) -> bytes:
    return content[:-48] + (varint(0) * 2 + varint(2**60) * 2).ljust(40, b"\0") + content[-8:]


def with_compression(content: bytes) -> bytes:
    changed = content[:-53] + b"\1"
    start = len(content) - 53 - directory_size(content)
    return changed + masked(crc32c(changed[start:])).to_bytes(4, "little") + content[-48:]


def directory_size(content: bytes) -> int:
    """Bytes of the last block, by the footer's second handle."""
    _, at = checkpoint_tf._handle(content[-48:], 0)
    return len(checkpoint_tf._handle(content[-48:], at)[0])


def with_the_same_block_twice(content: bytes) -> bytes:
    first = tf_checkpoint.block([(b"", HEADER)])
    directory = tf_checkpoint.block([(b"a", varint(0) + varint(len(first) - 5))] * 2)
    handles = varint(0) * 2 + varint(len(first)) + varint(len(directory) - 5)
    return first + directory + handles.ljust(40, b"\0") + content[-8:]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_magic, "is no table"),
        (with_a_handle_outside, "lies outside it"),
        (with_compression, "is compressed"),
        (with_the_same_block_twice, "blocks of the index overlap"),
        (lambda _: b"", "no plausible size"),
        (lambda _: bytes(checkpoint_tf.MAX_INDEX_BYTES + 1), "no plausible size"),
        (lambda content: b"\1" + content[1:], "checksum of a block"),
    ],
)
def test_a_damaged_table_is_refused_with_a_reason(
    checkpoint: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    index(checkpoint).write_bytes(change(index(checkpoint).read_bytes()))
    with pytest.raises(BundleInvalid, match=reason):
        read_checkpoint(checkpoint, lambda name: name in FLOATS)


def test_more_tensors_than_any_network_has_are_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_tf, "MAX_TENSORS", 5)
    with pytest.raises(BundleInvalid, match="not a sorted list"):
        read_checkpoint(checkpoint, everything)


@given(st.data())
def test_no_damage_whatever_ends_in_anything_but_the_named_error(drawn: st.DataObject) -> None:
    """Block checksums are made right again, so that the damage is read and not just noticed."""
    shapes = {"a/w": FLOATS["net/gamma"], "b/w": FLOATS["net/scale"]}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        if drawn.draw(st.booleans()):
            patched.setattr(checkpoint_tf, "crc32c", lambda _: 0)
            patched.setattr(tf_checkpoint, "crc32c", lambda _: 0)
        prefix = Path(name) / "net.ckpt"
        write_checkpoint(prefix, shapes)
        content = bytearray(index(prefix).read_bytes())
        for _ in range(drawn.draw(st.integers(1, 4))):
            content[drawn.draw(st.integers(0, len(content) - 1))] = drawn.draw(st.integers(0, 255))
        index(prefix).write_bytes(content[: drawn.draw(st.integers(1, len(content)))])
        try:
            found = read_checkpoint(prefix, everything)
        except BundleInvalid:
            return
    assert sum(array.nbytes for array in found.values()) <= 32
