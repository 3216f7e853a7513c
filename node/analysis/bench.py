"""What the stages of an analysis are handed: where things lie and who does the work."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from node.analysis.case import Case, Tools
from node.domain.clock import Clock
from node.domain.errors import BundleInvalid, BundleMissing, DestinationUnknown
from node.domain.ids import AnalysisId, DestinationName, SeriesInstanceUID
from node.domain.regions import Role
from node.domain.study import AnalysisOrder, AnalysisRecord, StoredInstance
from node.segmentation.bundle import Bundle, open_bundle
from node.segmentation.library import find
from node.store.ledger import Ledger
from node.store.spool import Spool

Fingerprint = tuple[tuple[str, int, int, int], ...]

REPLACING_S: Final = 0.5
"""How long a bundle may be gone while another version takes its place."""


class BundleShelf:
    """Bundles that were opened once and are kept for the life of the process."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._open: dict[str, tuple[Bundle, Fingerprint]] = {}
        self._lock = Lock()

    def get(self, name: str) -> Bundle:
        """Return the bundle of that name, opening it on the first call and when it was changed.

        Raises BundleMissing, BundleInvalid; not for the moment in which another version is
        put into its place.
        """
        with self._lock:
            try:
                return self._current(name)
            except (BundleInvalid, BundleMissing):
                time.sleep(REPLACING_S)
                return self._current(name)

    def _current(self, name: str) -> Bundle:
        kept = self._open.get(name)
        if kept is not None and _fingerprint(kept[0].folder) == kept[1]:
            return kept[0]
        folder = find(name, self._folders)
        seen = _fingerprint(folder)  # before it is read: what changes meanwhile is noticed
        self._open[name] = (open_bundle(folder), seen)
        return self._open[name][0]


def _fingerprint(folder: Path) -> Fingerprint:
    """Return what the file system says of a bundle's files; reading them all takes seconds."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except OSError as error:
            raise BundleInvalid(f"{folder.name} cannot be read") from error
        found.append((str(path), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All that a stage may touch beside its own artefacts. tools: for the heavy steps."""

    spool: Spool
    ledger: Ledger
    bundles: BundleShelf
    clock: Clock
    software_version: str
    tools: Tools = field(default_factory=Tools)
    known_destinations: tuple[DestinationName, ...] = ()
    overlay_thickness_mm: float = 3.0

    def destinations(self, order: AnalysisOrder) -> tuple[DestinationName, ...]:
        """Return where the results go: as the rule says, or everywhere when it names none.

        Raises DestinationUnknown for a name that the configuration does not know, and when
        there is no destination at all.
        """
        unknown = [name for name in order.destinations if name not in self.known_destinations]
        if unknown:
            message = f"the rule {order.rule} names unknown destinations: {', '.join(unknown)}"
            raise DestinationUnknown(message)
        if not self.known_destinations:
            message = "no destination is configured, so nobody would see the result"
            raise DestinationUnknown(message)
        return self.wanted(order)

    def wanted(self, order: AnalysisOrder) -> tuple[DestinationName, ...]:
        """Return where the results are to go, whether the configuration knows it or not."""
        return order.destinations or self.known_destinations


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One analysis on the bench: its record and its folder of artefacts."""

    bench: Bench
    record: AnalysisRecord
    folder: Path
    instances: Mapping[Role, tuple[StoredInstance, ...]] = field(default_factory=dict)
    """What is stored of each role's series, in no particular order."""

    def files(self, role: Role) -> tuple[Path, ...]:
        """Return the DICOM files of a role's series."""
        return tuple(self.bench.spool.path(i.path) for i in self.instances[role])

    def verify(self, role: Role) -> tuple[Path, ...]:
        """Return the files of a role once their bytes are found to be what was received.

        Raises SpoolDamaged.
        """
        return tuple(self.bench.spool.verify(i.path, i.sha256) for i in self.instances[role])

    @property
    def bundle(self) -> Bundle:
        """The bundle that the order names."""
        return self.bench.bundles.get(self.record.order.bundle)

    @property
    def case(self) -> Case:
        """What the steps between series and labels are handed."""
        return Case(
            folder=self.folder, roles=self.roles, bundle=self.bundle, tools=self.bench.tools
        )

    @property
    def reference_files(self) -> tuple[Path, ...]:
        """Files of the reference role's series."""
        return self.files(self.record.order.reference)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles of the order, the reference first."""
        reference = self.record.order.reference
        others = (role for role, _ in self.record.order.roles if role is not reference)
        return (reference, *others)


def open_job(bench: Bench, analysis_id: AnalysisId) -> Job:
    """Collect what the ledger and the spool know of an analysis.

    Raises LedgerUnavailable, SpoolUnwritable.
    """
    record = bench.ledger.analyses.get(analysis_id)
    roles: dict[SeriesInstanceUID, Role] = {uid: role for role, uid in record.order.roles}
    stored = bench.ledger.studies.instances_of(record.order.study_instance_uid, tuple(roles))
    return Job(
        bench=bench,
        record=record,
        folder=bench.spool.work_folder(analysis_id),
        instances={role: stored[uid] for uid, role in roles.items()},
    )
