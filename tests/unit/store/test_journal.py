"""Where instances are received, and what of them is found again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.dicom.headers import identity_of, read_header
from node.domain.errors import NotDicom, SpoolUnwritable
from node.store.admit import Incoming
from node.store.journal import Journal, committed_in, discard_blanks, files_in, orphans
from node.store.record import MAGIC
from node.store.spool import Spool
from tests.support.dicom_objects import encode, mr_dataset
from tests.support.journals import commit
from tests.support.ledger_values import SCANNER, an_incoming

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def journal(spool: Spool) -> Iterator[Journal]:
    opened = Journal(spool, blanks=4)
    yield opened
    opened.close()


def test_what_is_committed_is_a_dicom_file_with_the_bytes_that_came(journal: Journal) -> None:
    incoming = an_incoming()
    path = commit(journal, incoming)
    assert path.read_bytes().endswith(incoming.data_set)
    dataset = pydicom.dcmread(path)
    assert dataset.preamble is not None
    assert dataset.preamble.startswith(MAGIC)
    assert dataset.SOPInstanceUID == incoming.sop_instance_uid
    assert dataset.file_meta.SourceApplicationEntityTitle == SCANNER
    assert list(committed_in(journal.folder)) == [path]


def test_only_what_was_committed_is_found_and_in_the_order_of_arrival(journal: Journal) -> None:
    journal.refill()
    half = journal.begin(an_incoming(7).arriving)
    half.write(b"half of it")
    paths = [commit(journal, an_incoming(n)) for n in range(1, 6)]
    assert list(committed_in(journal.folder)) == paths
    assert half.size == 10
    half.discard()


def test_an_entry_that_is_discarded_leaves_nothing(journal: Journal) -> None:
    entry = journal.begin(an_incoming().arriving)
    entry.write(b"something")
    entry.discard()
    entry.discard()
    assert files_in(journal.folder) == []


def test_a_discard_after_the_commit_takes_nothing_back(journal: Journal) -> None:
    entry = journal.begin(an_incoming().arriving)
    entry.write(an_incoming().data_set)
    committed = entry.commit()
    entry.discard()
    assert list(committed_in(journal.folder)) == [committed.path]
    assert committed.size == len(an_incoming().data_set)
    assert committed.arriving == an_incoming().arriving


def test_no_name_is_ever_used_twice(journal: Journal) -> None:
    names = set()
    for number in range(1, 9):
        path = commit(journal, an_incoming(number))
        assert path.name not in names
        names.add(path.name)
        path.unlink()
        if number % 3 == 0:
            journal.refill()


def test_blanks_are_made_until_as_many_as_wanted_lie_ready(journal: Journal) -> None:
    assert journal.ready == 0
    journal.refill()
    journal.refill()
    assert journal.ready == len(files_in(journal.folder)) == 4
    commit(journal, an_incoming())
    assert journal.ready == 3


def test_a_blank_that_somebody_removed_is_passed_over(journal: Journal) -> None:
    journal.refill()
    for blank in files_in(journal.folder):
        blank.unlink()
    assert commit(journal, an_incoming()).exists()


def test_a_journal_that_ends_leaves_what_is_committed_and_nothing_else(spool: Spool) -> None:
    journal = Journal(spool, blanks=4)
    journal.refill()
    path = commit(journal, an_incoming())
    journal.close()
    assert files_in(journal.folder) == [path]
    assert orphans(spool) == [journal.folder]
    path.unlink()
    discard_blanks(journal.folder)
    assert list((spool.root / "incoming").iterdir()) == []


def test_a_journal_that_received_nothing_leaves_no_trace(spool: Spool) -> None:
    journal = Journal(spool)
    journal.refill()
    journal.close()
    assert list((spool.root / "incoming").iterdir()) == []


def test_a_journal_is_nobodys_once_its_process_is_gone(spool: Spool, journal: Journal) -> None:
    code = (
        "import sys, pathlib\n"
        "from node.store.journal import Journal\n"
        "from node.store.spool import Spool\n"
        "journal = Journal(Spool(pathlib.Path(sys.argv[1])))\n"
        "print(journal.folder, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(spool.root)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        folder = Path(child.stdout.readline().strip())
        assert folder.is_dir()
        assert orphans(spool) == []
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        assert orphans(spool) == [folder]
    assert folder != journal.folder


def test_a_spool_without_journals_has_no_orphans(spool: Spool) -> None:
    assert orphans(spool) == []
    assert list(committed_in(spool.root / "incoming" / "gone")) == []


@pytest.mark.parametrize("ready", [True, False])
def test_an_instance_costs_one_sync_of_its_own_and_a_new_name_one_of_the_folder(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, *, ready: bool
) -> None:
    if ready:
        journal.refill()
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def record(descriptor: int, real: object = real) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
            real(descriptor)  # type: ignore[operator]  # one of the two

        monkeypatch.setattr(os, name, record)
    path = commit(journal, an_incoming())
    assert synced == [path.name] if ready else [path.name, journal.folder.name]


def test_a_long_instance_goes_to_the_disk_in_steps(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = os.fdatasync

    def record(descriptor: int) -> None:
        steps.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr("node.store.journal.SYNC_EVERY", 2500)
    monkeypatch.setattr(os, "fdatasync", record)
    commit(journal, an_incoming(pixels=bytes(8000)))
    assert len(steps) == 3
    assert steps == sorted(steps)


def test_a_full_disk_is_told_and_leaves_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = journal.begin(an_incoming().arriving)
    real = os.pwrite

    def full(descriptor: int, data: bytes, position: int) -> int:
        if position > 1500:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:700], position)  # the kernel may take a part only

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SpoolUnwritable, match="No space left"):
        entry.write(bytes(4000))
    entry.discard()
    assert files_in(journal.folder) == []


def test_a_write_that_takes_a_part_at_a_time_is_written_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:37], at))
    path = commit(journal, an_incoming())
    assert list(committed_in(journal.folder)) == [path]
    assert path.read_bytes().endswith(an_incoming().data_set)


@pytest.mark.parametrize("failing", ["fdatasync", "fsync"])
def test_a_sync_that_fails_leaves_nothing_that_could_count(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fails(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    entry = journal.begin(an_incoming().arriving)
    entry.write(an_incoming().data_set)
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fails)
        with pytest.raises(SpoolUnwritable, match="Input/output error"):
            entry.commit()
    entry.discard()
    assert files_in(journal.folder) == []


def test_an_instance_whose_file_was_removed_meanwhile_is_not_committed(journal: Journal) -> None:
    journal.refill()
    entry = journal.begin(an_incoming().arriving)
    entry.write(an_incoming().data_set)
    for path in files_in(journal.folder):
        path.unlink()
    with pytest.raises(SpoolUnwritable, match="No such file"):
        entry.commit()


def test_a_journal_whose_folder_is_gone_is_unwritable(journal: Journal) -> None:
    journal.folder.rmdir()
    with pytest.raises(SpoolUnwritable):
        journal.begin(an_incoming().arriving)
    with pytest.raises(SpoolUnwritable):
        journal.refill()


def test_a_spool_that_is_no_folder_has_no_journal(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(SpoolUnwritable):
        Journal(Spool(tmp_path / "spool"))


def _deflated() -> Incoming:
    syntax = str(DeflatedExplicitVRLittleEndian)
    made = mr_dataset()
    incoming = an_incoming()
    return Incoming(
        sop_class_uid=made.SOPClassUID,
        sop_instance_uid=made.SOPInstanceUID,
        transfer_syntax_uid=type(incoming.transfer_syntax_uid)(syntax),
        data_set=encode(made, syntax),
        calling_ae_title=SCANNER,
    )


@pytest.mark.parametrize("incoming", [an_incoming(), _deflated()], ids=["plain", "deflated"])
@pytest.mark.parametrize("mapped", [True, False])
def test_the_header_of_an_entry_is_that_of_its_bytes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, incoming: Incoming, *, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr("node.store.record.MAPPED_FROM", 0)
    entry = journal.begin(incoming.arriving)
    entry.write(incoming.data_set)
    expected = read_header(incoming.data_set, incoming.transfer_syntax_uid)
    assert entry.header() == expected
    assert entry.identity() == identity_of(expected)
    entry.discard()


def test_an_entry_that_holds_no_data_set_has_no_header(journal: Journal) -> None:
    empty = journal.begin(an_incoming().arriving)
    other = journal.begin(an_incoming().arriving)
    other.write(b"GIF89a" * 50)
    for entry in (empty, other):
        for read in (entry.header, entry.identity):
            with pytest.raises(NotDicom):
                read()
        entry.discard()


def test_an_entry_knows_a_file_with_the_same_bytes_whoever_sent_it(journal: Journal) -> None:
    path = commit(journal, an_incoming())
    entry = journal.begin(an_incoming().arriving)
    entry.write(an_incoming().data_set[:-1])
    assert not entry.is_same_as(path)
    entry.write(an_incoming().data_set[-1:])
    assert entry.is_same_as(path)
    assert not entry.is_same_as(path.with_name("gone"))
    path.write_bytes(b"no DICOM file")
    assert not entry.is_same_as(path)
    entry.discard()
