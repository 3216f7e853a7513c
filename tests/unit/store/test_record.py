"""The record that makes a file in the journal count."""

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.store.record import (
    MAGIC,
    PREAMBLE_SIZE,
    Fault,
    Record,
    encoded,
    examine,
    opened,
    read_record,
    same_bytes,
)

PAGE = 4096


def _file(content: bytes) -> bytes:
    """Return a whole file with this content behind its preamble."""
    return Record(PREAMBLE_SIZE + len(content), zlib.crc32(content)).encode() + content


def _examined(folder: Path, data: bytes) -> Record | Fault:
    file = folder / "file"
    file.write_bytes(data)
    return examine(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record")


@given(st.binary(max_size=5000))
def test_a_whole_file_is_what_its_record_says(folder: Path, content: bytes) -> None:
    found = _examined(folder, _file(content))
    assert found == Record(PREAMBLE_SIZE + len(content), zlib.crc32(content))


@given(st.binary(min_size=1, max_size=500), st.data())
def test_one_byte_changed_anywhere_behind_the_preamble_is_seen(
    folder: Path, content: bytes, data: st.DataObject
) -> None:
    file = bytearray(_file(content))
    at = data.draw(st.integers(PREAMBLE_SIZE, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    assert _examined(folder, bytes(file)) is Fault.TORN


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_file_that_was_cut_or_grew_does_not_count(
    folder: Path, content: bytes, data: st.DataObject
) -> None:
    file = _file(content)
    cut = data.draw(st.integers(0, len(file) - 1))
    assert isinstance(_examined(folder, file[:cut]), Fault)
    assert _examined(folder, file + b"\0") is Fault.TORN


@given(st.integers(1, 5 * PAGE), st.sets(st.integers(0, 5)))
def test_pages_that_a_power_cut_lost_are_missed_whichever_they_are(
    folder: Path, size: int, lost: set[int]
) -> None:
    whole = _file(bytes(1 + n % 255 for n in range(size)))
    left = bytearray(whole)
    for page in lost:
        part = left[page * PAGE : (page + 1) * PAGE]
        left[page * PAGE : (page + 1) * PAGE] = bytes(len(part))
    found = _examined(folder, bytes(left))
    if bytes(left) == whole:
        assert isinstance(found, Record)
    elif 0 in lost:
        assert found is Fault.BLANK
    else:
        assert found is Fault.TORN


@given(st.binary(max_size=400))
def test_bytes_that_are_no_record_are_none(head: bytes) -> None:
    assert read_record(head) is None
    assert read_record(MAGIC + head[:100]) is None  # shorter than a preamble


def test_a_file_is_the_same_in_memory_and_mapped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 * PAGE)
    (folder / "file").write_bytes(content)
    with opened(folder / "file") as descriptor:
        with encoded(descriptor, 2 * PAGE) as data:
            assert isinstance(data, bytes)
            assert data == content[: 2 * PAGE]
        monkeypatch.setattr("node.store.record.MAPPED_FROM", PAGE)
        with encoded(descriptor, 2 * PAGE) as data:
            assert not isinstance(data, bytes)
            assert data[:] == content[: 2 * PAGE]


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 50), st.integers(1, 70))
def test_spans_are_the_same_where_their_bytes_are(
    folder: Path, ours: bytes, theirs: bytes, skipped: int, piece: int
) -> None:
    (folder / "ours").write_bytes(ours)
    (folder / "theirs").write_bytes(bytes(skipped) + theirs)
    with (
        pytest.MonkeyPatch.context() as patch,
        opened(folder / "ours") as one,
        opened(folder / "theirs") as other,
    ):
        patch.setattr("node.store.record.PIECE", piece)
        spans = (0, len(ours)), (skipped, skipped + len(theirs))
        assert same_bytes(one, spans[0], other, spans[1]) == (ours == theirs)
        beyond = (0, len(ours) + 9), (skipped, skipped + len(theirs) + 9)
        assert not same_bytes(one, beyond[0], other, beyond[1])
