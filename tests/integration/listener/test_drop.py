"""The watched folder: what is taken, what is left, what is rejected, over restarts too."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from node.domain.clock import SystemClock
from node.domain.errors import ConfigurationInvalid, LedgerUnavailable, MissingIdentifier
from node.domain.ids import SOPInstanceUID
from node.listener.drop import DropFolder, DropOptions
from node.store.admit import Admission, Admitter, Incoming
from node.store.ledger import Ledger
from node.store.spool import Spool
from tests.support.admitting import Recorder
from tests.support.dicom_objects import MARKED_NAME, encode, mr_dataset, write_file
from tests.support.listening import count_of
from tests.support.peers import wait_until

# watchdog says so, and goes on, when folders are made in one breath.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 30.0
NEVER_S = 3600.0
QUICK = {"closed_s": 0.02, "settle_s": 0.1, "writing_s": 0.3, "look_s": 0.2, "first_pause_s": 0.01}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


@contextmanager
def dropping(
    folder: Path, admit: Callable[[Incoming], Admission], **options: Any
) -> Iterator[DropFolder]:
    """Watch a folder; afterwards no thread may be left."""
    before, watches = set(threading.enumerate()), kernel_watches()
    drop = DropFolder(
        DropOptions(**{"folder": folder, "temporary": folder.parent, **QUICK, **options}), admit
    )
    drop.start()
    try:
        if options.get("look_s", 0.0) >= NEVER_S:  # only the kernel tells of files then
            wait_until(lambda: kernel_watches() > watches, "the folder is watched", LIMIT_S)
        yield drop
    finally:
        drop.stop()
    # watchdog keeps one thread for all watches of the process.
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if type(thread).__name__ != "InotifyFD"] == []


def kernel_watches() -> int:
    """Count what this process asked the kernel to watch; watchdog asks from a thread."""
    count = 0
    for descriptor in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):
            count += descriptor.read_text().count("inotify wd:")
    return count


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def wait_for_files(folder: Path, expected: set[str]) -> None:
    wait_until(lambda: files(folder) == expected, f"{len(expected)} files are left", LIMIT_S)


def reasons(folder: Path) -> list[list[str]]:
    text = (folder / "rejected" / "reasons.txt").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def test_what_lies_there_and_what_comes_is_taken_in_and_removed(folder: Path) -> None:
    admit = Recorder()
    write_file(folder / "before.dcm", mr_dataset(1))
    with dropping(folder, admit):
        wait_for_files(folder, set())
        write_file(folder / "no ending", mr_dataset(2))
        wait_for_files(folder, set())
    assert [came.data_set for came in admit.came] == [encode(mr_dataset(n)) for n in (1, 2)]
    assert {came.calling_ae_title for came in admit.came} == {"DROP"}


def test_a_file_that_is_closed_is_taken_soon(folder: Path) -> None:
    with dropping(folder, Recorder(), settle_s=NEVER_S, look_s=NEVER_S, writing_s=NEVER_S):
        write_file(folder / "a.dcm", mr_dataset())
        wait_for_files(folder, set())


def test_a_file_that_is_renamed_is_taken_soon(folder: Path) -> None:
    with dropping(folder, Recorder(), settle_s=NEVER_S, look_s=NEVER_S, writing_s=NEVER_S):
        for written in (".a.dcm", "b.dcm.part"):
            write_file(folder / written, mr_dataset())
        (folder / ".a.dcm").rename(folder / "a.dcm")
        (folder / "b.dcm.part").rename(folder / "b.dcm")
        wait_for_files(folder, set())


def test_a_file_that_is_moved_in_from_elsewhere_is_taken(folder: Path, tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.dcm", mr_dataset())
    with dropping(folder, Recorder(), look_s=NEVER_S):
        source.rename(folder / "a.dcm")
        wait_for_files(folder, set())


def test_a_file_that_is_being_written_is_left_until_it_is_closed(folder: Path) -> None:
    admit = Recorder()
    content = write_file(folder.parent / "whole.dcm", mr_dataset(1)).read_bytes()
    with dropping(folder, admit, settle_s=3.0, writing_s=NEVER_S):
        with (folder / "a.dcm").open("wb") as target:
            target.write(content[:-8])
            target.flush()
            # Another file that came later has gone, and the folder was looked at since.
            write_file(folder / "b.dcm", mr_dataset(2))
            wait_for_files(folder, {"a.dcm"})
            write_file(folder / "c.dcm", mr_dataset(3))
            wait_for_files(folder, {"a.dcm"})
            target.write(content[-8:])
        wait_for_files(folder, set())
    assert admit.came[-1].data_set == encode(mr_dataset(1))


def test_a_file_that_nobody_closes_is_taken_when_it_is_quiet(folder: Path) -> None:
    content = write_file(folder.parent / "whole.dcm", mr_dataset()).read_bytes()
    with dropping(folder, Recorder()), (folder / "a.dcm").open("wb") as target:
        target.write(content)
        target.flush()
        wait_for_files(folder, set())


def test_nested_folders_are_taken_and_left_without_a_file(folder: Path) -> None:
    admit = Recorder()
    source = folder.parent / "cd"
    for number in range(12):
        place = source / f"PAT{number % 2}" / f"ST{number % 3}" / "SE0"
        place.mkdir(parents=True, exist_ok=True)
        write_file(place / f"IM{number}", mr_dataset(number + 1))
    with dropping(folder, admit):
        shutil.copytree(source, folder / "copied", copy_function=shutil.copyfile)
        source.rename(folder / "moved")
        wait_for_files(folder, set())
    assert len(admit.came) == 24


def test_what_is_no_image_is_rejected_with_its_reason(folder: Path) -> None:
    directory = mr_dataset(1, SOPClassUID="1.2.840.10008.1.3.10")
    (folder / "cd").mkdir()
    write_file(folder / "cd" / "DICOMDIR", directory)
    (folder / "cd" / "viewer.exe").write_bytes(b"MZ" * 500)
    write_file(folder / "cd" / "IM1", mr_dataset(2))
    admit = Recorder()
    with dropping(folder, admit):
        wait_for_files(
            folder, {"rejected/cd/DICOMDIR", "rejected/cd/viewer.exe", "rejected/reasons.txt"}
        )
    assert len(admit.came) == 1
    assert {(code, place) for _, code, place, _ in reasons(folder)} == {
        ("unsupported-sop-class", "cd/DICOMDIR"),
        ("not-dicom", "cd/viewer.exe"),
    }


def test_what_the_admission_refuses_is_rejected_and_a_second_one_beside_it(folder: Path) -> None:
    with dropping(folder, Recorder(MissingIdentifier("the object has no study"))):
        for number in (1, 2):
            write_file(folder / "a.dcm", mr_dataset(number))
            wait_until(
                lambda count=number: len(list((folder / "rejected").glob("a.dcm*"))) == count,
                "the file is rejected",
                LIMIT_S,
            )
    assert [line[1] for line in reasons(folder)] == ["missing-identifier"] * 2
    assert len({line[2] for line in reasons(folder)}) == 2


def test_a_file_over_the_limit_is_rejected_unread(folder: Path) -> None:
    admit = Recorder()
    with dropping(folder, admit, largest_bytes=100):
        write_file(folder / "a.dcm", mr_dataset())
        wait_for_files(folder, {"rejected/a.dcm", "rejected/reasons.txt"})
    assert admit.came == []


def test_dot_files_and_unfinished_ones_are_left(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    left = {".a.dcm", "b.dcm.part", "c.PART", ".hidden/d.dcm"}
    for name in left:
        write_file(folder / name, mr_dataset())
    with dropping(folder, Recorder()):
        write_file(folder / "e.dcm", mr_dataset())
        wait_for_files(folder, left)


def test_links_and_pipes_are_neither_followed_nor_removed(folder: Path) -> None:
    admit = Recorder()
    outside = folder.parent / "outside"
    outside.mkdir()
    write_file(outside / "a.dcm", mr_dataset(1))
    (folder / "folder").symlink_to(outside)
    (folder / "file.dcm").symlink_to(outside / "a.dcm")
    os.mkfifo(folder / "pipe.dcm")
    with dropping(folder, admit):
        write_file(folder / "b.dcm", mr_dataset(2))
        wait_until(lambda: not (folder / "b.dcm").exists(), "the file is taken", LIMIT_S)
        write_file(outside / "c.dcm", mr_dataset(3))
        write_file(folder / "d.dcm", mr_dataset(4))
        wait_until(lambda: not (folder / "d.dcm").exists(), "the file is taken", LIMIT_S)
    assert len(admit.came) == 2
    assert files(outside) == {"a.dcm", "c.dcm"}


def test_an_empty_file_may_still_be_written(folder: Path) -> None:
    with dropping(folder, Recorder()):
        (folder / "a.dcm").touch()
        write_file(folder / "b.dcm", mr_dataset(1))
        wait_for_files(folder, {"a.dcm"})
        write_file(folder / "a.dcm", mr_dataset(2))
        wait_for_files(folder, set())


def test_while_nothing_can_be_taken_in_the_files_wait(folder: Path) -> None:
    refused = count_of("instances_received_total", '{outcome="refused"}')
    admit = Recorder(LedgerUnavailable("locked"))
    names = {f"{number}.dcm" for number in range(5)}
    for number, name in enumerate(sorted(names)):
        write_file(folder / name, mr_dataset(number))
    with dropping(folder, admit, longest_pause_s=0.02):
        wait_until(lambda: len(admit.came) > 3, "it was tried again", LIMIT_S)
        assert files(folder) == names
        admit.outcome = Admission.STORED
        wait_for_files(folder, set())
    assert count_of("instances_received_total", '{outcome="refused"}') == refused


def test_a_file_that_keeps_failing_is_rejected_and_holds_up_no_other(folder: Path) -> None:
    admitted = Recorder()

    def admit(incoming: Incoming) -> Admission:
        if incoming.sop_instance_uid.endswith(".1"):
            raise ValueError(MARKED_NAME)
        return admitted(incoming)

    write_file(folder / "1.dcm", mr_dataset(1))
    write_file(folder / "2.dcm", mr_dataset(2))
    with dropping(folder, admit, attempts=3):
        wait_for_files(folder, {"rejected/1.dcm", "rejected/reasons.txt"})
    assert len(admitted.came) == 1
    assert MARKED_NAME not in (folder / "rejected" / "reasons.txt").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_read_is_rejected_after_some_attempts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("node.listener.drop_taking.open_plain", broken)
    write_file(folder / "a.dcm", mr_dataset())
    with dropping(folder, Recorder(), attempts=2):
        wait_for_files(folder, {"rejected/a.dcm", "rejected/reasons.txt"})
    assert reasons(folder)[0][3] == "The file cannot be read: Permission denied."


def test_a_file_that_cannot_be_removed_is_taken_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unremovable(*_: Any) -> bool:
        raise PermissionError(1, "Operation not permitted")

    admit = Recorder()
    monkeypatch.setattr("node.listener.drop_taking.remove_if_same", unremovable)
    write_file(folder / "a.dcm", mr_dataset(1))
    with dropping(folder, admit):
        for number in (2, 3):
            write_file(folder / f"{number}.dcm", mr_dataset(number))
            wait_until(lambda n=number: len(admit.came) >= n, "the file is taken", LIMIT_S)
    assert [came.sop_instance_uid[-2:] for came in admit.came].count(".1") == 1


def test_a_file_that_changes_while_it_is_taken_is_taken_again(folder: Path) -> None:
    admitted = Recorder()

    def admit(incoming: Incoming) -> Admission:
        if not admitted.came:
            write_file(folder / "a.dcm", mr_dataset(2))
        return admitted(incoming)

    write_file(folder / "a.dcm", mr_dataset(1))
    with dropping(folder, admit):
        wait_until(lambda: len(admitted.came) == 2, "the second content is taken", LIMIT_S)
        wait_for_files(folder, set())
    assert admitted.came[1].data_set == encode(mr_dataset(2))


def test_files_are_found_without_events_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: Any, **__: Any) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", no_more)
    with dropping(folder, Recorder()):
        write_file(folder / "a.dcm", mr_dataset())
        wait_for_files(folder, set())


def test_a_folder_that_goes_and_comes_back_is_taken_up_again(folder: Path) -> None:
    admit = Recorder()
    with dropping(folder, admit):
        folder.rename(folder.parent / "away")
        (folder.parent / "away" / "note").write_bytes(b"")
        folder.mkdir()
        write_file(folder / "a.dcm", mr_dataset())
        wait_for_files(folder, set())
    assert len(admit.came) == 1


def test_a_folder_that_is_none_is_a_named_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="is no folder"):
        DropFolder(DropOptions(folder=tmp_path / "absent", temporary=tmp_path), Recorder()).start()


def test_what_was_taken_before_a_crash_is_removed_without_a_word(
    folder: Path, tmp_path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    admitter = Admitter(Spool(tmp_path / "spool"), ledger, SystemClock())
    for name in ("a.dcm", "the same again.dcm"):
        write_file(folder / name, mr_dataset(1))
    outcomes: list[Admission] = []

    def admit(incoming: Incoming) -> Admission:
        outcomes.append(admitter.admit(incoming))
        return outcomes[-1]

    with dropping(folder, admit):
        wait_for_files(folder, set())
    assert sorted(outcomes) == [Admission.DUPLICATE, Admission.STORED]
    assert [record for record in caplog.records if record.name.startswith("node.")] == []


CRASHING = """
import os, signal, sys
from pathlib import Path
from node.domain.clock import SystemClock
from node.listener.drop import DropFolder, DropOptions
from node.store.admit import Admitter
from node.store.ledger import open_ledger
from node.store.spool import Spool
folder, spool, ledger, most = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
admitter, came = Admitter(Spool(spool), open_ledger(ledger), SystemClock()), []
def admit(incoming):
    admission = admitter.admit(incoming)
    came.append(admission)
    if len(came) == most:
        os.kill(os.getpid(), signal.SIGKILL)
    return admission
