"""A watched folder: what is put into it is taken as if it had been sent, then removed.

For imports from media and for tests. Events only say where to look: a file that was closed
after writing is looked at soon, any other when it has not changed for a while, and
everything is looked at when the watch begins and from time to time, because not every file
system tells of its changes. A file is removed only when it may be acknowledged; a crash in
between makes it come again as a duplicate, which is removed without a word.
"""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from node.domain.clock import Clock, SystemClock
from node.domain.errors import ConfigurationInvalid
from node.domain.ids import AETitle
from node.listener.drop_files import files_in, is_ignored, remove_empty_folders
from node.listener.drop_taking import Look, Taker
from node.listener.files import Admit

logger: Final = logging.getLogger(__name__)

GIB: Final = 1024**3
MOST_HINTS: Final = 50_000
"""More changes than this at once are found by looking at the whole folder."""

TIDY_S: Final = 60.0
"""An empty folder is removed when it has been so for this long."""

CALLING_AE_TITLE: Final = AETitle("DROP")
"""Stands in the ledger for a sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropOptions:
    """The folder, and how patient to be with what lies in it.

    temporary: a folder on the spool's disk, for copies of long files while they are read.
    largest_bytes: of a file that is taken. closed_s: after a file was closed or renamed, in
    which copying programs still set its times. settle_s: for which a file that nobody closed
    before our eyes must not have changed; writing_s: the same for one that is being written.
    look_s: between two looks at the whole folder. attempts: after which a file that fails is
    rejected. first_pause_s, longest_pause_s: while nothing can be taken in at all.
    """

    folder: Path
    temporary: Path
    calling_ae_title: AETitle = CALLING_AE_TITLE
    largest_bytes: int = 4 * GIB
    closed_s: float = 0.5
    settle_s: float = 3.0
    writing_s: float = 60.0
    look_s: float = 30.0
    attempts: int = 5
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0


class DropFolder:
    """Takes in what is put into a folder, from a thread of its own."""

    def __init__(self, options: DropOptions, admit: Admit, clock: Clock | None = None) -> None:
        self._options: Final = options
        self._taker: Final = Taker(
            options.folder,
            admit,
            clock or SystemClock(),
            calling_ae_title=options.calling_ae_title,
            temporary=options.temporary,
            largest_bytes=options.largest_bytes,
            settle_s=options.settle_s,
            attempts=options.attempts,
        )
        self._hints: Final = _Hints()
        self._stopping: Final = threading.Event()
        self._observer: BaseObserver | None = None
        self._thread: Final = threading.Thread(target=self._run, name="drop", daemon=True)
        self._pause_s = 0.0
        self._is_folder_there = True

    def start(self) -> None:
        """Watch in the background. Raises ConfigurationInvalid without such a folder."""
        if not self._options.folder.is_dir():
            message = f"drop.folder: {self._options.folder} is no folder"
            raise ConfigurationInvalid(message)
        self._options.temporary.mkdir(parents=True, exist_ok=True)
        observer = Observer()
        # With inotify's limits used up, looking from time to time remains.
        try:
            observer.schedule(
                _Handler(self._options, self._hints), str(self._options.folder), recursive=True
            )
            observer.start()
            self._observer = observer
        except OSError as error:
            logger.warning("the drop folder is not told of changes", extra={"errno": error.errno})
        self._thread.start()

    def stop(self) -> None:
        """Finish the file in hand and stop; the others stay where they are."""
        self._stopping.set()
        self._hints.wake()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        next_look = time.monotonic()
        while not self._stopping.is_set():
            if self._hints.take_look() or time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + self._options.look_s
            due = self._hints.take_due()
            for path, was_closed in due:
                self._take(path, was_closed=was_closed)
            if not due:
                self._hints.wait(next_look)

    def _look(self) -> None:
        """Look at the whole folder."""
        try:
            for path in files_in(self._options.folder):
                if self._stopping.is_set():
                    return
                if path not in self._hints:
                    self._take(path, was_closed=False)
            remove_empty_folders(self._options.folder, changed_before=time.time() - TIDY_S)
        except OSError as error:
            if self._is_folder_there:
                logger.warning("the drop folder cannot be read", extra={"errno": error.errno})
            self._is_folder_there = False
        else:
            self._is_folder_there = True

    def _take(self, path: Path, *, was_closed: bool) -> None:
        """Look at one file; when nothing can be taken in, wait before the next."""
        if self._stopping.is_set():
            return
        result = self._taker.look_at(path, was_closed=was_closed)
        if result in (Look.AGAIN, Look.NOT_NOW):
            self._hints.add(path, self._options.settle_s, was_closed=False)
        if result is Look.NOT_NOW:
            self._pause()
        elif result is Look.TAKEN:
            self._go_on()

    def _pause(self) -> None:
        if not self._pause_s:
            logger.warning("the drop folder waits, because nothing can be taken in")
        longer = max(2 * self._pause_s, self._options.first_pause_s)
        self._pause_s = min(longer, self._options.longest_pause_s)
        self._stopping.wait(self._pause_s)

    def _go_on(self) -> None:
        if self._pause_s:
            logger.info("the drop folder goes on")
        self._pause_s = 0.0


class _Hints:
    """Files to look at, each with the time for it; safe for the observer's thread and ours."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Path, tuple[float, bool]] = {}
        self._look_at: float | None = None
        self._awake = False

    def __contains__(self, path: Path) -> bool:
        with self._changed:
            return path in self._due

    def add(self, path: Path, delay_s: float, *, was_closed: bool) -> None:
        """Have a file looked at after a while; a later hint takes the place of an earlier."""
        with self._changed:
            if len(self._due) >= MOST_HINTS and path not in self._due:
                self._look_at = self._look_at or time.monotonic()
                return
            self._due[path] = (time.monotonic() + delay_s, was_closed)
            self._changed.notify()

    def look(self, delay_s: float) -> None:
        """Have the whole folder looked at after a while; an earlier hint stays."""
        with self._changed:
            self._look_at = self._look_at or time.monotonic() + delay_s
            self._changed.notify()

    def wake(self) -> None:
        """End a wait for good."""
        with self._changed:
            self._awake = True
            self._changed.notify()

    def take_look(self) -> bool:
        """Whether the whole folder is to be looked at; said once."""
        with self._changed:
            if self._look_at is None or self._look_at > time.monotonic():
                return False
            self._look_at = None
            return True

    def take_due(self) -> list[tuple[Path, bool]]:
        """Return the files whose time has come, and whether they were closed."""
        now = time.monotonic()
        with self._changed:
            found = [(path, hint[1]) for path, hint in self._due.items() if hint[0] <= now]
            for path, _ in found:
                del self._due[path]
            return found

    def wait(self, limit: float) -> None:
        """Wait until there is something to do, at most until a time (monotonic)."""
        with self._changed:
            if self._awake:
                return
            times = [limit, *(at for at, _ in self._due.values())]
            if self._look_at is not None:
                times.append(self._look_at)
            self._changed.wait(max(min(times) - time.monotonic(), 0.0))


class _Handler(FileSystemEventHandler):
    """Turns events into hints."""

    def __init__(self, options: DropOptions, hints: _Hints) -> None:
        self._options = options
        self._hints = hints
        self._wait: Final[dict[type[FileSystemEvent], tuple[float, bool]]] = {
            FileClosedEvent: (options.closed_s, True),
            FileMovedEvent: (options.closed_s, True),
            FileCreatedEvent: (options.settle_s, False),  # made, or moved in from outside
            FileModifiedEvent: (options.writing_s, False),
        }

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note a change of the folder."""
        if isinstance(event, DirCreatedEvent | DirMovedEvent):
            self._hints.look(self._options.settle_s)
            return
        if type(event) not in self._wait:
            return
        delay_s, was_closed = self._wait[type(event)]
        path = Path(str(event.dest_path if isinstance(event, FileMovedEvent) else event.src_path))
        with suppress(ValueError):
            if not is_ignored(path.relative_to(self._options.folder)):
                self._hints.add(path, delay_s, was_closed=was_closed)
