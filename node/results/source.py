"""The images that a result is made for: where they lie, and whose they are."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID

from node.dicom.headers import project
from node.domain.errors import EncodingRefused, NoGeometry, SpoolDamaged
from node.domain.header import Header, Plane
from node.imaging.volume import Affine, Grid

OFF_GRID_TOLERANCE: Final = 0.25
"""Part of a voxel by which a plane may lie beside the slice that it stands for."""

TEXT_VRS: Final = ("PN", "LO", "SH", "LT", "ST", "UT")
"""Value representations whose bytes depend on Specific Character Set (PS3.5 6.1.2.3)."""

_SERIES_INSTANCE_UID: Final = 0x0020000E

REQUIRED_KEYWORDS: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Type 1 and 2 of the patient and study modules: present in every object, if need be empty."""

_OPTIONAL: Final = """
    SpecificCharacterSet TimezoneOffsetFromUTC
    IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID PatientBirthTime
    QualityControlSubject ReferencedPatientSequence OtherPatientIDs OtherPatientIDsSequence
    OtherPatientNames EthnicGroup PatientComments ResponsiblePerson ResponsiblePersonRole
    ResponsibleOrganization PatientIdentityRemoved DeidentificationMethod
    DeidentificationMethodCodeSequence
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
    ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialProtocolEthicsCommitteeName
    ClinicalTrialProtocolEthicsCommitteeApprovalNumber ClinicalTrialTimePointID
    ClinicalTrialTimePointDescription ConsentForClinicalTrialUseSequence
    StudyDescription IssuerOfAccessionNumberSequence ReferringPhysicianIdentificationSequence
    ConsultingPhysicianName PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
    NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence
    RequestingService RequestingServiceCodeSequence ReferencedStudySequence
    ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize
    PatientWeight PatientSizeCodeSequence MedicalAlerts Allergies SmokingStatus
    PregnancyStatus LastMenstrualDate PatientSexNeutered Occupation AdditionalPatientHistory
    AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription
    PatientState
"""

OPTIONAL_KEYWORDS: Final = tuple(_OPTIONAL.split())
"""What else describes patient and study (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1 to C.7.2.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSlice:
    """The image, or the frame of an image, that lies on one slice of the grid.

    frame: Referenced Frame Number, from 1; None for a single-frame image.
    """

    header: Header
    plane: Plane
    frame: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceSeries:
    """A series, slice by slice in the order of the grid, whatever the order of the files.

    head: whole data set of the first slice's image, without pixel data.
    """

    head: Dataset
    slices: tuple[SourceSlice, ...]

    @property
    def header(self) -> Header:
        """Return the header of the first slice's image."""
        return self.slices[0].header


