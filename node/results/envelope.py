"""What all result objects have in common: series, equipment, times, and becoming bytes."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import UID, ExplicitVRLittleEndian

from node.dicom.ours import MANUFACTURER
from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid
from node.domain.ids import SeriesInstanceUID, SOPClassUID, SOPInstanceUID
from node.results.context import OVERLAY, SEG, EncodedObject, ObjectKind, ResultContext

MODEL_NAME: Final = "Segnode"
DEVICE_SERIAL_NUMBER: Final = "1"

SERIES_DESCRIPTIONS: Final[Mapping[ObjectKind, str]] = {
    SEG: "Segnode glioma segmentation (research)",
    OVERLAY: "Segnode glioma overlay (research)",
}
_SERIES_OFFSETS: Final[Mapping[ObjectKind, int]] = {SEG: 1, OVERLAY: 2}


def series_uid(context: ResultContext, kind: ObjectKind) -> SeriesInstanceUID:
    """Return the UID of the one series of this kind that the analysis has."""
    return SeriesInstanceUID(derived_uid(context.analysis_id, kind, "series"))


def instance_uid(context: ResultContext, kind: ObjectKind, number: int) -> SOPInstanceUID:
    """Return the UID of the object with this instance number."""
    return SOPInstanceUID(derived_uid(context.analysis_id, kind, "instance", str(number)))


def series_number(context: ResultContext, kind: ObjectKind) -> int:
    """Return the Series Number (0020,0011)."""
    return context.series_number_base + _SERIES_OFFSETS[kind]


OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d", re.ASCII)
"""A Timezone Offset From UTC that there is (PS3.3 C.12.1.1.8)."""


def local_time(context: ResultContext, head: Dataset) -> datetime:
    """Return created_at as it is written: in the offset of the source, or in local time.

    PS3.5 section 6.2: date and time without Timezone Offset From UTC (0008,0201) are local.
    """
    offset = str(head.get("TimezoneOffsetFromUTC") or "").strip()
    if OFFSET.fullmatch(offset) is None:
        return context.created_at.astimezone()
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    delta = timedelta(minutes=-minutes if offset[0] == "-" else minutes)
    return context.created_at.astimezone(timezone(delta))


def plain(text: str, limit: int) -> str:
    """Return the text in ASCII, cut to a VR's length: the source's character set is kept."""
    return text.encode("ascii", "replace").decode()[:limit]


def address(dataset: Dataset, context: ResultContext, kind: ObjectKind, number: int) -> None:
    """Set the series, the equipment and the times of an object (PS3.3 C.7.3.1, C.7.5, C.12.1)."""
    when = local_time(context, dataset)
    date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    dataset.SOPInstanceUID = instance_uid(context, kind, number)
    dataset.SeriesInstanceUID = series_uid(context, kind)
    dataset.SeriesNumber = series_number(context, kind)
    dataset.SeriesDescription = SERIES_DESCRIPTIONS[kind]
    dataset.InstanceNumber = number
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = DEVICE_SERIAL_NUMBER
    dataset.SoftwareVersions = plain(context.software, 64)
    for of in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{of}Date", date)
        setattr(dataset, f"{of}Time", time)


def seal(dataset: Dataset, kind: ObjectKind) -> EncodedObject:
    """Write a data set as a DICOM file in Explicit VR Little Endian (PS3.10 section 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    # Text of the source is kept as its bytes; pydicom decodes it again unless it believes that
    # the data set was read in this very encoding.
    correct_ambiguous_vr(dataset, is_little_endian=True)
    character_sets = dataset._character_set  # noqa: SLF001 - there is no public way to ask
    dataset.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=character_sets
    )
    dataset.file_meta = meta
    dataset.preamble = bytes(128)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return EncodedObject(
        sop_instance_uid=SOPInstanceUID(str(dataset.SOPInstanceUID)),
        sop_class_uid=SOPClassUID(str(dataset.SOPClassUID)),
        series_instance_uid=SeriesInstanceUID(str(dataset.SeriesInstanceUID)),
        kind=kind,
        data=buffer.getvalue(),
    )
