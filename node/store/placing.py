"""From a journal to the place in the spool, in an order that a crash may interrupt anywhere."""

import contextlib
import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node.dicom.part10 import read_file_meta
from node.domain.errors import NotDicom
from node.domain.ids import TransferSyntaxUID
from node.store.record import opened, pieces, same_bytes
from node.store.spool import UNFINISHED, Spool, fsync_folder

_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
"""What a file system answers that has no hard links, or no more of them for this file."""

_PLACING_LOCK: Final = "placing.lock"

_one_thread: Final = threading.Lock()


def place(spool: Spool, source: Path, relative: str) -> bool:
    """Give a file its place as well; False where something else lies there.

    Nothing is overwritten, whoever else places at the same moment. The folder is made, but
    that the name is in it is on the disk only after `fsync_folder`. Raises OSError.
    """
    target = spool.path(relative)
    spool.ensure_durable(target.parent)
    try:
        os.link(source, target)
    except FileExistsError:
        return target.samefile(source) or _is_copy(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _copy(spool, source, target)
    return True


def put_in_place_of(spool: Spool, source: Path, relative: str) -> None:
    """Have a file take the place of one that the disk lost or altered. Raises OSError."""
    target = spool.path(relative)
    spool.ensure_durable(target.parent)
    with _temporary(spool) as temporary:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _copy_bytes(source, temporary)
        temporary.replace(target)
    fsync_folder(target.parent)


def is_same_object(descriptor: int, span: tuple[int, int], syntax: str, file: Path) -> bool:
    """Whether a file holds the same transfer syntax and the same bytes of the data set.

    span: where the data set to compare begins and ends. False where the file is absent,
    unreadable or no DICOM file. Raises nothing.
    """
    with contextlib.suppress(OSError, NotDicom), file.open("rb", buffering=0) as other:
        meta = read_file_meta(other)
        if meta.transfer_syntax_uid != TransferSyntaxUID(syntax):
            return False
        end = os.fstat(other.fileno()).st_size
        return same_bytes(descriptor, span, other.fileno(), (meta.offset, end))
    return False


def _is_copy(source: Path, target: Path) -> bool:
    """Whether the target was copied from the source before, where there are no links."""
    with opened(source) as ours, opened(target) as theirs:
        size = os.fstat(ours).st_size
        return same_bytes(ours, (0, size), theirs, (0, os.fstat(theirs).st_size))


def _copy(spool: Spool, source: Path, target: Path) -> bool:
    """Do what a link would have done: a whole file under the name, unless it is taken.

    Renaming would overwrite, so one at a time looks and renames; the lock is let go by a crash.
    """
    with _temporary(spool) as temporary:
        _copy_bytes(source, temporary)
        with _placing(spool):
            if target.exists():
                return _is_copy(source, target)
            temporary.replace(target)
    return True


def _copy_bytes(source: Path, target: Path) -> None:
    with opened(source) as descriptor, target.open("xb") as copy:
        for piece in pieces(descriptor, 0, os.fstat(descriptor).st_size):
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())


@contextlib.contextmanager
def _temporary(spool: Spool) -> Iterator[Path]:
    folder = spool.path(UNFINISHED)
    spool.ensure_durable(folder)
    temporary = folder / secrets.token_hex(12)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _placing(spool: Spool) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with _one_thread:  # the lock may not keep threads of one process apart
        descriptor = os.open(spool.root / _PLACING_LOCK, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
