"""The one way in, with a real spool and a real ledger."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pydicom
import pytest
from pydicom.uid import MRImageStorage

from node.domain.errors import (
    LedgerUnavailable,
    MissingIdentifier,
    NotDicom,
    SpoolUnwritable,
    UnsupportedSopClass,
)
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.store.admit import Admission, Admitter
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool
from tests.support.ledger_values import (
    SCANNER,
    SERIES,
    STUDY,
    ManualClock,
    an_incoming,
    at,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def admitter(spool: Spool, ledger: Ledger) -> Admitter:
    return Admitter(spool, ledger, ManualClock())


def _files(spool: Spool) -> list[str]:
    """Return all files but the locks of the journals."""
    files = (p for p in spool.root.rglob("*") if p.is_file() and p.suffix != ".lock")
    return sorted(str(p.relative_to(spool.root)) for p in files)


def test_what_is_admitted_lies_on_disk_as_it_came(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    incoming = an_incoming()
    assert admitter.admit(incoming) is Admission.STORED
    stored = ledger.intake.find_instance(incoming.sop_instance_uid)
    assert stored is not None
    written = spool.verify(stored.path, stored.sha256).read_bytes()
    assert written.endswith(incoming.data_set)
    assert len(written) == stored.size_bytes
    dataset = pydicom.dcmread(spool.path(stored.path))
    assert dataset.SOPInstanceUID == incoming.sop_instance_uid
    assert dataset.file_meta.SourceApplicationEntityTitle == SCANNER
    assert _files(spool) == [stored.path]


def test_the_same_object_again_is_a_duplicate_and_no_new_revision(
    admitter: Admitter, ledger: Ledger
) -> None:
    admitter.admit(an_incoming())
    again = replace(an_incoming(), calling_ae_title=AETitle("OTHER"))
    assert admitter.admit(again) is Admission.DUPLICATE
    assert ledger.health.counts().instances == 1


def test_other_bytes_under_a_known_uid_are_kept_aside_and_not_used(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    admitter.admit(an_incoming())
    first = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    other = an_incoming(pixels=b"\x09\x09" * 32)
    assert admitter.admit(other) is Admission.KEPT_ASIDE
    assert admitter.admit(other) is Admission.KEPT_ASIDE
    assert ledger.intake.find_instance(other.sop_instance_uid) == first
    (aside,) = (name for name in _files(spool) if name.startswith("aside/"))
    assert spool.path(aside).read_bytes().endswith(other.data_set)
    story = ledger.stories.story(STUDY)
    assert story is not None
    (refusal,) = story.refusals
    assert refusal.reason.code == "duplicate-differs"
    assert aside in refusal.reason.text


def test_the_same_bytes_in_another_transfer_syntax_are_not_the_same(admitter: Admitter) -> None:
    incoming = an_incoming(pixels=b"")
    admitter.admit(incoming)
    other = replace(incoming, transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.4.90"))
    assert admitter.admit(other) is Admission.KEPT_ASIDE


def test_our_own_objects_are_acknowledged_and_not_kept(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    assert admitter.admit(an_incoming(Manufacturer="Segnode")) is Admission.OURS
    assert ledger.health.counts().instances == 0
    assert not spool.root.exists()


def test_bytes_that_are_no_data_set_are_refused_and_the_refusal_is_kept(
    admitter: Admitter, ledger: Ledger
) -> None:
    incoming = replace(an_incoming(), data_set=b"GIF89a" * 40)
    with pytest.raises(NotDicom):
        admitter.admit(incoming)
    (refusal,) = ledger.stories.refusals_without_study()
    assert (refusal.reason.code, refusal.sop_instance_uid, refusal.at) == (
        "not-dicom",
        incoming.sop_instance_uid,
        at(0),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyInstanceUID": None},
        {"SeriesInstanceUID": None},
        {"SOPInstanceUID": "1.2.3"},
        {"SOPInstanceUID": None},
    ],
)
def test_a_data_set_without_the_identifiers_of_its_command_is_refused(
    admitter: Admitter, ledger: Ledger, changes: dict[str, Any]
) -> None:
    with pytest.raises(MissingIdentifier):
        admitter.admit(an_incoming(**changes))
    (refusal,) = ledger.stories.refusals_without_study()
    assert refusal.reason.code == "missing-identifier"


def test_a_data_set_of_another_class_than_its_command_is_refused(admitter: Admitter) -> None:
    ct = SOPClassUID("1.2.840.10008.5.1.4.1.1.2")
    with pytest.raises(MissingIdentifier, match="SOP Class"):
        admitter.admit(replace(an_incoming(), sop_class_uid=ct))
    assert admitter.admit(an_incoming(SOPClassUID=str(MRImageStorage))) is Admission.STORED


def test_an_object_that_is_not_of_a_storage_class_is_refused(
    admitter: Admitter, ledger: Ledger
) -> None:
    verification = SOPClassUID("1.2.840.10008.1.1")
    with pytest.raises(UnsupportedSopClass):
        admitter.admit(replace(an_incoming(), sop_class_uid=verification))
    assert ledger.health.counts().refusals == {"unsupported-sop-class": 1}


def test_an_unwritable_spool_leaves_nothing_behind_and_a_repeat_works(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    spool.root.write_bytes(b"a file where the folder should be")
    with pytest.raises(SpoolUnwritable):
        admitter.admit(an_incoming())
    assert ledger.health.counts().instances == 0
    spool.root.unlink()
    assert admitter.admit(an_incoming()) is Admission.STORED


def test_a_crash_between_disk_and_ledger_leaves_a_file_and_the_repeat_is_identical(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE segnode_series RENAME TO gone")
    with pytest.raises(Exception, match="database"):
        admitter.admit(an_incoming())
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO segnode_series")
    orphans = _files(spool)
    assert len(orphans) == 1
    assert ledger.health.counts().instances == 0
    assert admitter.admit(an_incoming()) is Admission.STORED
    assert _files(spool) == orphans


def test_a_ledger_that_is_away_acknowledges_nothing(spool: Spool, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    ledger.close()
    shutil.rmtree(folder)
    with pytest.raises(LedgerUnavailable, match="unable to open"):
        Admitter(spool, ledger, ManualClock()).admit(an_incoming())
    folder.mkdir()
    again = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    assert Admitter(spool, again, ManualClock()).admit(an_incoming()) is Admission.STORED
    again.close()


def test_a_file_that_the_disk_lost_comes_back_with_a_repeat(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    admitter.admit(an_incoming())
    lost = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    assert lost is not None
    for damage in (spool.path(lost.path).unlink, lambda: spool.path(lost.path).write_bytes(b"")):
        damage()
        assert admitter.admit(an_incoming()) is Admission.DUPLICATE
        found = ledger.intake.find_instance(an_incoming().sop_instance_uid)
        assert found is not None
        assert not spool.has_lost(found.path, found.sha256)


def test_of_many_conflicting_objects_at_one_moment_one_is_stored_and_none_is_lost(
    admitter: Admitter, spool: Spool, ledger: Ledger
) -> None:
    objects = [an_incoming(pixels=bytes([n, n]) * 32) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(admitter.admit, objects))
    assert sorted(outcomes) == [Admission.KEPT_ASIDE] * 7 + [Admission.STORED]
    stored = ledger.intake.find_instance(objects[0].sop_instance_uid)
    assert stored is not None
    winner = objects[outcomes.index(Admission.STORED)]
    assert spool.read(stored.path, stored.sha256).endswith(winner.data_set)
    kept = [n for n in _files(spool) if n.startswith("aside/")]
    assert len(kept) == 7


def test_bytes_name_and_folder_are_synced_before_the_row_is_written(
    admitter: Admitter, spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def recorded(sync: Callable[[int], None]) -> Callable[[int], None]:
        def record(descriptor: int) -> None:
            assert ledger.health.counts().instances == 0
            synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            sync(descriptor)

        return record

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, recorded(getattr(os, name)))
    admitter.admit(an_incoming())
    stored = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    assert stored is not None
    folder = spool.path(stored.path).parent
    assert synced[-1] == str(folder)
    (entry,) = (name for name in synced if name.endswith(".dcm"))
    assert entry.startswith(str(spool.root / "incoming"))
    above = {str(p) for p in folder.parents if p.is_relative_to(spool.root)}
    assert above <= set(synced)


def test_file_names_hold_no_identifier(admitter: Admitter, spool: Spool) -> None:
    admitter.admit(an_incoming())
    assert not any(STUDY in name or "Gesperrt" in name for name in _files(spool))


_SENDER = """
import sys
from dataclasses import replace
from pathlib import Path
from node.domain.clock import SystemClock
from node.store.admit import Admitter
from node.store.ledger import open_ledger
from node.store.spool import Spool
from tests.support.ledger_values import an_incoming

