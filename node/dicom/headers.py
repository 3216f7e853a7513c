"""The projection of a data set to a Header: what the ledger keeps and the rules look at."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from pydicom import Dataset

from node.dicom.attributes import (
    Attribute,
    Attributes,
    from_beginning,
    from_bytes,
    from_dataset,
    layout,
)
from node.dicom.elements import Encoded, Wanted
from node.dicom.frames import FUNCTIONAL_GROUPS, PER_FRAME, SHARED, lifted, planes_of
from node.dicom.uids import is_uid
from node.domain.errors import MissingIdentifier, NotDicom
from node.domain.header import Header, Identity
from node.domain.ids import FrameOfReferenceUID, TransferSyntaxUID

_IDENTIFIERS: Final = {
    "sop_class_uid": ("SOPClassUID", "SOP Class UID"),
    "sop_instance_uid": ("SOPInstanceUID", "SOP Instance UID"),
    "series_instance_uid": ("SeriesInstanceUID", "Series Instance UID"),
    "study_instance_uid": ("StudyInstanceUID", "Study Instance UID"),
}

_TEXT: Final = {
    "patient_id": "PatientID",
    "accession_number": "AccessionNumber",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_description": "StudyDescription",
    "modality": "Modality",
    "manufacturer": "Manufacturer",
    "manufacturer_model_name": "ManufacturerModelName",
    "software_versions": "SoftwareVersions",
    "station_name": "StationName",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "body_part_examined": "BodyPartExamined",
    "series_date": "SeriesDate",
    "series_time": "SeriesTime",
    "derivation_description": "DerivationDescription",
    "burned_in_annotation": "BurnedInAnnotation",
    "mr_acquisition_type": "MRAcquisitionType",
    "sequence_name": "SequenceName",
    "acquisition_contrast": "AcquisitionContrast",
    "photometric_interpretation": "PhotometricInterpretation",
}

_TEXTS: Final = {
    "image_type": "ImageType",
    "scanning_sequence": "ScanningSequence",
    "sequence_variant": "SequenceVariant",
    "scan_options": "ScanOptions",
}

_NUMBER: Final = {
    "magnetic_field_strength": "MagneticFieldStrength",
    "repetition_time_ms": "RepetitionTime",
    "echo_time_ms": "EchoTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "slice_thickness": "SliceThickness",
    "spacing_between_slices": "SpacingBetweenSlices",
}

_INTEGER: Final = {
    "series_number": "SeriesNumber",
    "acquisition_number": "AcquisitionNumber",
    "instance_number": "InstanceNumber",
    "images_in_acquisition": "ImagesInAcquisition",
    "echo_train_length": "EchoTrainLength",
    "echo_numbers": "EchoNumbers",
    "temporal_position_identifier": "TemporalPositionIdentifier",
    "number_of_temporal_positions": "NumberOfTemporalPositions",
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "pixel_representation": "PixelRepresentation",
}

_OTHER: Final = (
    "SpecificCharacterSet FrameOfReferenceUID AcquisitionDate AcquisitionTime AcquisitionDateTime "
    "PulseSequenceName DiffusionBValue ContrastBolusAgent ContrastBolusRoute ContrastBolusVolume "
    "NumberOfFrames PixelSpacing ImagePositionPatient ImageOrientationPatient "
    "EchoPulseSequence EchoPlanarPulseSequence SpectrallySelectedSuppression"
)

_PRIVATE: Final = (
    Attribute("Creator0019", 0x00190010, "LO"),
    Attribute("SiemensBValue", 0x0019100C, "IS"),
    Attribute("GEPulseSequenceName", 0x0019109C, "LO"),
    Attribute("Creator0043", 0x00430010, "LO"),
    Attribute("GEBValue", 0x00431039, "IS"),
    Attribute("Creator0065", 0x00650010, "LO"),
    Attribute("UIHBValue", 0x00651009, "FD"),
    Attribute("Creator2001", 0x20010010, "LO"),
    Attribute("PhilipsBValue", 0x20011003, "FL"),
)
"""Private attributes that the vendors' classic objects have in place of standard ones.

