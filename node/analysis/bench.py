"""What the stages of an analysis are handed: where things lie and who does the work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from node.domain.clock import Clock
from node.domain.errors import ConfigurationInvalid
from node.domain.ids import AnalysisId, DestinationName, SeriesInstanceUID
from node.domain.regions import Role
from node.domain.study import AnalysisOrder, AnalysisRecord
from node.imaging.brain import BrainExtractor
from node.imaging.volume import Volume
from node.segmentation.bundle import Bundle, open_bundle
from node.segmentation.library import find
from node.store.ledger import Ledger
from node.store.spool import Spool


class BundleShelf:
    """Bundles that were opened once and stay warm for the life of the process."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._open: dict[str, Bundle] = {}
        self._lock = Lock()

    def get(self, name: str) -> Bundle:
        """Return the bundle of that name, loading it on the first call.

        Raises BundleMissing, BundleInvalid.
        """
        with self._lock:
            if name not in self._open:
                self._open[name] = open_bundle(find(name, self._folders))
            return self._open[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All that a stage may touch beside its own artefacts.

    choose_extractor: gives the brain extractor that fits a reference volume.
    """

    spool: Spool
    ledger: Ledger
    bundles: BundleShelf
    clock: Clock
    software_version: str
    choose_extractor: Callable[[Volume], BrainExtractor]
    known_destinations: tuple[DestinationName, ...] = ()
    overlay_thickness_mm: float = 3.0

    def destinations(self, order: AnalysisOrder) -> tuple[DestinationName, ...]:
        """Return where the results go: as the rule says, or everywhere when it names none.

        Raises ConfigurationInvalid for a name that the configuration does not know.
        """
        unknown = [name for name in order.destinations if name not in self.known_destinations]
        if unknown:
            message = f"the rule {order.rule} names unknown destinations: {', '.join(unknown)}"
            raise ConfigurationInvalid(message)
        return order.destinations or self.known_destinations


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One analysis on the bench: its record and its folder of artefacts."""

    bench: Bench
    record: AnalysisRecord
    folder: Path
    files: Mapping[Role, tuple[Path, ...]] = field(default_factory=dict)
    """DICOM files of each role's series, absolute, in no particular order."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that the order names."""
        return self.bench.bundles.get(self.record.order.bundle)

    @property
    def reference_files(self) -> tuple[Path, ...]:
        """Files of the reference role's series."""
        return self.files[self.record.order.reference]

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
    instances = bench.ledger.studies.instances_of(record.order.study_instance_uid, tuple(roles))
    files = {
        role: tuple(bench.spool.path(instance.path) for instance in instances[uid])
        for uid, role in roles.items()
    }
    return Job(bench=bench, record=record, folder=bench.spool.work_folder(analysis_id), files=files)
