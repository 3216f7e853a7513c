"""Small DICOM objects, encoded in any transfer syntax, for tests of what reads and carries them."""

import io
import struct
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID

from node.dicom.part10 import read_file_meta, write_part10

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
MARKED_NAME = "Zzyzx^Marked"
"""A patient name that no log, error or metric may ever show."""


def mr_dataset(number: int = 1, **attributes: Any) -> Dataset:
    """Return a classic MR image of 4 x 4 pixels; keyword arguments replace attributes."""
    found: dict[str, Any] = {
        "SOPClassUID": MR,
        "SOPInstanceUID": f"1.2.826.0.1.3680043.10.9.3.{number}",
        "StudyInstanceUID": "1.2.826.0.1.3680043.10.9.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.10.9.2",
        "PatientName": MARKED_NAME,
        "PatientID": "ZZ-1",
        "Modality": "MR",
        "SeriesDescription": "t2_tse_tra",
        "EchoTime": "91.5",
        "InstanceNumber": number,
        "ImagePositionPatient": [0, 0, 5 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        "Rows": 4,
        "Columns": 4,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": bytes(range(32)),
    }
    return dataset(**{**found, **attributes})


def dataset(**attributes: Any) -> Dataset:
    """Return a data set with these attributes; None leaves one out."""
    made = Dataset()
    for keyword, value in attributes.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def sequence(*items: Dataset) -> Sequence:
    """Return a sequence of items."""
    return Sequence(items)


def enhanced_dataset(**attributes: Any) -> Dataset:
    """Return an Enhanced MR of three frames with groups shared and per frame."""
    shared = dataset(
        MRTimingAndRelatedParametersSequence=sequence(
            dataset(RepetitionTime="1800", FlipAngle="9", EchoTrainLength="1")
        ),
        MRModifierSequence=sequence(dataset(InversionRecovery="YES", InversionTimes=[900.0])),
        PlaneOrientationSequence=sequence(dataset(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
        PixelMeasuresSequence=sequence(dataset(PixelSpacing=[2, 2], SliceThickness="2")),
    )
    frames = [
        dataset(
            PlanePositionSequence=sequence(dataset(ImagePositionPatient=[2 * i, 0, 0])),
            MREchoSequence=sequence(dataset(EffectiveEchoTime=2.41)),
            MRDiffusionSequence=sequence(dataset(DiffusionBValue=500.0 * i)),
            FrameContentSequence=sequence(dataset(TemporalPositionIndex=1)),
            MRImageFrameTypeSequence=sequence(
                dataset(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], AcquisitionContrast="T1")
            ),
            FrameAnatomySequence=sequence(
                dataset(AnatomicRegionSequence=sequence(dataset(CodeMeaning="Brain")))
            ),
        )
        for i in range(3)
    ]
    made: dict[str, Any] = {
        "SOPClassUID": ENHANCED_MR,
        "EchoTime": None,
        "PixelSpacing": None,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "NumberOfFrames": 3,
        "PixelData": bytes(96),
        "EchoPulseSequence": "GRADIENT",
        "EchoPlanarPulseSequence": "NO",
        "SpectrallySelectedSuppression": "FAT",
        "AcquisitionDateTime": "20220711120517.0425",
        "ContrastBolusAgentSequence": sequence(
            dataset(
                CodeMeaning="Gadoterate",
                ContrastBolusVolume="12",
                ContrastBolusAdministrationRouteSequence=sequence(
                    dataset(CodeMeaning="Intravenous route")
                ),
            )
        ),
        "SharedFunctionalGroupsSequence": sequence(shared),
        "PerFrameFunctionalGroupsSequence": sequence(*frames),
        **attributes,
    }
    return mr_dataset(**made)


def encode(made: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """Return the data set's bytes in a transfer syntax, without file meta group.

    Pixel data of encapsulated syntaxes must be encapsulated already.
    """
    target = io.BytesIO()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    made.file_meta.MediaStorageSOPClassUID = UID(made.get("SOPClassUID", MR))
    made.file_meta.MediaStorageSOPInstanceUID = UID(made.get("SOPInstanceUID", "1.2"))
    if transfer_syntax_uid == BIG_ENDIAN and "PixelData" in made:
        made["PixelData"].VR = "OW"
    dcmwrite(target, made, enforce_file_format=True)
    target.seek(0)
    offset = read_file_meta(target).offset
    return target.getvalue()[offset:]


def write_file(path: Path, made: Dataset, transfer_syntax_uid: str = EXPLICIT) -> Path:
    """Write the data set as a DICOM file, its bytes as `encode` gives them."""
    with path.open("wb") as target:
        write_part10(
            target,
            data_set=encode(made, transfer_syntax_uid),
            sop_class_uid=made.SOPClassUID,
            sop_instance_uid=made.SOPInstanceUID,
            transfer_syntax_uid=transfer_syntax_uid,
            source_ae_title="TEST",
        )
    return path


def explicit_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Encode one element by hand, also one that pydicom would not write."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"SQ", b"UN", b"OB", b"OW"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value