Only the block that they have always used (10) is looked at, and its creator is checked.
"""

_B_VALUES: Final = (
    ("Creator0019", "SIEMENS MR HEADER", "SiemensBValue"),
    ("Creator0043", "GEMS_PARM_01", "GEBValue"),
    ("Creator0065", "Image Private Header", "UIHBValue"),
    ("Creator2001", "Philips Imaging DD 001", "PhilipsBValue"),
)

_GE_B_VALUE_FLAG: Final = 100_000
"""GE adds 10**9 to a b-value; what stands above these digits is such a flag."""

_CODED_AGENT: Final = layout(
    "CodeMeaning ContrastBolusVolume",
    {"ContrastBolusAdministrationRouteSequence": layout("CodeMeaning")},
)

_TOP: Final = layout(
    " ".join(
        [
            *(keyword for keyword, _ in _IDENTIFIERS.values()),
            *_TEXT.values(),
            *_TEXTS.values(),
            *_NUMBER.values(),
            *_INTEGER.values(),
            _OTHER,
        ]
    ),
    {
        "ContrastBolusAgentSequence": _CODED_AGENT,
        "ContrastBolusAdministrationRouteSequence": layout("CodeMeaning"),
        SHARED: FUNCTIONAL_GROUPS,
        PER_FRAME: FUNCTIONAL_GROUPS,
    },
    _PRIVATE,
)

_IDENTITY: Final = layout(
    " ".join(keyword for keyword, _ in _IDENTIFIERS.values())
    + " SpecificCharacterSet Manufacturer SoftwareVersions"
)
_WALKED: Final = Wanted(_IDENTITY.wanted.tags, _TOP.wanted.sequences)
"""Of what a Header reads, all that can be wrong in a way that matters to an identity."""


def read_header(data_set: Encoded, transfer_syntax_uid: str, *, start: int = 0) -> Header:
    """Return the Header of an encoded data set, parsing no further than its pixel data.

    data_set: bytes as they came by C-STORE, in any transfer syntax; start: where they begin,
    behind a file meta group where there is one. A mapped file is read no further than needed.
    Raises NotDicom when the bytes are no data set or are cut short, and MissingIdentifier
    when a SOP, series or study UID is absent or no UID. Neither shows any value.
    """
    return _header(
        from_bytes(data_set, transfer_syntax_uid, _TOP, start=start), transfer_syntax_uid
    )


def read_identity(
    beginning: bytes, transfer_syntax_uid: str, *, start: int, end: int
) -> Identity | None:
    """Return the identity of a data set from its first bytes, at a third of a Header's cost.

    beginning: of a file in which the data set begins at byte `start` and ends at `end`. None
    where that is not enough, or anything is wrong with the data set: then read_header of the
    whole says what. Where it returns an identity, read_header raises nothing but what is
    raised here: MissingIdentifier, NotDicom.
    """
    top = from_beginning(
        beginning, transfer_syntax_uid, _IDENTITY, walked=_WALKED, start=start, end=end
    )
    if top is None:
        return None
    return Identity(
        manufacturer=top.text("Manufacturer"),
        software_versions=top.text("SoftwareVersions"),
        **_identifiers(top),
    )


def identity_of(header: Header) -> Identity:
    """Return the part of a Header that is its identity."""
    return Identity(**{field.name: getattr(header, field.name) for field in fields(Identity)})


def project(dataset: Dataset, transfer_syntax_uid: str) -> Header:
    """Return the Header of a pydicom data set, classic or enhanced.

    Bad values of optional attributes become None or empty. Raises NotDicom, MissingIdentifier
    as read_header does.
    """
    return _header(from_dataset(dataset, _TOP), transfer_syntax_uid)


def _header(top: Attributes, transfer_syntax_uid: str) -> Header:
    found = _identifiers(top)
    flat = lifted(top)
    found |= _fields(_TEXT, flat.text)
    found |= _fields(_TEXTS, flat.texts)
    found |= _fields(_NUMBER, flat.number)
    found |= _fields(_INTEGER, flat.integer)
    found |= _acquisition(flat)
    found |= _contrast(flat)
    return Header(
        transfer_syntax_uid=TransferSyntaxUID(transfer_syntax_uid),
        frame_of_reference_uid=_frame_of_reference_uid(flat),
        pulse_sequence_name=_pulse_sequence_name(flat),
        diffusion_b_value=_b_value(flat),
        number_of_frames=max(flat.integer("NumberOfFrames") or 1, 1),
        pixel_spacing=_pixel_spacing(flat),
        planes=planes_of(top),
        **found,
    )


def _fields(table: Mapping[str, str], read: Callable[[str], object]) -> dict[str, Any]:
    return {name: read(keyword) for name, keyword in table.items()}


def _identifiers(top: Attributes) -> dict[str, Any]:
    if not any(top.text(keyword) for keyword, _ in _IDENTIFIERS.values()):
        raise NotDicom("the bytes hold none of the identifiers that every object has")
    found = {}
    for name, (keyword, words) in _IDENTIFIERS.items():
        value = top.text(keyword)
        if not value:
            raise MissingIdentifier(f"the object has no {words}")
        if not is_uid(value):
            raise MissingIdentifier(f"the {words} of the object is not a valid UID")
        found[name] = value
    return found


def _acquisition(top: Attributes) -> dict[str, Any]:
    """Date and time of acquisition; enhanced objects have both in one attribute."""
    moment = top.text("AcquisitionDateTime")
    return {
        "acquisition_date": top.text("AcquisitionDate") or moment[:8],
        "acquisition_time": top.text("AcquisitionTime") or moment[8:],
    }


def _contrast(top: Attributes) -> dict[str, Any]:
    """Contrast agent, route and volume, in plain or in coded form (PS3.3 C.7.6.4, C.7.6.4b)."""
    agent = top.item("ContrastBolusAgentSequence")
    coded_route = top.item("ContrastBolusAdministrationRouteSequence").text("CodeMeaning") or (
        agent.item("ContrastBolusAdministrationRouteSequence").text("CodeMeaning")
    )
    volume = top.number("ContrastBolusVolume")
    return {
        "contrast_bolus_agent": top.text("ContrastBolusAgent") or agent.text("CodeMeaning"),
        "contrast_bolus_route": top.text("ContrastBolusRoute") or coded_route,
        "contrast_bolus_volume_ml": (
            volume if volume is not None else agent.number("ContrastBolusVolume")
        ),
    }


def _frame_of_reference_uid(top: Attributes) -> FrameOfReferenceUID | None:
    uid = top.text("FrameOfReferenceUID")
    return FrameOfReferenceUID(uid) if uid else None


def _pulse_sequence_name(top: Attributes) -> str:
    name = top.text("PulseSequenceName")
    if not name and top.text("Creator0019") == "GEMS_ACQU_01":
        return top.text("GEPulseSequenceName")
    return name


def _b_value(top: Attributes) -> float | None:
    standard = top.number("DiffusionBValue")
    if standard is not None:
        return standard
    for creator, name, attribute in _B_VALUES:
        value = top.number(attribute) if top.text(creator) == name else None
        if value is not None and value >= 0:
            return value % _GE_B_VALUE_FLAG if attribute == "GEBValue" else value
    return None


def _pixel_spacing(top: Attributes) -> tuple[float, float] | None:
    found = top.numbers("PixelSpacing")
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None
