"""The gate before sending: objects are read again from their bytes and held to the labels.

Nothing of the encoders is used here but the colours and how the source is read, so that a
mistake of theirs shows.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from node.dicom.headers import project
from node.dicom.ours import is_ours
from node.domain.errors import EncodingRefused, RefusedInput
from node.imaging.volume import Volume
from node.results.context import OVERLAY, SEG, EncodedObject
from node.results.gate_overlay import check_overlay
from node.results.gate_seg import check_seg
from node.results.source import SourceSeries, read_source, tolerant

_SOP_CLASSES: Final = {SEG: SegmentationStorage, OVERLAY: SecondaryCaptureImageStorage}

_SAME_AS_SOURCE: Final = (
    ("study_instance_uid", "study"),
    ("frame_of_reference_uid", "frame of reference"),
    ("patient_id", "patient"),
    ("accession_number", "accession number"),
    ("study_id", "study ID"),
    ("study_date", "study date"),
)


_SAME_BYTES: Final = ("PatientName", "PatientBirthDate", "PatientSex")


def check(objects: Sequence[EncodedObject], labels: Volume, source_files: Sequence[Path]) -> None:
    """Raise EncodingRefused, naming what disagrees, unless every object shows the labels.

    labels: uint8 on the native grid of the reference series. source_files: that series.
    Checked are: identifiers of object, patient, study and frame of reference; where each
    frame and picture lies by its own attributes, against the grid and against the source
    image it refers to; each region's side, centre, volume and voxels in the SEG; where the
    outlines of each region run in the overlay, and that no picture is missing.
    """
    source = read_source(source_files, labels.grid)
    with tolerant():
        read = [(made.kind, _read(made, source)) for made in objects]
        _check_series(read)
        try:
            _check_content(read, labels, source)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise EncodingRefused("an object lacks what a viewer needs to show it") from error


def _check_content(
    read: Sequence[tuple[str, Dataset]], labels: Volume, source: SourceSeries
) -> None:
    for kind, dataset in read:
        if kind == SEG:
            check_seg(dataset, labels, source)
    overlay = [dataset for kind, dataset in read if kind == OVERLAY]
    if overlay:
        check_overlay(overlay, labels)


def _read(made: EncodedObject, source: SourceSeries) -> Dataset:
    """Parse an object and hold its identifiers to its envelope and to the source."""
    try:
        dataset = dcmread(BytesIO(made.data))
        header = project(dataset, str(dataset.file_meta.TransferSyntaxUID))
    except (InvalidDicomError, RefusedInput, EOFError, AttributeError) as error:
        raise EncodingRefused(f"{made.kind}: the object cannot be read again") from error
    stated = (made.sop_class_uid, made.sop_instance_uid, made.series_instance_uid)
    if stated != (header.sop_class_uid, header.sop_instance_uid, header.series_instance_uid):
        raise EncodingRefused(f"{made.kind}: the object has other UIDs than it was given")
    meta = dataset.file_meta
    if str(meta.MediaStorageSOPInstanceUID) != str(made.sop_instance_uid):
        raise EncodingRefused(f"{made.kind}: file meta and data set have different UIDs")
    if str(header.sop_class_uid) != str(_SOP_CLASSES[made.kind]):
        raise EncodingRefused(f"{made.kind}: the object is of another SOP class")
    if not is_ours(header):
        raise EncodingRefused(f"{made.kind}: the object does not say that it is ours")
    _check_origin(made, dataset, source)
    return dataset


def _check_origin(made: EncodedObject, dataset: Dataset, source: SourceSeries) -> None:
    """Raise EncodingRefused unless the object is of the source's patient and study."""
    header = project(dataset, str(dataset.file_meta.TransferSyntaxUID))
    for attribute, words in _SAME_AS_SOURCE:
        if getattr(header, attribute) != getattr(source.header, attribute):
            raise EncodingRefused(f"{made.kind}: its {words} is not that of the source images")
    for keyword in _SAME_BYTES:
        if _bytes(dataset, keyword) != _bytes(source.head, keyword):
            raise EncodingRefused(f"{made.kind}: {keyword} is not that of the source images")
    if header.series_instance_uid == source.header.series_instance_uid:
        raise EncodingRefused(f"{made.kind}: the object is in the series of the source images")


def _bytes(dataset: Dataset, keyword: str) -> bytes:
    """Return an attribute as it is written, without padding; nothing when it is absent."""
    element = dataset.get_item(keyword) if keyword in dataset else None
    if element is None:
        return b""
    value = element.value
    if not isinstance(value, bytes):
        value = getattr(value, "original_string", value)
    if not isinstance(value, bytes):
        value = str(value or "").encode("latin-1", "replace")
    return value.strip(b" \0")


def _check_series(read: Sequence[tuple[str, Dataset]]) -> None:
    """Each kind has its own series, and no two objects share a UID."""
    if len({dataset.SOPInstanceUID for _, dataset in read}) != len(read):
        raise EncodingRefused("two objects have the same SOP Instance UID")
    series = {(kind, str(dataset.SeriesInstanceUID)) for kind, dataset in read}
    kinds = {kind for kind, _ in series}
    if not len(series) == len(kinds) == len({uid for _, uid in series}):
        raise EncodingRefused("SEG and overlay are not in one series each")
