"""Where instances are received: on the disk with one fdatasync, before anyone says success.

A journal is a folder `incoming/<name>/` of the spool with one file an instance, each of them
the final DICOM file under a name that means nothing. The files are made ahead, empty, and
their names synced together: what is left to do for an instance is to write its bytes and to
sync these. What makes a file count is its record (record.py); the settler (settle.py) takes
it from here to its place.

A journal belongs to one process, which holds a lock on `incoming/<name>.lock` for as long as
it lives. What lies in a journal that nobody holds was left by a crash and is settled first.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.dicom.elements import Encoded
from node.dicom.headers import identity_of, read_header, read_identity
from node.dicom.part10 import part10_head
from node.domain.errors import SpoolUnwritable
from node.domain.header import Header, Identity
from node.store.admission import Arriving
from node.store.placing import is_same_object
from node.store.record import PREAMBLE_SIZE, Fault, Record, encoded, examine
from node.store.spool import Spool, fsync_folder, writable

__all__ = [
    "BLANKS",
    "Arriving",
    "Committed",
    "Entry",
    "Journal",
    "committed_in",
    "discard_blanks",
    "files_in",
    "orphans",
]

INCOMING: Final = "incoming"
BLANKS: Final = 256
"""How many empty files lie ready."""

BEGINNING: Final = 64 * 1024
"""How much of an instance is read back to identify it; most headers end before."""

_SYNCED_TOGETHER: Final = 64

SYNC_EVERY: Final = 64 * 2**20
"""A long instance goes to the disk in steps of so many bytes, so that the end is quick."""

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LOCK_SUFFIX: Final = ".lock"

_held_here: Final[set[Path]] = set()
"""Journals of this process: over NFS, a lock does not keep out its own process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """An instance that would outlive a power cut. size: of its data set, bytes."""

    path: Path
    arriving: Arriving
    size: int