folder = Path(sys.argv[1])
admitter = Admitter(
    Spool(folder / "spool"), open_ledger(f"sqlite:///{folder / 'ledger.db'}"), SystemClock()
)
for number in range(1, 100_000):
    incoming = an_incoming(number, SOPInstanceUID=f"{sys.argv[2]}.{number}")
    admitter.admit(incoming)
    sys.stdout.write(f"{incoming.sop_instance_uid}\\n")
    sys.stdout.flush()
"""


def _acknowledged(child: "subprocess.Popen[bytes]", until: int) -> list[str]:
    assert child.stdout is not None
    stream: IO[bytes] = child.stdout
    lines = [stream.readline() for _ in range(until)]
    child.send_signal(signal.SIGKILL)
    lines += stream.readlines()
    stream.close()
    child.wait(10)
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SENDER, str(tmp_path), SERIES],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as child:
        acknowledged = _acknowledged(child, until=30)
    assert len(acknowledged) >= 30
    ledger, spool = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}"), Spool(tmp_path / "spool")
    for uid in acknowledged:
        stored = ledger.intake.find_instance(SOPInstanceUID(uid))
        assert stored is not None
        assert hashlib.sha256(spool.path(stored.path).read_bytes()).hexdigest() == stored.sha256
    ledger.close()
