"""What every result object is told, and what comes out of encoding it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from node.dicom.ours import SOFTWARE_PREFIX
from node.domain.ids import (
    AnalysisId,
    BundleName,
    SeriesInstanceUID,
    Sha256,
    SOPClassUID,
    SOPInstanceUID,
)
from node.domain.regions import Region, RegionVolume

ObjectKind = Literal["SEG", "OVERLAY"]
"""What an encoded object is for."""

SEG: Final = "SEG"
OVERLAY: Final = "OVERLAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContext:
    """Identity of an analysis and of what made its labels.

    bundle_sha256: over the bundle's files, so also over its weights.
    research_text: the sentence that stands under every picture.
    volumes: of the labels that are encoded; they are checked against them.
    created_at: aware; content date and time of the objects, so it must be the same when a
    step is repeated (the analysis' own time of creation, not the clock of the step).
    series_number_base: SEG takes the next number, the overlay series the one after it.
    """

    analysis_id: AnalysisId
    bundle_name: BundleName
    bundle_version: str
    bundle_sha256: Sha256
    software_version: str
    algorithm_description: str
    research_text: str
    volumes: tuple[RegionVolume, ...]
    created_at: datetime
    series_number_base: int = 9000

    @property
    def software(self) -> str:
        """Software Versions (0018,1020), with the prefix by which we know our own objects."""
        return SOFTWARE_PREFIX + self.software_version.removeprefix(SOFTWARE_PREFIX)

    def volume_of(self, region: Region) -> RegionVolume | None:
        """Return the stated volume of a region, None when none is stated."""
        return next((v for v in self.volumes if v.region is region), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedObject:
    """One object, ready to be written and sent.

    data: a DICOM file (PS3.10), preamble and file meta included.
    """

    sop_instance_uid: SOPInstanceUID
    sop_class_uid: SOPClassUID
    series_instance_uid: SeriesInstanceUID
    kind: ObjectKind
    data: bytes
