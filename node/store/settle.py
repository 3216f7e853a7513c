"""From the journal into the ledger: what was acknowledged gets its place and its row.

The order is such that a crash may come anywhere: the file is linked to its place and is there
to stay, then the ledger commits, and only then does the name in the journal go. What is found
in the journal again is settled again, and comes out the same.

The settler is the one arbiter of repeats. A link never overwrites and a SOP Instance UID has
one row, so of two that claim it, in whatever processes, one is first and stays.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from node.dicom.ours import is_ours
from node.dicom.part10 import FileMeta
from node.domain.clock import Clock
from node.domain.errors import (
    DuplicateDiffers,
    RefusedInput,
    RowRefused,
    SegnodeError,
    SpoolDamaged,
    StepCrashed,
)
from node.domain.ids import AETitle, SOPInstanceUID, StudyInstanceUID
from node.domain.study import Reason, Refusal, StoredInstance
from node.store.admission import Admission
from node.store.entries import Found, meta_of, read_entry
from node.store.intake import Received
from node.store.journal import discard_blanks, files_in, orphans
from node.store.ledger import Ledger
from node.store.placing import is_same_object, place, put_in_place_of
from node.store.record import opened
from node.store.spool import LOST, Spool, aside_path, fsync_folder, writable

BATCH: Final = 256
"""Most instances in one transaction of the ledger."""


def _ignore(_settled: int) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class _Batch:
    """What is in hand.

    found: in the order of arrival. placed: whose file is at the place of its instance.
    done: what became of each path. folders: to be synced before anything rests on them.
    """

    found: list[Found] = field(default_factory=list)
    placed: dict[SOPInstanceUID, Found] = field(default_factory=dict)
    done: dict[Path, Admission] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)

    def sync(self) -> None:
        """Put the names that were made on the disk."""
        for folder in sorted(self.folders):
            fsync_folder(folder)
        self.folders.clear()


class Settler:
    """Moves committed entries to their place and into the ledger.

    Several may be at work at once, also on one journal. on_settled: called after each batch
    with the number of its instances.
    """

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        clock: Clock,
        *,
        on_settled: Callable[[int], None] = _ignore,
    ) -> None:
        self._spool: Final = spool
        self._ledger: Final = ledger
        self._clock: Final = clock
        self._on_settled: Final = on_settled

    def settle(self, paths: Sequence[Path]) -> dict[Path, Admission]:
        """Settle committed files; return what became of each, without those not there any more.

        An entry that cannot be used, which was checked before it was committed, or that the
        disk altered, is kept aside with a refusal. Raises LedgerUnavailable and
        SpoolUnwritable; then all that is not settled is still in the journal, for the next try.
        """
        settled: dict[Path, Admission] = {}
        for some in _batches(paths):
            with writable("written"):
                settled |= self._settle_apart(some)
            self._on_settled(len(some))
        return settled

    def recover(self) -> int:
        """Settle what journals hold that nobody has, and remove them; return how many it was.

        Raises as settle does.
        """
        settled = 0
        for folder in orphans(self._spool):
            settled += len(self.settle(files_in(folder)))
            discard_blanks(folder)
        return settled

    def _settle_apart(self, paths: Sequence[Path]) -> dict[Path, Admission]:
        """Settle a batch; where the database cannot hold one of it, each by itself."""
        try:
            return self._settle(paths)
        except RowRefused as error:
            if len(paths) > 1:
                apart = [self._settle_apart([path]) for path in paths]
                return {path: became for one in apart for path, became in one.items()}
            batch = _Batch()
            self._read(batch, paths[0])
            for found in batch.found:
                self._unplace(found)
                self._keep_unusable(batch, found.path, error)
            return self._finish(batch)

    def _settle(self, paths: Sequence[Path]) -> dict[Path, Admission]:
        batch = _Batch()
        for path in paths:
            self._read(batch, path)
        news = self._place(batch)
        batch.sync()
        now = self._clock.now()
        recorded = self._ledger.intake.record_instances(news, now=now) if news else frozenset()
        self._decide(batch, recorded)
        done = self._finish(batch)
        return {path: done[path] for path in paths if path in done}

    def _finish(self, batch: _Batch) -> dict[Path, Admission]:
        """Take from the journal what is done with."""
        batch.sync()
        for path in batch.done:
            path.unlink(missing_ok=True)
        return batch.done

    def _read(self, batch: _Batch, path: Path) -> None:
        """Read one entry; what can be no input is done with here."""
        try:
            found = read_entry(path)
        except FileNotFoundError:
            return  # another settler was first
        except (RefusedInput, SpoolDamaged) as error:
            self._keep_unusable(batch, path, error)
        except OSError as error:
            if error.errno not in LOST:
                raise
            text = f"A received file cannot be read ({error.strerror})."
            self._keep_unusable(batch, path, SpoolDamaged(text))
        else:
            if found is not None and is_ours(found.header):
                self._ledger.deliveries.record_seen(found.sop_instance_uid, self._clock.now())
                batch.done[path] = Admission.OURS
            elif found is not None:
                batch.found.append(found)

    def _place(self, batch: _Batch) -> list[Received]:
        """Link what may be new to its place; return what the ledger is to record."""
        known = self._ledger.intake.find_instances([f.sop_instance_uid for f in batch.found])
        news: dict[SOPInstanceUID, Received] = {}
        for found in list(batch.found):
            sop = found.sop_instance_uid
            if sop in known or sop in news:
                continue
            with _unless_gone(batch, found):
                there = self._place_one(found)
                news[sop] = there.received()
                batch.folders.add(self._spool.path(found.relative).parent)
                if there is found:
                    batch.placed[sop] = found
        return list(news.values())

    def _place_one(self, found: Found) -> Found:
        """Link a file to its place; return the one that lies there then.

        That is another one where two settlers are at work with two objects of one UID, or
        where an older ledger was restored; what is no whole object makes way.
        """
        if place(self._spool, found.path, found.relative):
            return found
        there = self._whole_at(found.relative)
        if there is not None:
            return there
        put_in_place_of(self._spool, found.path, found.relative)
        return found

    def _whole_at(self, relative: str) -> Found | None:
        """Return the object at a place, None where it is not whole or not the place's."""
        try:
            there = read_entry(self._spool.path(relative))
        except (RefusedInput, SpoolDamaged):
            return None
        except OSError as error:
            if error.errno not in LOST:
                raise
            return None
        return there if there is not None and there.relative == relative else None

    def _decide(self, batch: _Batch, recorded: frozenset[SOPInstanceUID]) -> None:
        """Say what became of each: stored, or a repeat of what the ledger knows."""
        repeats = []
        for found in batch.found:
            sop = found.sop_instance_uid
            if sop in recorded and batch.placed.get(sop) is found:
                batch.done[found.path] = Admission.STORED
            else:
                repeats.append(found)
        if repeats:
            known = self._ledger.intake.find_instances([f.sop_instance_uid for f in repeats])
            for found in repeats:
                first = known.get(found.sop_instance_uid)
                if first is None:
                    raise StepCrashed("An instance that was just there is not in the ledger.")
                with _unless_gone(batch, found):
                    batch.done[found.path] = self._repeat(batch, found, first)

    def _repeat(self, batch: _Batch, found: Found, known: StoredInstance) -> Admission:
        """Hold an object against the one that the ledger has under its UID."""
        if known.path != found.relative:
            self._unplace(found)  # the UID went to an object of another study
        target = self._spool.path(known.path)
        if target.exists() and target.samefile(found.path):
            return Admission.STORED  # a crash, or another settler, was between place and row
        with opened(found.path) as descriptor:
            syntax = found.meta.transfer_syntax_uid
            if is_same_object(descriptor, found.span, syntax, target):
                return Admission.DUPLICATE
        if _is_sibling(found, known) and self._spool.has_lost(known.path, known.sha256):
            # The disk has lost or altered the file: the repeat takes its place.
            put_in_place_of(self._spool, found.path, found.relative)
            self._ledger.intake.record_rewritten(found.received())
            return Admission.DUPLICATE
        relative = aside_path(found.sop_instance_uid, found.sha256)
        place(self._spool, found.path, relative)
        batch.folders.add(self._spool.path(relative).parent)
        text = f"The same SOP Instance UID came with other content: {relative}."
        self._refuse(found.meta, found.header.study_instance_uid, DuplicateDiffers(text))
        return Admission.KEPT_ASIDE

    def _unplace(self, found: Found) -> None:
        """Take a file away from a place that is not to be its own."""
        own = self._spool.path(found.relative)
        if own.exists() and own.samefile(found.path):
            own.unlink(missing_ok=True)

    def _keep_unusable(self, batch: _Batch, path: Path, error: SegnodeError) -> None:
        """Keep an entry that cannot be settled where it is in nobody's way, and say so."""
        relative = f"aside/unusable/{path.parent.name}-{path.name}"
        with contextlib.suppress(FileNotFoundError):
            place(self._spool, path, relative)
            batch.folders.add(self._spool.path(relative).parent)
            batch.done[path] = Admission.KEPT_ASIDE
            self._refuse(meta_of(path), None, type(error)(f"{error.what} It is kept: {relative}."))

    def _refuse(
        self, meta: FileMeta | None, study: StudyInstanceUID | None, error: SegnodeError
    ) -> None:
        self._ledger.intake.record_refusal(
            Refusal(
                study_instance_uid=study,
                sop_instance_uid=meta.sop_instance_uid if meta is not None else None,
                calling_ae_title=meta.source_ae_title if meta is not None else AETitle(""),
                reason=Reason(code=error.code, text=error.what),
                at=self._clock.now(),
            )
        )


@contextlib.contextmanager
def _unless_gone(batch: _Batch, found: Found) -> Iterator[None]:
    """Forget an entry that another settler has settled meanwhile."""
    try:
        yield
    except FileNotFoundError:
        if found.path.exists():
            raise
        batch.found.remove(found)


def _is_sibling(found: Found, known: StoredInstance) -> bool:
    """Whether the ledger has the instance in the same study and series."""
    return Path(found.relative).parent == Path(known.path).parent


def _batches(paths: Iterable[Path]) -> Iterator[list[Path]]:
    rest = iter(paths)
    while some := list(islice(rest, BATCH)):
        yield some
