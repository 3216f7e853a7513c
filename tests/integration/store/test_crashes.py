"""What was acknowledged outlives a crash at any moment, byte for byte."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from node.domain.ids import SOPInstanceUID
from node.store.intake import Intake
from node.store.journal import Journal, files_in, orphans
from node.store.ledger import Ledger, open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.journals import commit
from tests.support.ledger_values import SERIES, ManualClock, an_incoming

ROOT = Path(__file__).resolve().parents[3]


class _Crash(BaseException):
    """The end of a process: nothing of ours catches it."""


@contextmanager
def _crash_at(step: int) -> Iterator[list[str]]:
    """Have the process end before or after a step that leaves a trace; yield the steps done.

    Step 2n is before the n-th of them, step 2n + 1 after it.
    """
    done: list[str] = []

    def crashing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*found: Any, **named: Any) -> Any:
            if 2 * len(done) == step:
                raise _Crash
            result = real(*found, **named)
            done.append(name)
            if 2 * len(done) - 1 == step:
                raise _Crash
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("link", "fsync", "fdatasync", "unlink", "replace", "mkdir", "rmdir"):
            patch.setattr(os, name, crashing(name, getattr(os, name)))
        for name in ("record_instances", "record_refusal", "record_rewritten"):
            patch.setattr(Intake, name, crashing(name, getattr(Intake, name)))
        yield done


def _fill(spool: Spool) -> list[bytes]:
    """Leave an orphaned journal with news, a repeat, a conflict and a torn file in it."""
    journal = Journal(spool, blanks=2)
    journal.refill()
    objects = [an_incoming(n, SOPInstanceUID=f"{SERIES}.{n}") for n in (1, 2)]
    conflict = an_incoming(pixels=bytes(64))
    for incoming in (*objects, objects[0], conflict):
        commit(journal, incoming)
    os.truncate(commit(journal, objects[1]), 600)
    journal.begin(objects[0].arriving).write(b"half of it")
    journal.close()
    return [bytes(incoming.data_set) for incoming in (*objects, conflict)]


@pytest.fixture(scope="module")
def steps() -> int:
    """More than there are; the test says when it has come to the end."""
    return 200


def test_a_crash_before_or_after_any_step_of_settling_loses_nothing(
    tmp_path: Path, steps: int
) -> None:
    for step in range(steps):
        folder = tmp_path / str(step)
        spool, ledger = Spool(folder / "spool"), open_ledger(_url(folder))
        first, second, conflict = _fill(spool)
        # The settler after the crash is a new process: it remembers no folder.
        with _crash_at(step) as done:
            try:
                Settler(spool, ledger, ManualClock()).recover()
                finished = True
            except _Crash:
                finished = False
        Settler(Spool(spool.root), ledger, ManualClock()).recover()
        assert _stored(spool, ledger) == [first, second], done
        aside = [p.read_bytes() for p in (spool.root / "aside").rglob("*.dcm")]
        assert sum(data.endswith(conflict) for data in aside) == 1, done
        assert len(aside) == 2, done
        assert orphans(spool) == [], done
        assert len(list((spool.root / "objects").rglob("*.dcm"))) == 2, done
        ledger.close()
        if finished:
            break
    else:
        pytest.fail(f"settling has over {steps} steps")
    assert step > 40


def test_names_are_on_the_disk_before_the_rows_and_go_from_the_journal_after_them(
    tmp_path: Path,
) -> None:
    spool, ledger = Spool(tmp_path / "spool"), open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    journal = Journal(spool)
    paths = [commit(journal, an_incoming(n, SOPInstanceUID=f"{SERIES}.{n}")) for n in (1, 2, 3)]
    with _crash_at(-1) as done:
        Settler(spool, ledger, ManualClock()).settle(paths)
    placing = done[done.index("link") :]
    assert placing == [*["link"] * 3, "fsync", "record_instances", *["unlink"] * 3]
    journal.close()
    ledger.close()


def _url(folder: Path) -> str:
    folder.mkdir()
    return f"sqlite:///{folder / 'ledger.db'}"


def _stored(spool: Spool, ledger: Ledger) -> list[bytes]:
    """Return the data sets of the two instances as they lie in the spool."""
    found = []
    for number in (1, 2):
        stored = ledger.intake.find_instance(SOPInstanceUID(f"{SERIES}.{number}"))
        assert stored is not None
        data = spool.read(stored.path, stored.sha256)
        size = len(an_incoming(number, SOPInstanceUID=f"{SERIES}.{number}").data_set)
        found.append(data[-size:])
    return found


_RECEIVER = """
import sys, threading
from pathlib import Path
from node.store.journal import Journal
from node.store.spool import Spool
from tests.support.journals import commit
from tests.support.ledger_values import an_incoming

journal = Journal(Spool(Path(sys.argv[1]) / "spool"), blanks=20)
lock = threading.Lock()

def receive(part):
    for number in range(part, 100_000, 2):
        incoming = an_incoming(number, SOPInstanceUID=f"{sys.argv[2]}.{number}")
        commit(journal, incoming)
        with lock:
            print(number, flush=True)
        if number % 9 == 0:
            journal.refill()

for part in (1, 2):
    threading.Thread(target=receive, args=(part,)).start()
"""

_SETTLER = """
import sys
from pathlib import Path
from node.domain.clock import SystemClock
from node.store.journal import Journal, committed_in, files_in
from node.store.ledger import open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.journals import commit
from tests.support.ledger_values import an_incoming

folder = Path(sys.argv[1])
spool = Spool(folder / "spool")
settler = Settler(spool, open_ledger(f"sqlite:///{folder / 'ledger.db'}"), SystemClock())
journal = Journal(spool, blanks=0)
for start in range(1, 100_000, 5):
    for number in range(start, start + 5):
        commit(journal, an_incoming(number, SOPInstanceUID=f"{sys.argv[2]}.{number}"))
        print(number, flush=True)
    settler.settle(list(committed_in(journal.folder)))
"""


def _acknowledged(code: str, folder: Path, until: int) -> list[int]:
    """Run code that prints what it acknowledges, and kill it after so many lines."""
    command = [sys.executable, "-c", code, str(folder), SERIES]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        stream: IO[bytes] = child.stdout
        lines = [stream.readline() for _ in range(until)]
        child.send_signal(signal.SIGKILL)
        lines += stream.readlines()
        child.wait(10)
    return [int(line) for line in lines if line.endswith(b"\n")]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("code", [_RECEIVER, _SETTLER], ids=["receiver", "settler"])
def test_nothing_that_was_committed_is_lost_when_the_process_is_killed(
    tmp_path: Path, code: str, seed: int
) -> None:
    until = random.Random(seed).randint(1, 60)
    acknowledged = _acknowledged(code, tmp_path, until)
    assert len(acknowledged) >= until
    spool, ledger = Spool(tmp_path / "spool"), open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    (left,) = orphans(spool)
    Settler(spool, ledger, ManualClock()).recover()
    for number in acknowledged:
        sent = an_incoming(number, SOPInstanceUID=f"{SERIES}.{number}")
        stored = ledger.intake.find_instance(sent.sop_instance_uid)
        assert stored is not None
        assert spool.read(stored.path, stored.sha256).endswith(sent.data_set)
    assert files_in(left) == []
    assert orphans(spool) == []
    ledger.close()


_LONG = """
import resource, sys
from pathlib import Path
from node.domain.clock import SystemClock
from node.store.journal import Journal
from node.store.ledger import open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.ledger_values import an_incoming

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

folder, size = Path(sys.argv[1]), int(sys.argv[2])
spool = Spool(folder / "spool")
settler = Settler(spool, open_ledger(f"sqlite:///{folder / 'ledger.db'}"), SystemClock())
journal = Journal(spool, blanks=0)

def receive(number, length):
    incoming = an_incoming(number, SOPInstanceUID=f"{sys.argv[3]}.{number}")
    head = incoming.data_set[: -len(incoming.data_set) % 2 - 64]
    entry = journal.begin(incoming.arriving)
    entry.write(head[:-4] + length.to_bytes(4, "little"))
    piece = memoryview(bytes(range(256)) * 1024)
    for start in range(0, length, len(piece)):
        entry.write(piece[: length - start])
    assert entry.header().rows == 4
    return entry.commit().path

small = receive(1, 1_000_000)
settler.settle([small])
before = peak()
long = receive(2, size)
entry = journal.begin(an_incoming(3).arriving)
again = receive(2, size)
print(list(settler.settle([long, again]).values()))
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_stays_flat_for_an_instance_of_a_gigabyte_and_its_repeat(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LONG, str(tmp_path), str(10**9), SERIES]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    outcomes, grown_kib = found.stdout.splitlines()
    assert outcomes == "[<Admission.STORED: 'stored'>, <Admission.DUPLICATE: 'duplicate'>]"
    assert int(grown_kib) < 30_000
