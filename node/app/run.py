"""`segnode run`: both halves as child processes of one that watches over them."""

import logging
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from node.domain.clock import Clock

log = logging.getLogger(__name__)

SEGNODE = (sys.executable, "-m", "node.app.cli.main")
HALVES = ("serve", "work")
STOP_LIMIT_S = 30.0
LONGEST_PAUSE_S = 60.0
LOOK_S = 0.2


@dataclass(slots=True)
class Half:
    """One child: since when it lives, and when it may be started again."""

    command: str
    process: subprocess.Popen[bytes] | None = None
    not_before: float = 0.0
    started: float = 0.0
    pause_s: float = 1.0


def run(configuration: Path, stop: threading.Event, clock: Clock) -> None:
    """Run both halves until told to stop; a half that dies is started again, ever slower."""
    halves = tuple(Half(command=command) for command in HALVES)
    try:
        while not stop.is_set():
            for half in halves:
                _look_after(half, configuration, clock)
            stop.wait(LOOK_S)
    finally:
        _stop_all(halves)


def _look_after(half: Half, configuration: Path, clock: Clock) -> None:
    now = clock.monotonic()
    if half.process is not None:
        code = half.process.poll()
        if code is None:
            return
        half.process = None
        lived_long = now - half.started > LONGEST_PAUSE_S
        half.pause_s = 1.0 if lived_long else min(half.pause_s * 2, LONGEST_PAUSE_S)
        half.not_before = now + half.pause_s
        log.error(
            "segnode %s ended with code %d; started again in %.0f s",
            half.command,
            code,
            half.pause_s,
        )
    if now >= half.not_before:
        half.process = subprocess.Popen(  # noqa: S603 - our own program and a path of ours
            [*SEGNODE, half.command, "--config", str(configuration)]
        )
        half.started = now


def _stop_all(halves: tuple[Half, ...]) -> None:
    running = [half.process for half in halves if half.process is not None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
