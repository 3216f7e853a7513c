"""The overload gate: whether more may be taken in now, seen by every receiving process.

One process looks at disk, ledger and unfinished work and sets the gate; receivers look at it
before each C-STORE, which is one read of shared memory. A gate that nobody has set for a
while is closed: then the process that settles what comes is not there or stuck.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from typing import Final

from node.telemetry.outcomes import REFUSING_CAUSES, RefusingCause

WORDS: Final[dict[RefusingCause, str]] = {
    "space": "the spool's disk has less free space than its watermark",
    "inodes": "the spool's file system has fewer free inodes than its watermark",
    "spool": "the spool cannot be read or written",
    "ledger": "the ledger does not answer",
    "unsettled": "too many received instances wait to be settled",
    "unfinished": "too many analyses wait to be done",
    "unwatched": "the process that settles what is received gives no sign of life",
}

STALE_S: Final = 30.0

_STATE: Final = struct.Struct("=dI")  # when it was set (monotonic, one clock for all), the cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the node carries at one moment; None where it could not be found out.

    stuck: why what was received cannot be settled, None while it can.
    """

    free_bytes: int | None
    free_inodes: int | None
    unsettled: int
    waiting_analyses: int | None
    stuck: RefusingCause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """When to refuse: below the first two, above the last two."""

    free_bytes: int = 1024**3
    free_inodes: int = 10_000
    unsettled: int = 20_000
    waiting_analyses: int = 5_000


def overload(load: Load, marks: Watermarks) -> RefusingCause | None:
    """Return why nothing more may be taken in, None when it may."""
    passed: dict[RefusingCause, bool] = {
        "spool": load.free_bytes is None,
        "space": load.free_bytes is not None and load.free_bytes < marks.free_bytes,
        "inodes": load.free_inodes is not None and load.free_inodes < marks.free_inodes,
        "ledger": load.waiting_analyses is None,
        "unsettled": load.unsettled > marks.unsettled,
        "unfinished": (load.waiting_analyses or 0) > marks.waiting_analyses,
    }
    return load.stuck or next((cause for cause, is_so in passed.items() if is_so), None)


class Gate:
    """One page of memory that processes share; handed on as a descriptor."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a closed gate, or look at the one behind a descriptor (then owned by it)."""
        self.descriptor: Final = (
            os.memfd_create("segnode-gate") if descriptor is None else descriptor
        )
        if descriptor is None:
            os.ftruncate(self.descriptor, mmap.PAGESIZE)
        self._page: Final = mmap.mmap(self.descriptor, mmap.PAGESIZE)

    def set(self, cause: RefusingCause | None) -> None:
        """Close the gate for a cause, or open it; to be repeated before it goes stale."""
        code = 0 if cause is None else REFUSING_CAUSES.index(cause) + 1
        # A reader that sees one half new and one half old errs for one instance at most.
        _STATE.pack_into(self._page, 0, time.monotonic(), code)

    def closed(self) -> RefusingCause | None:
        """Return why it is closed, None when it is open."""
        at, code = _STATE.unpack_from(self._page, 0)
        if time.monotonic() - at > STALE_S:
            return "unwatched"
        return REFUSING_CAUSES[code - 1] if code else None

    def close(self) -> None:
        """Give the memory back."""
        self._page.close()
        os.close(self.descriptor)


def _new_page() -> int:
    descriptor = os.memfd_create("segnode-gate")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor
