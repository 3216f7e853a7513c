"""One file of a drop folder: wait for it, take it in, and remove or reject it."""

import logging
import os
import stat
import time
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from node.domain.clock import Clock
from node.domain.errors import (
    NotDicom,
    ObjectTooLarge,
    RefusedInput,
    SegnodeError,
    SiteFault,
    SpoolUnwritable,
    UnsupportedSopClass,
)
from node.domain.ids import AETitle
from node.listener.drop_files import (
    NotTaken,
    Signature,
    is_reached_plainly,
    open_plain,
    reject,
    remove_if_same,
    signature_of,
)
from node.listener.files import Admit, admit_counted, count_refusal, read_object
from node.store.admit import Incoming

logger: Final = logging.getLogger(__name__)

EMPTY_S: Final = 60.0
"""An empty file is one that will be written, until it is as old as this."""

MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
"""Media Storage Directory: a DICOMDIR (PS3.3 annex F)."""

_MOST_REMEMBERED: Final = 100_000

V = TypeVar("V")


class Look(Enum):
    """What is to be done with a file after a look at it."""

    TAKEN = auto()  # it is acknowledged
    DONE = auto()  # nothing before the next look at the whole folder
    AGAIN = auto()  # it is not yet as it will be
    NOT_NOW = auto()  # nothing can be taken in at the moment, this or any other


class Taker:
    """Takes files in; used by one thread.

    See DropOptions for the parameters.
    """

    def __init__(  # noqa: PLR0913 - the folder's options, and where the files go
        self,
        root: Path,
        admit: Admit,
        clock: Clock,
        *,
        calling_ae_title: AETitle,
        temporary: Path,
        largest_bytes: int,
        settle_s: float,
        attempts: int,
    ) -> None:
        self._root: Final = root
        self._admit: Final = admit
        self._clock: Final = clock
        self._calling: Final = calling_ae_title
        self._temporary: Final = temporary
        self._largest_bytes: Final = largest_bytes
        self._settle_s: Final = settle_s
        self._attempts: Final = attempts
        self._failures: dict[Path, int] = {}
        self._first_seen: dict[Path, tuple[Signature, float]] = {}
        self._left: dict[Path, Signature] = {}

    def look_at(self, path: Path, *, was_closed: bool) -> Look:
        """Look at a file that may have gone, or may be no file at all.

        was_closed: somebody has just closed it after writing, or given it its name.
        """
        try:
            state = path.lstat()
            if not self._is_wanted(path, state):
                return Look.DONE
            if not self._is_ready(path, state, was_closed=was_closed):
                return Look.AGAIN
            with open_plain(path) as source:
                return self._take(path, signature_of(state), source, was_closed=was_closed)
        except (FileNotFoundError, NotTaken):
            return self._forget(path)
        except OSError as error:
            return self._fail(path, SegnodeError(f"The file cannot be read: {error.strerror}."))

    def _is_wanted(self, path: Path, state: os.stat_result) -> bool:
        return (
            stat.S_ISREG(state.st_mode)
            and self._left.get(path) != signature_of(state)
            and is_reached_plainly(self._root, path)
        )

    def _is_ready(self, path: Path, state: os.stat_result, *, was_closed: bool) -> bool:
        """Whether the file is as it will be.

        The time of its last change is the file system's and cannot be set back, unlike that of
        its last modification. Where it lies in the future, two looks must agree.
        """
        age_s = time.time() - state.st_ctime
        if not state.st_size and age_s < EMPTY_S:
            return False
        if was_closed or age_s >= self._settle_s:
            return True
        if age_s >= 0:
            return False
        now, signature = time.monotonic(), signature_of(state)
        seen, since = self._first_seen.get(path, (None, now))
        if seen != signature:
            _remember(self._first_seen, path, (signature, now))
            return False
        return now - since >= self._settle_s

    def _take(
        self, path: Path, signature: Signature, source: BinaryIO, *, was_closed: bool
    ) -> Look:
        try:
            if signature.size > self._largest_bytes:
                raise ObjectTooLarge("The file is longer than one may be.")
            with read_object(
                source, calling_ae_title=self._calling, temporary=self._temporary
            ) as incoming:
                _check_is_image(incoming)
                if signature_of(os.fstat(source.fileno())) != signature:
                    return Look.AGAIN
                return self._offer(path, signature, incoming)
        except SpoolUnwritable:
            return Look.NOT_NOW
        except RefusedInput as error:
            # Some writers close a file and open it again to go on.
            if was_closed and isinstance(error, NotDicom):
                return Look.AGAIN
            count_refusal(error, calling_ae_title=self._calling, size_bytes=signature.size)
            return self._reject(path, error)

    def _offer(self, path: Path, signature: Signature, incoming: Incoming) -> Look:
        try:
            admit_counted(self._admit, incoming, comes_again=True)
        except SiteFault:
            return Look.NOT_NOW
        except RefusedInput as error:
            return self._reject(path, error)
        except SegnodeError as error:
            return self._fail(path, error)
        return self._remove(path, signature)

    def _remove(self, path: Path, signature: Signature) -> Look:
        """Remove what was taken in; what cannot be removed is left alone until it changes."""
        try:
            if not remove_if_same(path, signature):
                return Look.AGAIN
        except OSError as error:
            self._leave(path, "a file of the drop folder cannot be removed", error)
        else:
            self._forget(path)
        return Look.TAKEN

    def _fail(self, path: Path, error: SegnodeError) -> Look:
        """Reject a file that has failed often enough; the others are tried again later."""
        failures = self._failures.get(path, 0) + 1
        if failures >= self._attempts:
            return self._reject(path, error)
        _remember(self._failures, path, failures)
        logger.warning(
            "a file of the drop folder failed", extra={"code": error.code, "attempt": failures}
        )
        return Look.DONE

    def _reject(self, path: Path, error: SegnodeError) -> Look:
        try:
            reject(self._root, path, code=error.code, text=error.what, now=self._clock.now())
        except FileNotFoundError:
            return self._forget(path)
        except OSError as fault:
            self._leave(path, "a file of the drop folder cannot be moved", fault)
            return Look.DONE
        return self._forget(path)

    def _leave(self, path: Path, message: str, error: OSError) -> None:
        logger.warning(message, extra={"errno": error.errno})
        with suppress(OSError):
            _remember(self._left, path, signature_of(path.lstat()))

    def _forget(self, path: Path) -> Look:
        self._failures.pop(path, None)
        self._first_seen.pop(path, None)
        self._left.pop(path, None)
        return Look.DONE


def _check_is_image(incoming: Incoming) -> None:
    if incoming.sop_class_uid == MEDIA_DIRECTORY:
        raise UnsupportedSopClass("A DICOMDIR lists the files of a medium; it is no image.")


def _remember(memory: dict[Path, V], path: Path, value: V) -> None:
    """Keep something about a file; the oldest goes when there is too much."""
    memory[path] = value
    if len(memory) > _MOST_REMEMBERED:
        del memory[next(iter(memory))]
