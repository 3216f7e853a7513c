"""The two steps in which networks run, as tasks for a workshop."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from node.analysis.case import (
    BRAIN,
    BRAIN_OF_MODEL,
    LABELS_OF_MODEL,
    input_name,
    volume_name,
)
from node.analysis.workshop import Progress
from node.domain.errors import BundleInvalid
from node.domain.ids import Sha256
from node.domain.quality import Finding
from node.domain.regions import Region, Role
from node.imaging.artefacts import load_volume, save_volume
from node.imaging.prepare import ModelInput
from node.segmentation.brains import BrainOptions, extract_brain
from node.segmentation.bundle import Bundle, open_bundle
from node.segmentation.effort import Effort


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainFound:
    """What came of FindBrain. method: of the objects; reason: why this method."""

    method: str
    reason: str
    brain_ml: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindBrain:
    """Find the brain on the reference role; its mask becomes an artefact in the folder."""

    folder: Path
    reference: Role
    effort: Effort
    options: BrainOptions

    def perform(self, on_progress: Progress) -> BrainFound:
        """Do it. Raises BrainNotFound, HeadIncomplete, OutOfMemory, BundleMissing."""
        del on_progress  # the methods do not tell
        reference = load_volume(self.folder / volume_name(self.reference))
        found = extract_brain(reference, self.reference, self.effort, self.options)
        save_volume(found.mask, self.folder / BRAIN)
        voxels = int(found.mask.array.sum())
        return BrainFound(
            method=found.method,
            reason=found.reason,
            brain_ml=voxels * found.mask.grid.voxel_mm3 / 1000.0,
            findings=found.findings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """What came of Segment. opinions_ml: each region as the engine's single views see it."""

    opinions_ml: Mapping[Region, tuple[float, ...]]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Run a bundle on the prepared input; the labels become an artefact in the folder."""

    folder: Path
    roles: tuple[Role, ...]
    bundle_folder: Path
    bundle_sha256: Sha256
    effort: Effort

    def perform(self, on_progress: Progress) -> Segmented:
        """Do it. Raises BundleInvalid, BundleMissing, RoleMissing; MemoryError or torch's own."""
        brain = load_volume(self.folder / BRAIN_OF_MODEL)
        channels = {role: load_volume(self.folder / input_name(role)) for role in self.roles}
        found = _warm(self.bundle_folder, self.bundle_sha256).segment(
            ModelInput(channels=channels, brain=brain, grid=brain.grid), self.effort, on_progress
        )
        save_volume(found.labels, self.folder / LABELS_OF_MODEL)
        return Segmented(opinions_ml=dict(found.opinions_ml), findings=found.findings)


@lru_cache(maxsize=1)
def _warm(folder: Path, sha256: Sha256) -> Bundle:
    """Return the bundle, opened once; a workshop keeps the networks of one."""
    bundle = open_bundle(folder)
    if bundle.sha256 != sha256:
        message = f"bundle {bundle.manifest.name} was changed while a study was analysed with it"
        raise BundleInvalid(message)
    return bundle