@contextmanager
def tolerant() -> Iterator[None]:
    """Let odd values of the source pass as they are; a warning would show them in a log."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_source(paths: Sequence[Path], grid: Grid) -> SourceSeries:
    """Read the headers of a series and lay them on the slices of the grid.

    Raises NoGeometry without a frame of reference, EncodingRefused when the images are not
    one series or do not lie on the grid, SpoolDamaged when a file cannot be read.
    """
    with tolerant():
        heads = [_read(path) for path in paths]
        headers = [project(head, str(head.file_meta.TransferSyntaxUID)) for head in heads]
        if len({header.series_instance_uid for header in headers}) != 1:
            raise EncodingRefused("the source images are not of one series")
        if not all(header.frame_of_reference_uid for header in headers):
            raise NoGeometry(
                "the reference series has no Frame of Reference UID, so a segmentation cannot "
                "say in which space it lies"
            )
        slices = _lay_out(headers, grid)
        first = slices[0].header.sop_instance_uid
        head = heads[[header.sop_instance_uid for header in headers].index(first)]
        return SourceSeries(head=head, slices=slices)


def read_identities(paths: Sequence[Path]) -> tuple[Header, ...]:
    """Read only the UIDs of images, in an order that does not depend on that of the files."""

    def after_series(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return int(tag) > _SERIES_INSTANCE_UID

    headers = []
    with tolerant():
        for path in paths:
            try:
                with path.open("rb") as file:
                    dataset = read_partial(file, after_series)
            except (OSError, InvalidDicomError) as error:
                raise SpoolDamaged("a source image cannot be read from the spool") from error
            headers.append(project(dataset, str(dataset.file_meta.TransferSyntaxUID)))
    return tuple(sorted(headers, key=lambda h: (h.series_instance_uid, h.sop_instance_uid)))


def copy_study(source: Dataset, target: Dataset) -> None:
    """Copy what describes patient and study, unchanged, so that no archive splits the study."""
    for keyword in (*REQUIRED_KEYWORDS, *OPTIONAL_KEYWORDS):
        if keyword in target:
            del target[keyword]
        if keyword in source:
            raw: object = source.get_item(keyword)
            if isinstance(raw, RawDataElement) and dictionary_VR(keyword) in TEXT_VRS:
                # As bytes: what does not fit the declared character set would be altered.
                target[raw.tag] = raw._replace(VR=dictionary_VR(keyword))
                continue
            element = copy.deepcopy(source[keyword])
            if element.VR == "SQ":
                # Items keep bytes in the source's byte order until they are looked at.
                for item in element.value:
                    item.decode()
            target.add(element)
        elif keyword in REQUIRED_KEYWORDS:
            setattr(target, keyword, None)


def copy_compression(source: Dataset, target: Dataset) -> None:
    """Copy whether the pixels were ever compressed with loss (PS3.3 C.7.6.1.1.5)."""
    target.LossyImageCompression = source.get("LossyImageCompression") or "00"
    if target.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            # Absent, or a value that is none of its VR.
            with suppress(KeyError, TypeError, ValueError):
                setattr(target, keyword, source[keyword].value)


def corners_mm(plane: Plane, spacing_mm: tuple[float, float], shape: tuple[int, int]) -> Affine:
    """LPS positions, (3, 3), of the first, the last-row and the last-column voxel of a plane.

    spacing_mm: Pixel Spacing, between rows and between columns. shape: rows, columns.
    Source: PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    origin = np.array(plane.position)
    along_row, along_column = np.array(plane.orientation).reshape(2, 3)
    down = along_column * spacing_mm[0] * (shape[0] - 1)
    across = along_row * spacing_mm[1] * (shape[1] - 1)
    return np.array([origin, origin + down, origin + across])


def slice_under(corners: Affine, grid: Grid) -> int:
    """Return the slice of the grid on which a plane with these corners lies.

    Raises EncodingRefused when it is beside every slice by over OFF_GRID_TOLERANCE.
    """
    indices = grid.indices_of(corners)
    rows, columns = grid.shape[1] - 1, grid.shape[2] - 1
    number = round(float(indices[0, 0]))
    wanted = np.array([[number, 0, 0], [number, rows, 0], [number, 0, columns]])
    if np.abs(indices - wanted).max() > OFF_GRID_TOLERANCE:
        off_mm = float(np.linalg.norm(corners - grid.positions_mm(wanted), axis=1).max())
        raise EncodingRefused(f"a plane lies {off_mm:.2f} mm off the grid of the labels")
    if not 0 <= number < grid.shape[0]:
        raise EncodingRefused("a plane lies outside the grid of the labels")
    return number


def _read(path: Path) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise SpoolDamaged("a source image cannot be read from the spool") from error


def _lay_out(headers: Sequence[Header], grid: Grid) -> tuple[SourceSlice, ...]:
    slices: dict[int, SourceSlice] = {}
    for header in headers:
        spacing = header.pixel_spacing
        if spacing is None or len(header.planes) != header.number_of_frames:
            raise NoGeometry("an image of the reference series says no position or spacing")
        if (header.rows, header.columns) != grid.shape[1:]:
            raise EncodingRefused("the source images have other rows or columns than the labels")
        multi_frame = "Enhanced" in UID(header.sop_class_uid).keyword
        for number, plane in enumerate(header.planes, start=1):
            where = slice_under(corners_mm(plane, spacing, grid.shape[1:]), grid)
            frame = number if multi_frame else None
            slices[where] = SourceSlice(header=header, plane=plane, frame=frame)
    missing = [str(number) for number in range(grid.shape[0]) if number not in slices]
    if missing:
        raise EncodingRefused(f"no source image lies on slice {', '.join(missing[:5])} of the grid")
    return tuple(slices[number] for number in range(grid.shape[0]))
