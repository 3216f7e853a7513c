"""Secondary Capture series (PS3.3 A.8.1): grey pictures with outlines that every PACS can show."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from node.imaging.measure import labels_to_region
from node.imaging.volume import Grid, Volume
from node.results import captions
from node.results.codes import MULTIPLANAR_REFORMATTING, STYLES
from node.results.context import OVERLAY, EncodedObject, ResultContext
from node.results.drawing import (
    Picture,
    direction_letters,
    legend,
    letters_layer,
    outlines,
    paint,
    rim_letters,
    stencil_of,
    text_size,
    window_of,
)
from node.results.envelope import address, instance_uid, plain, seal
from node.results.seg import check_volumes
from node.results.sheet import render_png
from node.results.source import SourceSeries, copy_compression, copy_study, read_source, tolerant
from node.results.views import Plane, View, overlay_view

WORKSTATION: Final = "WSD"
"""Conversion Type (0008,0064)."""


MIN_PIXELS: Final = 320
"""Rows and columns of a picture are at least so many."""

__all__ = ["encode_overlay", "render_png"]


def encode_overlay(
    labels: Volume,
    reference: Volume,
    source_files: Sequence[Path],
    context: ResultContext,
    *,
    thickness_mm: float = 3.0,
) -> tuple[EncodedObject, ...]:
    """Encode one RGB image for each picture of the reference series, from feet to head.

    labels: uint8 on the grid of reference. Thick 2D slices are shown as they are, other
    series as axial slabs of thickness_mm. Position, orientation, spacing and frame of
    reference are those of the pictures, so that viewers link and scroll them; the legend
    stands below the picture and only lengthens its columns.
    Raises NoGeometry, EncodingRefused, SpoolDamaged.
    """
    check_volumes(labels, context)
    source = read_source(source_files, reference.grid)
    view = overlay_view(reference.grid, thickness_mm=thickness_mm, min_pixels=MIN_PIXELS)
    with tolerant():
        common = _common(source, view, context)
        return tuple(
            _encode(picture, _at(common, number, view, source), context)
            for number, picture in enumerate(_pictures(labels, reference, view, context))
        )


def _pictures(
    labels: Volume, reference: Volume, view: View, context: ResultContext
) -> Iterator[Picture]:
    regions = {style.region: labels_to_region(labels, style.region) for style in STYLES}
    window = window_of(reference.array)
    rows, columns = view.grid.shape[1:]
    size = 1.3 * text_size(columns)
    stencil = stencil_of(letters_layer((rows, columns), rim_letters(view.grid.directions), size))
    strip = legend(
        columns,
        captions.entries(context),
        captions.notes(context, making=captions.making_of(view)),
    )
    for number in range(view.grid.shape[0]):
        grey = window.apply(view.grey(reference.array, number))
        lines = outlines({r: view.mask(inside, number) for r, inside in regions.items()})
        yield np.vstack([paint(grey, lines, stencil), strip])


def _common(source: SourceSeries, view: View, context: ResultContext) -> Dataset:
    """Everything that is the same in all images of the series."""
    dataset = Dataset()
    copy_study(source.head, dataset)
    address(dataset, context, OVERLAY, 1)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.ConversionType = WORKSTATION
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "YES"
    copy_compression(source.head, dataset)
    dataset.DerivationDescription = plain(captions.making_of(view) + " Outlines added.", 1024)
    if view.plane is not Plane.ACQUIRED:
        dataset.DerivationCodeSequence = [_code(MULTIPLANAR_REFORMATTING)]
    dataset.ImageComments = plain(context.research_text, 10240)
    dataset.BodyPartExamined = "BRAIN"
    if source.head.get("PatientPosition"):
        dataset.PatientPosition = source.head.PatientPosition
    dataset.FrameOfReferenceUID = source.header.frame_of_reference_uid
    dataset.PositionReferenceIndicator = source.head.get("PositionReferenceIndicator")
    dataset.update(_geometry(view.grid))
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    return dataset


def _geometry(grid: Grid) -> Dataset:
    """Return what all pictures share: orientation, spacing, thickness (PS3.3 C.7.6.2)."""
    down, right = grid.directions[:, 1], grid.directions[:, 2]
    between, *within = grid.spacing_mm
    geometry = Dataset()
    geometry.ImageOrientationPatient = _ds([*right, *down])
    geometry.PatientOrientation = [direction_letters(right), direction_letters(down)]
    geometry.PixelSpacing = _ds(within)
    geometry.SliceThickness = _ds([between])[0]
    geometry.SpacingBetweenSlices = _ds([between])[0]
    return geometry


def _at(common: Dataset, number: int, view: View, source: SourceSeries) -> Dataset:
    """Return the data set of one picture, still without its pixels."""
    dataset = Dataset()
    dataset.update(common)
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = _ds(view.grid.positions_mm(np.array([[number, 0, 0]]))[0])
    if view.plane is Plane.ACQUIRED:
        dataset.SourceImageSequence = [_reference(source, number)]
    return dataset


def _encode(picture: Picture, dataset: Dataset, context: ResultContext) -> EncodedObject:
    number = int(dataset.InstanceNumber)
    dataset.SOPInstanceUID = instance_uid(context, OVERLAY, number)
    dataset.Rows, dataset.Columns = picture.shape[:2]
    data = picture.tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    return seal(dataset, OVERLAY)


def _reference(source: SourceSeries, number: int) -> Dataset:
    at = source.slices[number]
    image = Dataset()
    image.ReferencedSOPClassUID = at.header.sop_class_uid
    image.ReferencedSOPInstanceUID = at.header.sop_instance_uid
    if at.frame is not None:
        image.ReferencedFrameNumber = at.frame
    return image


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _ds(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
