"""Files that are on the disk when the call returns."""

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import SpoolDamaged, SpoolUnwritable
from node.domain.ids import AnalysisId, Sha256, SOPInstanceUID
from node.domain.ids import SeriesInstanceUID as Series
from node.domain.ids import StudyInstanceUID as Study
from node.store.spool import Spool, aside_path, instance_path

HELLO = Sha256("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")


def _hello(target: BinaryIO) -> None:
    target.write(b"hel")
    target.write(b"lo")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_a_written_file_is_there_with_its_hash_and_size(spool: Spool) -> None:
    assert spool.write_new("objects/a/b.dcm", _hello) == (HELLO, 5)
    assert spool.read("objects/a/b.dcm", HELLO) == b"hello"
    assert spool.verify("objects/a/b.dcm", HELLO) == spool.root / "objects/a/b.dcm"
    assert list((spool.root / "unfinished").iterdir()) == []


def test_writing_the_same_again_changes_nothing(spool: Spool) -> None:
    spool.write_new("a/b", _hello)
    assert spool.write_new("a/b", _hello) == (HELLO, 5)
    assert not spool.has_lost("a/b", HELLO)


def test_a_writer_that_fails_leaves_nothing(spool: Spool) -> None:
    def fails(target: BinaryIO) -> None:
        target.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(SpoolUnwritable, match="No space left on device"):
        spool.write_new("a/b", fails)
    assert [p for p in spool.root.rglob("*") if p.is_file()] == []


def test_a_folder_that_was_removed_behind_its_back_is_made_again(spool: Spool) -> None:
    spool.write_new("a/b", _hello)
    (spool.root / "a/b").unlink()
    (spool.root / "a").rmdir()
    spool.write_new("a/b", _hello)
    assert not spool.has_lost("a/b", HELLO)


def test_a_root_that_is_no_folder_is_unwritable(tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.write_bytes(b"")
    spool = Spool(root)
    for action in (
        lambda: spool.write_new("a/b", _hello),
        lambda: spool.work_folder(AnalysisId("ab")),
        spool.check_writable,
    ):
        with pytest.raises(SpoolUnwritable):
            action()


def test_an_absent_or_altered_file_is_damage(spool: Spool) -> None:
    with pytest.raises(SpoolDamaged, match="No such file"):
        spool.read("a/b", HELLO)
    spool.write_new("a/b", _hello)
    spool.path("a/b").write_bytes(b"hullo")
    assert spool.has_lost("a/b", HELLO)
    for look in (spool.read, spool.verify):
        with pytest.raises(SpoolDamaged, match="altered"):
            look("a/b", HELLO)


def test_a_file_that_cannot_be_read_just_now_is_not_lost(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.write_new("a/b", _hello)
    for number, lost in ((errno.EMFILE, False), (errno.EIO, True)):

        def fails(*_found: object, number: int = number) -> None:
            raise OSError(number, "no")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", fails)
            if lost:
                assert spool.has_lost("a/b", HELLO)
            else:
                with pytest.raises(OSError, match="no"):
                    spool.has_lost("a/b", HELLO)


@pytest.mark.parametrize("relative", ["/etc/passwd", "../x", "objects/../../x"])
def test_a_path_that_leaves_the_root_is_refused(spool: Spool, relative: str) -> None:
    with pytest.raises(SpoolDamaged, match="outside"):
        spool.path(relative)


def test_a_work_folder_is_named_by_its_analysis(spool: Spool) -> None:
    folder = spool.work_folder(AnalysisId("ab" * 16))
    assert folder == spool.root / "work" / ("ab" * 16)
    assert folder.is_dir()
    assert spool.work_folder(AnalysisId("ab" * 16)) == folder


def test_free_space_is_known_once_there_is_a_root(spool: Spool) -> None:
    with pytest.raises(SpoolUnwritable, match="looked at"):
        spool.room()
    spool.check_writable()
    room = spool.room()
    assert 0 < room.free_bytes <= shutil.disk_usage(spool.root).free
    assert room.free_inodes is None or room.free_inodes > 0


def test_a_file_system_that_counts_no_inodes_has_none_to_run_out_of(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.statvfs("/")
    uncounted = os.statvfs_result((*found[:5], 0, 0, 0, *found[8:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: uncounted)
    assert spool.room().free_inodes is None


def test_the_file_of_an_instance_is_known_once_it_is_at_its_place(spool: Spool) -> None:
    uids = (Study("1.2"), Series("1.2.3"), SOPInstanceUID("1.2.3.4"))
    assert spool.known_file(*uids) is None
    spool.write_new(instance_path(*uids), _hello)
    assert spool.known_file(*uids) == spool.path(instance_path(*uids))


def test_only_old_unfinished_files_are_discarded(spool: Spool) -> None:
    assert spool.discard_unfinished() == 0
    spool.write_new("a/b", _hello)
    old, young = spool.root / "unfinished/old", spool.root / "unfinished/young"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    assert spool.discard_unfinished() == 1
    assert young.exists()
    assert not old.exists()
    assert not spool.has_lost("a/b", HELLO)


uids = st.from_regex(r"1(\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)


@given(uids, uids, uids)
def test_paths_hold_no_identifier_and_keep_studies_apart(a: str, b: str, c: str) -> None:
    first = instance_path(Study(a), Series(b), SOPInstanceUID(c))
    assert first.count("/") == 4
    assert a not in first.split("/")
    folder = first.split("/")[2]
    assert (instance_path(Study(c), Series(b), SOPInstanceUID(c)).split("/")[2] == folder) == (
        a == c
    )


def test_other_content_has_another_name(spool: Spool) -> None:
    uid = SOPInstanceUID("1.2.3")
    one, other = Sha256("a" * 64), Sha256("b" * 64)
    assert aside_path(uid, one) != aside_path(uid, other)
