"""A process of its own for the heavy work, warm between studies, that can be killed.

Networks crash, hang and eat memory; here they take neither the executor nor its ledger along.
A task and its answer are small values; arrays lie in files.
"""

import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, Final, Protocol, Self, TypeVar

from node.domain.errors import (
    DeviceFailed,
    OutOfMemory,
    SegnodeError,
    StepCrashed,
    TimeLimitReached,
)
from node.segmentation.effort import Effort
from node.segmentation.memory import is_out_of_memory

log = logging.getLogger(__name__)

PROGRAM: Final = (sys.executable, "-P", "-m", "node.analysis.workshop_process")
"""-P: files of the working directory are no modules of ours, whatever their names."""

DEATH_S: Final = 5.0
"""How long a child that hung up may take to be gone."""
LIBRARIES: Final = ("torch", "SimpleITK", "node.analysis.tasks")
"""What a child loads before it is asked for anything."""

OF_DEVICES: Final = (RuntimeError, AssertionError, NotImplementedError)
"""What torch raises where a GPU or its driver does not serve."""

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
Progress = Callable[[float], None]


class Task(Protocol[R_co]):
    """A frozen value that says what to do, and does it."""

    def perform(self, on_progress: Progress) -> R_co:
        """Do it; on_progress is told the finished part, from 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to a task."""

    answer: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A named reason why there is none."""

    error: SegnodeError


@dataclass(frozen=True, slots=True)
class Advanced:
    """The finished part of the task, from 0 to 1."""

    part: float


class Workshop(Protocol):
    """Where tasks are performed."""

    def perform(self, task: Task[R], *, limit_s: float, on_progress: Progress | None = None) -> R:
        """Return the answer.

        Raises the task's own SegnodeError, TimeLimitReached after limit_s, OutOfMemory,
        StepCrashed when the process died otherwise.
        """
        ...


class InThisProcess:
    """Performs tasks where it is called; nothing can be killed, limits are not kept."""

    def perform(self, task: Task[R], *, limit_s: float, on_progress: Progress | None = None) -> R:
        """Return the answer; see Workshop."""
        del limit_s
        try:
            return task.perform(on_progress or ignore)
        except SegnodeError:
            raise
        except Exception as error:
            raise named(error, task) from error


class ChildProcess:
    """Performs tasks one after the other in a child that is kept; use as a context manager.

    libraries: modules that the child loads while nothing is to do.
    """

    def __init__(self, libraries: tuple[str, ...] = LIBRARIES) -> None:
        self._libraries: Final = libraries
        self._one_at_a_time: Final = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        with self._one_at_a_time:
            self._connect()  # so that it loads its libraries while nothing is to do
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def perform(self, task: Task[R], *, limit_s: float, on_progress: Progress | None = None) -> R:
        """Return the answer; see Workshop. Waiting for earlier tasks does not count."""
        with self._one_at_a_time:
            connection = self._connect()
            try:
                connection.send(task)
                answer: R = self._answer(connection, monotonic() + limit_s, on_progress or ignore)
            except TimeoutError as error:
                self.close()
                raise TimeLimitReached(
                    f"{type(task).__name__} took longer than {limit_s:.0f} s and was stopped"
                ) from error
            except (EOFError, OSError) as error:
                raise self._death(task) from error
            except BaseException as error:
                # An answer that nobody waits for any more must not meet the next task, and what
                # a crash broke in the child's libraries or on the GPU goes with it.
                clean = isinstance(error, SegnodeError)
                if not clean or isinstance(error, DeviceFailed | StepCrashed):
                    self.close()
                raise
            return answer

    def close(self) -> None:
        """End the child, whatever it does."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait()

    def _connect(self) -> Connection:
        """Return the line to a living child; start one where there is none."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                told = (str(theirs.fileno()), str(log.getEffectiveLevel()), *self._libraries)
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [*PROGRAM, *told], pass_fds=[theirs.fileno()]
                )
            self._connection = Connection(ours.detach())
        return self._connection

    @staticmethod
    def _answer(connection: Connection, until: float, on_progress: Progress) -> Any:
        while connection.poll(max(until - monotonic(), 0.0)):
            message = connection.recv()
            if isinstance(message, Failed):
                raise message.error
            if isinstance(message, Done):
                return message.answer
            try:
                on_progress(message.part)
            except OSError as error:
                raise StepCrashed("progress could not be told") from error
            if monotonic() >= until:
                break
        raise TimeoutError

    def _death(self, task: Task[object]) -> SegnodeError:
        """Say why the child is gone: the kernel kills with SIGKILL what eats its memory."""
        process = self._process
        code = None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(DEATH_S)
        self.close()
        name = type(task).__name__
        if code == -signal.SIGKILL:
            return OutOfMemory(
                f"the process of {name} was killed, as the system does without memory"
            )
        log.error("the process of %s ended with code %s", name, code)
        return StepCrashed(f"the process of {name} ended with code {code}")


def named(error: Exception, task: Task[object]) -> SegnodeError:
    """Return the reason for an error that nobody named; its text is left out."""
    name = type(task).__name__
    if is_out_of_memory(error):
        return OutOfMemory(f"{name} needs more memory than there is")
    effort = getattr(task, "effort", None)
    if isinstance(effort, Effort) and effort.device != "cpu" and isinstance(error, OF_DEVICES):
        return DeviceFailed(f"{name} failed on {effort.device} with {type(error).__name__}")
    return StepCrashed(f"{name} raised {type(error).__name__}")


def ignore(_: float) -> None:
    """Take progress that nobody asked for."""
