"""Tasks for a workshop that end well, badly, late or never."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.domain.errors import BrainNotFound
from node.segmentation.effort import Effort


@dataclass(frozen=True)
class TellPid:
    """Gives the process that performs it, after two halves of progress."""

    def perform(self, on_progress: Callable[[float], None]) -> int:
        on_progress(0.5)
        on_progress(1.0)
        return os.getpid()


@dataclass(frozen=True)
class Hang:
    """Never ends; writes down who performs it first."""

    note: Path

    def perform(self, on_progress: Callable[[float], None]) -> None:
        self.note.write_text(str(os.getpid()))
        threading.Event().wait()


@dataclass(frozen=True)
class Refuse:
    """Ends with a named reason."""

    def perform(self, on_progress: Callable[[float], None]) -> None:
        raise BrainNotFound("there is no brain")


@dataclass(frozen=True)
class Raise:
    """Ends with any error."""

    error: Exception

    def perform(self, on_progress: Callable[[float], None]) -> None:
        raise self.error


@dataclass(frozen=True)
class RaiseOn:
    """Ends with an error on a device."""

    effort: Effort

    def perform(self, on_progress: Callable[[float], None]) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


@dataclass(frozen=True)
class Die:
    """Ends the process with a signal."""

    number: signal.Signals

    def perform(self, on_progress: Callable[[float], None]) -> None:
        os.kill(os.getpid(), self.number)
        threading.Event().wait()
