"""The child of `node.analysis.workshop`, told a descriptor, a log level and its libraries.

It performs what comes over the inherited descriptor, and ends when nobody is at its other end.
"""

import contextlib
import gc
import importlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from node.analysis.workshop import Advanced, Done, Failed, Progress, Task, named
from node.domain.errors import OutOfMemory, SegnodeError
from node.telemetry.logs import configure_logging

log = logging.getLogger("node.analysis.workshop_process")

SOONER: Final = "500"
"""The kernel, short of memory, takes this process before the ones that hold promises."""


def main(connection: Connection, libraries: Sequence[str]) -> None:
    """Perform tasks until the other end is closed."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the parent gets them too, and stops us
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(SOONER)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as NVIDIA's library counts them
    tasks: queue.SimpleQueue[Task[Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    for name in libraries:
        importlib.import_module(name)
    while True:
        outcome = _perform(tasks.get(), lambda part: connection.send(Advanced(part)))
        _give_back()
        connection.send(outcome)


def _listen(connection: Connection, tasks: "queue.SimpleQueue[Task[Any]]") -> None:
    """Pass tasks on; when the parent is gone, whatever is computed is for nobody."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def _perform(task: Task[Any], on_progress: Progress) -> Done | Failed:
    try:
        return Done(task.perform(on_progress))
    except SegnodeError as error:
        return Failed(type(error)(error.what))
    except Exception as error:
        reason = named(error, task)
        if not isinstance(reason, OutOfMemory):
            log.exception("%s crashed", type(task).__name__)
        return Failed(reason)


def _give_back() -> None:
    """Free what torch keeps of a GPU for later; others would count it as used."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    configure_logging(logging.getLevelName(int(sys.argv[2])))
    main(Connection(int(sys.argv[1])), sys.argv[3:])
