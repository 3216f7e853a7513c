"""The process for heavy work: warm, killable, and never a danger to its parent."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.analysis.workshop import ChildProcess, InThisProcess
from node.domain.errors import (
    BrainNotFound,
    DeviceFailed,
    OutOfMemory,
    StepCrashed,
    TimeLimitReached,
)
from node.segmentation.effort import Effort
from tests.support.tasks import Die, Hang, Raise, RaiseOn, Refuse, TellPid

LIMIT_S = 120.0


@pytest.fixture(scope="module", autouse=True)
def path_to_the_tests() -> Iterator[None]:
    """Let children find the tasks of the tests; they do not look where they are started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        yield


@pytest.fixture(scope="module")
def child() -> Iterator[ChildProcess]:
    with ChildProcess(libraries=()) as process:
        yield process


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_stays_warm_from_task_to_task(child: ChildProcess) -> None:
    pids = {child.perform(TellPid(), limit_s=LIMIT_S) for _ in range(2)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


def test_progress_is_told_while_a_task_runs(child: ChildProcess) -> None:
    told: list[float] = []
    child.perform(TellPid(), limit_s=LIMIT_S, on_progress=told.append)
    assert told == [0.5, 1.0]


@pytest.mark.parametrize("error", [ValueError(), BrokenPipeError(), KeyboardInterrupt()])
def test_whoever_cannot_take_progress_does_not_get_the_next_answer(
    child: ChildProcess, error: BaseException
) -> None:
    def refuse(_: float) -> None:
        raise error

    with pytest.raises((type(error), StepCrashed)):
        child.perform(TellPid(), limit_s=LIMIT_S, on_progress=refuse)
    with pytest.raises(BrainNotFound):
        child.perform(Refuse(), limit_s=LIMIT_S)


def test_files_of_the_working_directory_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statistics.py").write_text("raise SystemExit('strange code was run')")
    monkeypatch.chdir(tmp_path)
    with ChildProcess(libraries=("statistics",)) as process:
        assert process.perform(TellPid(), limit_s=LIMIT_S) != os.getpid()


def test_a_named_reason_comes_over(child: ChildProcess) -> None:
    with pytest.raises(BrainNotFound, match="there is no brain"):
        child.perform(Refuse(), limit_s=LIMIT_S)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
    ids=["numpy", "torch"],
)
def test_a_lack_of_memory_is_told_from_a_defect(child: ChildProcess, error: Exception) -> None:
    with pytest.raises(OutOfMemory):
        child.perform(Raise(error), limit_s=LIMIT_S)


def test_a_defect_names_its_kind_and_not_its_text(child: ChildProcess) -> None:
    with pytest.raises(StepCrashed) as caught:
        child.perform(Raise(ValueError("Doe^Jane")), limit_s=LIMIT_S)
    assert "ValueError" in caught.value.what
    assert "Doe" not in caught.value.what


def test_a_gpu_that_fails_is_told_from_a_defect_and_its_child_replaced(
    child: ChildProcess,
) -> None:
    before = child.perform(TellPid(), limit_s=LIMIT_S)
    on_gpu = RaiseOn(Effort(device="cuda:0", threads=1, memory_bytes=1))
    with pytest.raises(DeviceFailed, match="cuda:0"):
        child.perform(on_gpu, limit_s=LIMIT_S)
    assert child.perform(TellPid(), limit_s=LIMIT_S) != before
    with pytest.raises(StepCrashed):
        child.perform(RaiseOn(replace(on_gpu.effort, device="cpu")), limit_s=LIMIT_S)


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGKILL, OutOfMemory), (signal.SIGSEGV, StepCrashed)]
)
def test_a_child_that_dies_is_replaced(
    child: ChildProcess, number: signal.Signals, expected: type[Exception]
) -> None:
    before = child.perform(TellPid(), limit_s=LIMIT_S)
    with pytest.raises(expected):
        child.perform(Die(number), limit_s=LIMIT_S)
    assert child.perform(TellPid(), limit_s=LIMIT_S) != before


def test_a_task_that_does_not_end_is_killed_at_its_limit(
    child: ChildProcess, tmp_path: Path
) -> None:
    child.perform(TellPid(), limit_s=LIMIT_S)
    note = tmp_path / "pid"
    with pytest.raises(TimeLimitReached):
        child.perform(Hang(note), limit_s=2.0)
    assert not is_alive(int(note.read_text()))
    child.perform(TellPid(), limit_s=LIMIT_S)


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "from pathlib import Path\n"
        "from node.analysis.workshop import ChildProcess\n"
        "from tests.support.tasks import Hang\n"
        f"ChildProcess(libraries=()).perform(Hang(Path({str(note)!r})), limit_s=1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    until = time.monotonic() + LIMIT_S
    while not (note.is_file() and note.read_text()) and time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            parent.wait(0.05)
    parent.kill()
    parent.wait()
    pid = int(note.read_text())
    while is_alive(pid) and time.monotonic() < until:
        os.sched_yield()
    assert not is_alive(pid)


def test_without_a_child_the_errors_are_the_same() -> None:
    here = InThisProcess()
    for task, error in (
        (Refuse(), BrainNotFound),
        (Raise(MemoryError()), OutOfMemory),
        (Raise(ValueError()), StepCrashed),
    ):
        with pytest.raises(error):
            here.perform(task, limit_s=LIMIT_S)
