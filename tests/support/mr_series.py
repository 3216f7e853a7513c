"""Writes a Volume as a minimal but standard-conformant classic MR series, one file a slice."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from node.imaging.volume import Affine, Array, Grid, Volume

STUDY_UID: Final = "1.2.826.0.1.3680043.10.1338.1"
SERIES_UID: Final = "1.2.826.0.1.3680043.10.1338.1.7"
FRAME_UID: Final = "1.2.826.0.1.3680043.10.1338.2"

STUDY: Final[Mapping[str, object]] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Test",
    "PatientID": "SEGNODE-1",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "PatientAge": "064Y",
    "StudyInstanceUID": STUDY_UID,
    "StudyDate": "20260102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A4711",
    "StudyDescription": "MR head",
    "ReferringPhysicianName": "Any^Doctor",
}

AXIAL: Final = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
SAGITTAL: Final = ((1, 0, 0), (0, 0, -1), (0, 1, 0))
CORONAL: Final = ((0, 1, 0), (0, 0, -1), (1, 0, 0))
"""LPS directions of the slice, row and column index, as scanners write them."""


def a_grid(
    shape: tuple[int, int, int],
    *,
    axes: Array | tuple[tuple[float, float, float], ...] = AXIAL,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    centre_mm: tuple[float, float, float] = (3.0, -12.0, 20.0),
) -> Grid:
    """Build a grid from unit vectors, spacing and the position of its centre."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes, dtype=np.float64).T * np.array(spacing_mm)
    affine[:3, 3] = np.array(centre_mm) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Grid(shape=shape, affine=affine, frame_of_reference_uid=FRAME_UID)


def tilted(axes: tuple[tuple[float, float, float], ...], degrees: float) -> Affine:
    """Rotate the axes about an oblique line, so that none stays parallel to the patient's."""
    line = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    cross = np.cross(np.eye(3), line)
    angle = np.deg2rad(degrees)
    turn = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    rotated: Affine = np.array(axes, dtype=np.float64) @ turn.T
    return rotated


def write_mr_series(
    folder: Path, volume: Volume, *, seed: int | None = None, **changes: object
) -> list[Path]:
    """Write one file a slice and return the paths, shuffled when a seed is given.

    changes: keywords set on every data set, valid or not; None takes an attribute out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(volume.array), 0, 32767).astype("<u2")
    paths = [folder / f"{number:04d}.dcm" for number in range(volume.grid.shape[0])]
    with disable_value_validation():
        for number, path in enumerate(paths):
            dataset = _slice(volume.grid, number)
            dataset.PixelData = stored[number].tobytes()
            _change(dataset, changes)
            dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number + 1}"
            _write(dataset, path)
    if seed is not None:
        random.Random(seed).shuffle(paths)
    return paths


def _change(dataset: Dataset, changes: Mapping[str, object]) -> None:
    for keyword, value in changes.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)


def _slice(grid: Grid, number: int) -> Dataset:
    dataset = Dataset()
    for keyword, value in STUDY.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = MRImageStorage
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.SeriesNumber, dataset.InstanceNumber = 7, number + 1
    dataset.SeriesDescription = "T1C"
    dataset.Modality, dataset.BodyPartExamined = "MR", "BRAIN"
    dataset.Manufacturer = "Test"
    dataset.FrameOfReferenceUID = grid.frame_of_reference_uid
    dataset.PositionReferenceIndicator = None
    dataset.PatientPosition = "HFS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", "NONE"
    dataset.ScanOptions, dataset.MRAcquisitionType = None, "3D"
    dataset.RepetitionTime, dataset.EchoTime = "2000", "3"
    dataset.EchoTrainLength = "1"
    dataset.AcquisitionNumber = 1
    dataset.ContentDate, dataset.ContentTime = "20260102", "101500"
    _geometry(dataset, grid, number)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = grid.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    return dataset


def _geometry(dataset: Dataset, grid: Grid, number: int) -> None:
    place = grid.positions_mm(np.array([[number, 0, 0]]))[0]
    cosines = [*grid.directions[:, 2], *grid.directions[:, 1]]
    dataset.ImagePositionPatient = [format_number_as_ds(float(c)) for c in place]
    dataset.ImageOrientationPatient = [format_number_as_ds(float(c)) for c in cosines]
    dataset.PixelSpacing = [format_number_as_ds(mm) for mm in grid.spacing_mm[1:]]
    dataset.SliceThickness = format_number_as_ds(grid.spacing_mm[0])


def _write(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    dataset.file_meta = meta
    dcmwrite(path, dataset, enforce_file_format=True)
