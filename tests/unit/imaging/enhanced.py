"""Writes a Volume as one Enhanced MR object (PS3.3 A.36.2), frames in any order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from node.imaging.volume import Array, Grid
from tests.support.mr_series import FRAME_UID, SERIES_UID, STUDY_UID


def write_enhanced(
    path: Path,
    stored: Array,
    grid: Grid,
    *,
    order: Sequence[int],
    rescale: Sequence[tuple[float, float]] | None = None,
) -> Path:
    """Write the slices of stored values, (n, rows, columns) uint16, in an order of frames.

    rescale: slope and intercept of each slice; None leaves the functional group out.
    """
    dataset = Dataset()
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = f"{SERIES_UID}.99"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, SERIES_UID
    dataset.Modality = "MR"
    dataset.FrameOfReferenceUID = FRAME_UID
    dataset.Rows, dataset.Columns = grid.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = len(order)
    dataset.SharedFunctionalGroupsSequence = [_shared(grid)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(grid, slice_number, rescale) for slice_number in order
    ]
    dataset.PixelData = stored[list(order)].astype("<u2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _shared(grid: Grid) -> Dataset:
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    cosines = [*grid.directions[:, 2], *grid.directions[:, 1]]
    orientation.ImageOrientationPatient = [format_number_as_ds(float(c)) for c in cosines]
    measures.PixelSpacing = [format_number_as_ds(mm) for mm in grid.spacing_mm[1:]]
    measures.SliceThickness = "99"
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    return shared


def _frame(grid: Grid, number: int, rescale: Sequence[tuple[float, float]] | None) -> Dataset:
    position, frame = Dataset(), Dataset()
    place = grid.positions_mm(np.array([number, 0, 0]))
    position.ImagePositionPatient = [format_number_as_ds(float(mm)) for mm in place]
    frame.PlanePositionSequence = [position]
    if rescale is not None:
        transformation = Dataset()
        transformation.RescaleSlope = format_number_as_ds(rescale[number][0])
        transformation.RescaleIntercept = format_number_as_ds(rescale[number][1])
        transformation.RescaleType = "US"
        frame.PixelValueTransformationSequence = [transformation]
    return frame
