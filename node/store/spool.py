"""Files that are on the disk when the call returns: content, name and every folder above.

Layout below the root; names are hashes, so no identifier shows in a listing:

    incoming/<journal>/                          acknowledged, on its way into the ledger
    objects/ab/<study>/<series>/<instance>.dcm   what was received
    aside/ab/<instance>-<content>.dcm            second objects under a known SOP Instance UID
    work/<analysis id>/                          artefacts of an analysis
    unfinished/                                  files being written; nothing else reads them
"""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from node.domain.errors import SpoolDamaged, SpoolUnwritable
from node.domain.ids import (
    AnalysisId,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    StudyInstanceUID,
)

UNFINISHED: Final = "unfinished"
LOST: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.EUCLEAN, errno.EBADMSG})
"""What is answered for a file that is not there or cannot be read, however often it is tried."""

READ_SIZE: Final = 1 << 20
KNOWN_FOLDERS_LIMIT: Final = 4096


def instance_path(study: StudyInstanceUID, series: SeriesInstanceUID, sop: SOPInstanceUID) -> str:
    """Return where an instance lies, relative to the root."""
    folder = _hash(study)[:16]
    return f"objects/{folder[:2]}/{folder}/{_hash(series)[:16]}/{_hash(sop)[:32]}.dcm"


def aside_path(sop: SOPInstanceUID, content: Sha256) -> str:
    """Return where a second object under a known SOP Instance UID is kept."""
    name = _hash(sop)[:32]
    return f"aside/{name[:2]}/{name}-{content[:16]}.dcm"


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a file system has left for us. free_inodes: None where it does not count them."""

    free_bytes: int
    free_inodes: int | None


class Spool:
    """A folder of files, shared by threads and processes, on a local disk or NFS."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self._folders = threading.Lock()
        self._durable: dict[Path, None] = {}  # as an ordered set, bounded

    def path(self, relative: str) -> Path:
        """Return the absolute path; raises SpoolDamaged for one that leaves the root."""
        if relative.startswith("/") or ".." in relative.split("/"):
            raise SpoolDamaged("A path of the ledger points outside the spool.")
        return self.root / relative

    def write_new(self, relative: str, writer: Callable[[BinaryIO], None]) -> tuple[Sha256, int]:
        """Write a file and return its SHA-256 and size once it would outlive a power cut.

        It is written under a name of its own, fsynced, renamed and its folder fsynced: readers
        find all of it or nothing, and writing the same again changes nothing. Raises
        SpoolUnwritable, after which nothing is left.
        """
        target = self.path(relative)
        with writable("written"):
            self.ensure_durable(target.parent)
            self.ensure_durable(self.root / UNFINISHED)
            temporary = self.root / UNFINISHED / secrets.token_hex(12)
            try:
                with temporary.open("xb") as file:
                    hashed = _HashingFile(file)
                    writer(hashed)  # type: ignore[arg-type]  # a writer only writes
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            fsync_folder(target.parent)
        return hashed.sha256(), hashed.size

    def has_lost(self, relative: str, sha256: Sha256) -> bool:
        """Whether the file is gone, altered, or such that the disk cannot read it any more.

        Raises OSError where that cannot be told now.
        """
        try:
            return self._sha256(relative) != sha256
        except OSError as error:
            if error.errno in LOST:
                return True
            raise

    def read(self, relative: str, sha256: Sha256) -> bytes:
        """Return the bytes; raises SpoolDamaged when they are not what was written."""
        with _readable(relative):
            data = self.path(relative).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SpoolDamaged(f"A file of the spool was altered: {relative}.")
        return data

    def verify(self, relative: str, sha256: Sha256) -> Path:
        """Return the file's path; raises SpoolDamaged when it is not what was written."""
        with _readable(relative):
            found = self._sha256(relative)
        if found != sha256:
            raise SpoolDamaged(f"A file of the spool was altered: {relative}.")
        return self.path(relative)

    def work_folder(self, analysis_id: AnalysisId) -> Path:
        """Return the folder for an analysis' artefacts, made when absent."""
        folder = self.path(f"work/{analysis_id}")
        with writable("made"):
            self.ensure_durable(folder)
        return folder

    def known_file(
        self, study: StudyInstanceUID, series: SeriesInstanceUID, sop: SOPInstanceUID
    ) -> Path | None:
        """Return the file of an instance where one lies at its place, at the cost of one stat.

        The ledger has the last word: the file may still be on its way into it.
        """
        file = self.path(instance_path(study, series, sop))
        return file if file.exists() else None

    def room(self) -> Room:
        """Return what the file system has left; raises SpoolUnwritable without a root."""
        with writable("looked at"):
            found = os.statvfs(self.root)
        return Room(
            free_bytes=found.f_bavail * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,
        )

    def free_bytes(self) -> int:
        """Return the bytes that are left; raises SpoolUnwritable without a root."""
        return self.room().free_bytes

    def check_writable(self) -> None:
        """Write, sync and remove a small file; raises SpoolUnwritable."""
        with writable("written"):
            self.ensure_durable(self.root / UNFINISHED)
            probe = self.root / UNFINISHED / secrets.token_hex(12)
            try:
                with probe.open("xb") as file:
                    file.write(b"probe")
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)

    def discard_unfinished(self, *, older_than_s: float = 86_400.0) -> int:
        """Remove what writers left when they were killed; return how many files it was.

        Nothing there was ever acknowledged. The age spares files of living writers.
        """
        removed = 0
        limit = time.time() - older_than_s
        with writable("cleaned"), contextlib.suppress(FileNotFoundError):
            for file in (self.root / UNFINISHED).iterdir():
                if file.stat().st_mtime < limit:
                    file.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _sha256(self, relative: str) -> Sha256:
        digest = hashlib.sha256()
        with self.path(relative).open("rb") as file:
            while chunk := file.read(READ_SIZE):
                digest.update(chunk)
        return Sha256(digest.hexdigest())

    def ensure_durable(self, folder: Path) -> None:
        """Make the folder and put its entry, and every entry above it, on the disk.

        A folder that another process made may not be on the disk yet, so it is synced at
        first sight; after that, it is remembered.
        """
        if folder in self._durable and folder.is_dir():
            return
        with self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            child = folder
            while child != self.root:
                fsync_folder(child.parent)
                child = child.parent
            while len(self._durable) >= KNOWN_FOLDERS_LIMIT:
                self._durable.pop(next(iter(self._durable)))
            self._durable[folder] = None


class _HashingFile:
    """Passes bytes on to a file and hashes them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def sha256(self) -> Sha256:
        return Sha256(self._digest.hexdigest())


def fsync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writable(verb: str) -> Iterator[None]:
    """Turn OSError into SpoolUnwritable; verb: what cannot be done, as in "written"."""
    try:
        yield
    except OSError as error:
        # Only the system's words: the path in str(error) may be one of the site's secrets.
        raise SpoolUnwritable(f"The spool cannot be {verb}: {error.strerror}.") from error


@contextmanager
def _readable(relative: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolDamaged(
            f"A file of the spool cannot be read ({error.strerror}): {relative}."
        ) from error