drop = DropFolder(DropOptions(folder=folder, temporary=spool, settle_s=0.1), admit)
drop.start()
signal.pause()
"""


def test_a_kill_between_admission_and_removal_loses_and_doubles_nothing(
    folder: Path, tmp_path: Path, ledger: Ledger, ledger_url: str
) -> None:
    count = 12
    for number in range(1, count + 1):
        write_file(folder / f"{number}.dcm", mr_dataset(number))
    arguments = [str(folder), str(tmp_path / "spool"), ledger_url]
    for most in (1, 4, 3):
        killed = subprocess.run(
            [sys.executable, "-c", CRASHING, *arguments, str(most)],
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
    # Each kill left one admitted file where it was: 8 admissions, 3 of them of files that stay.
    assert len(files(folder)) == count - 5
    admitter = Admitter(Spool(tmp_path / "spool"), ledger, SystemClock())
    with dropping(folder, admitter.admit):
        wait_for_files(folder, set())
    for number in range(1, count + 1):
        uid = SOPInstanceUID(mr_dataset(number).SOPInstanceUID)
        found = ledger.intake.find_instance(uid)
        assert found is not None
        content = (tmp_path / "spool" / found.path).read_bytes()
        assert content.endswith(encode(mr_dataset(number)))
    (line,) = ledger.stories.list_studies(10)
    assert line.instances == count
    assert ledger.stories.story(line.study_instance_uid).refusals == ()  # type: ignore[union-attr]


@pytest.mark.slow
def test_ten_thousand_files_are_taken(folder: Path) -> None:
    admit = Recorder()
    content = write_file(folder.parent / "a.dcm", mr_dataset()).read_bytes()
    for number in range(10_000):
        place = folder / f"{number % 40}"
        place.mkdir(exist_ok=True)
        (place / f"{number}").write_bytes(content)
    with dropping(folder, admit, settle_s=3.0, look_s=30.0):
        for number in range(200):
            (folder / f"late{number}").write_bytes(content)
        wait_until(lambda: len(admit.came) >= 10_200, "all are taken", 300)
        wait_for_files(folder, set())
    assert len(admit.came) == 10_200