@dataclass(frozen=True, slots=True)
class _Blank:
    """An open file to receive into. durable: its name is on the disk already."""

    path: Path
    descriptor: int
    durable: bool

    def close(self) -> None:
        os.close(self.descriptor)

    def check_named(self) -> None:
        """Raise OSError where somebody has removed the file, as a cleaner without locks may."""
        if os.fstat(self.descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()


class Entry:
    """One instance being received; used by one thread."""

    def __init__(self, journal: "Journal", blank: _Blank, arriving: Arriving) -> None:
        self._journal: Final = journal
        self._blank: Final = blank
        self._arriving: Final = arriving
        self._head: Final = part10_head(
            sop_class_uid=arriving.sop_class_uid,
            sop_instance_uid=arriving.sop_instance_uid,
            transfer_syntax_uid=arriving.transfer_syntax_uid,
            source_ae_title=arriving.calling_ae_title,
        )[PREAMBLE_SIZE:]
        self._start: Final = PREAMBLE_SIZE + len(self._head)
        self._crc = zlib.crc32(self._head)
        self._synced = 0
        self._open = True
        self.size = 0

    def write(self, fragment: Encoded | memoryview) -> None:
        """Append bytes of the data set. Raises SpoolUnwritable, after which `discard` is due."""
        with writable("written"):
            _write_at(self._blank.descriptor, fragment, self._start + self.size)
            self._crc = zlib.crc32(fragment, self._crc)
            self.size += len(fragment)
            if self.size - self._synced >= SYNC_EVERY:
                os.fdatasync(self._blank.descriptor)
                self._synced = self.size

    def header(self) -> Header:
        """Read the header of what came. Raises NotDicom, MissingIdentifier, SpoolUnwritable."""
        syntax = self._arriving.transfer_syntax_uid
        with writable("read"), encoded(self._blank.descriptor, self._start + self.size) as data:
            return read_header(data, syntax, start=self._start)

    def identity(self) -> Identity:
        """Read which instance came; checks all that `header` does, at less than half its cost.

        Raises NotDicom, MissingIdentifier, SpoolUnwritable.
        """
        with writable("read"):
            beginning = os.pread(self._blank.descriptor, BEGINNING, 0)
        syntax, end = self._arriving.transfer_syntax_uid, self._start + self.size
        found = read_identity(beginning, syntax, start=self._start, end=end)
        return found if found is not None else identity_of(self.header())

    def is_same_as(self, file: Path) -> bool:
        """Whether a file of the spool holds the same: transfer syntax and bytes as received."""
        span = (self._start, self._start + self.size)
        syntax = self._arriving.transfer_syntax_uid
        return is_same_object(self._blank.descriptor, span, syntax, file)

    def commit(self, *, settled_at_once: bool = False) -> Committed:
        """Make it last: when this returns, the instance is found again after a crash.

        settled_at_once: the caller settles it before it acknowledges anything, so that the
        name in the journal need not last. Raises SpoolUnwritable; then nothing of it is left.
        """
        record = Record(self._start + self.size, self._crc)
        try:
            with writable("written"):
                _write_at(self._blank.descriptor, record.encode() + self._head, 0)
                os.fdatasync(self._blank.descriptor)
                if not (self._blank.durable or settled_at_once):
                    fsync_folder(self._journal.folder)
                self._blank.check_named()
        except SpoolUnwritable:
            # After an fsync that failed, the file may hold anything.
            self._close()
            self._blank.remove()
            raise
        self._close()
        return Committed(path=self._blank.path, arriving=self._arriving, size=self.size)

    def discard(self) -> None:
        """Forget what came; does nothing after a commit."""
        if self._open:
            self._close()
            self._blank.remove()

    def _close(self) -> None:
        self._open = False
        self._blank.close()


class Journal:
    """Blank files, made ahead, into which instances are received; safe to use from threads."""

    def __init__(self, spool: Spool, *, blanks: int = BLANKS) -> None:
        """Make the folder and hold it. Raises SpoolUnwritable."""
        self._wanted: Final = blanks
        self._blanks: Final[deque[Path]] = deque()
        self._numbers: Final = threading.Lock()
        self._number = 0
        incoming = spool.path(INCOMING)
        with writable("written"):
            spool.ensure_durable(incoming)
            # The lock is there before the folder, so that no folder is ever without its holder.
            self.folder: Final = incoming / secrets.token_hex(8)
            self._lock: Final = _hold(self.folder)
            spool.ensure_durable(self.folder)

    def begin(self, incoming: Arriving) -> Entry:
        """Return an entry on a blank; where none is ready, on a new file, which costs more.

        Raises SpoolUnwritable.
        """
        with writable("written"):
            return Entry(self, self._take(), incoming)

    def refill(self) -> None:
        """Make blanks until as many as wanted lie ready. Raises SpoolUnwritable.

        For a thread in the background; one at a time.
        """
        with writable("written"):
            while (lacking := self._wanted - len(self._blanks)) > 0:
                made = [self._new_name() for _ in range(min(lacking, _SYNCED_TOGETHER))]
                for path in made:
                    os.close(os.open(path, _NEW, 0o666))
                fsync_folder(self.folder)
                self._blanks.extend(made)

    @property
    def ready(self) -> int:
        """How many blanks lie ready."""
        return len(self._blanks)

    def close(self) -> None:
        """Remove the blanks and let go; what is committed stays, for the settler.

        For when no entry is open any more.
        """
        while self._blanks:
            self._blanks.popleft().unlink(missing_ok=True)
        _remove(self.folder)
        _held_here.discard(self.folder)
        os.close(self._lock)

    def _take(self) -> _Blank:
        while self._blanks:
            with contextlib.suppress(IndexError, FileNotFoundError):
                path = self._blanks.popleft()
                return _Blank(path, os.open(path, os.O_RDWR | os.O_CLOEXEC), True)
        path = self._new_name()
        return _Blank(path, os.open(path, _NEW, 0o666), False)

    def _new_name(self) -> Path:
        """Return a name that this journal never had: a path stands for one instance for ever."""
        with self._numbers:
            self._number += 1
            return self.folder / f"{self._number:012d}.dcm"


def orphans(spool: Spool) -> list[Path]:
    """Return the folders of journals that nobody holds, oldest first. Raises SpoolUnwritable."""
    found: list[tuple[int, Path]] = []
    with writable("looked at"), contextlib.suppress(FileNotFoundError):
        for folder in spool.path(INCOMING).iterdir():
            with contextlib.suppress(FileNotFoundError):  # another settler has removed it
                if folder.is_dir() and not _is_held(folder):
                    found.append((folder.stat().st_mtime_ns, folder))
    return [folder for _, folder in sorted(found)]


def committed_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a journal that are whole, in the order in which they came.

    Raises SpoolUnwritable where the folder cannot be read.
    """
    for path in files_in(folder):
        with writable("read"), contextlib.suppress(FileNotFoundError):
            if not isinstance(examine(path), Fault):
                yield path


def files_in(folder: Path) -> list[Path]:
    """Return all files of a journal, blanks and all, by name."""
    with writable("read"), contextlib.suppress(FileNotFoundError):
        return sorted(folder.glob("*.dcm"))
    return []


def discard_blanks(folder: Path) -> None:
    """Remove what was never committed from a journal that nobody holds, and it when empty.

    Raises SpoolUnwritable.
    """
    with writable("cleaned"):
        for path in files_in(folder):
            with contextlib.suppress(FileNotFoundError):
                if examine(path) is Fault.BLANK:
                    path.unlink()
    _remove(folder)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _hold(folder: Path) -> int:
    """Take the lock of a journal and return the descriptor that holds it. Raises OSError."""
    descriptor = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _held_here.add(folder)
    return descriptor


def _is_held(folder: Path) -> bool:
    """Whether a living process has the journal; those who ask do not get in each other's way."""
    if folder in _held_here:
        return True
    try:
        descriptor = os.open(_lock_of(folder), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _write_at(descriptor: int, data: Encoded | memoryview, position: int) -> None:
    """Write all of the data. Raises OSError."""
    written = os.pwrite(descriptor, data, position)
    while written < len(data):
        data, position = memoryview(data)[written:], position + written
        written = os.pwrite(descriptor, data, position)
