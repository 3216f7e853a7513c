"""DICOM Segmentation (PS3.3 A.51): the labels on the slices that they were found on."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import format_number_as_ds

from node.dicom.ours import MANUFACTURER
from node.dicom.uids import derived_uid
from node.domain.errors import EncodingRefused
from node.domain.header import Header
from node.imaging.measure import labels_to_region, region_volumes
from node.imaging.volume import Array, Volume
from node.results.codes import (
    ARTIFICIAL_INTELLIGENCE,
    BRAIN,
    MORPHOLOGICALLY_ABNORMAL,
    STYLES,
    RegionStyle,
)
from node.results.context import SEG, EncodedObject, ResultContext
from node.results.envelope import (
    DEVICE_SERIAL_NUMBER,
    MODEL_NAME,
    address,
    instance_uid,
    plain,
    seal,
    series_number,
    series_uid,
)
from node.results.frames import name_frames, stand_in_uid
from node.results.source import (
    SourceSeries,
    SourceSlice,
    copy_compression,
    copy_study,
    read_identities,
    read_source,
    tolerant,
)

__all__ = ["EncodedObject", "check_volumes", "encode_seg"]


def encode_seg(
    labels: Volume,
    source_files: Sequence[Path],
    other_source_files: Sequence[Path],
    context: ResultContext,
) -> EncodedObject:
    """Encode WT, TC and ET as one BINARY segmentation on the slices of the reference series.

    labels: uint8 on the native grid of the reference series. source_files: that series, in
    any order. other_source_files: the other series that the labels were made from.
    Every segment has a frame on each slice from the first to the last labelled one (on the
    middle slice alone when nothing is labelled), so that every segment that is described can
    be shown and slices stay evenly spaced.
    Raises NoGeometry, EncodingRefused, SpoolDamaged.
    """
    check_volumes(labels, context)
    source = read_source(source_files, labels.grid)
    others = read_identities(other_source_files)
    first, last = _extent(labels.array)
    masks = np.stack([labels_to_region(labels, style.region) for style in STYLES], axis=-1)
    with tolerant():
        dataset = _segmentation(masks[first : last + 1], source, (first, last), context)
        name_frames(dataset, source)
        _refer(dataset, others)
        _finish(dataset, source, context)
        return seal(dataset, SEG)


def check_volumes(labels: Volume, context: ResultContext) -> None:
    """Raise EncodingRefused when the context states other volumes than the labels have."""
    for found in region_volumes(labels):
        stated = context.volume_of(found.region)
        if stated is not None and not np.isclose(stated.millilitres, found.millilitres, rtol=1e-4):
            raise EncodingRefused(
                f"{found.region} is stated with {stated.millilitres:.3f} mL, "
                f"but the labels hold {found.millilitres:.3f} mL"
            )


def _extent(array: Array) -> tuple[int, int]:
    """First and last slice with a label; twice the middle slice when there is none."""
    labelled = np.flatnonzero(array.any(axis=(1, 2)))
    if not labelled.size:
        return array.shape[0] // 2, array.shape[0] // 2
    return int(labelled[0]), int(labelled[-1])


def _segmentation(
    masks: Array,
    source: SourceSeries,
    extent: tuple[int, int],
    context: ResultContext,
) -> Dataset:
    slices = source.slices[extent[0] : extent[1] + 1]
    dataset: Dataset = hd.seg.Segmentation(
        source_images=_images(source),
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(style, context) for style in STYLES],
        series_instance_uid=series_uid(context, SEG),
        series_number=series_number(context, SEG),
        sop_instance_uid=instance_uid(context, SEG, 1),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=plain(context.software, 64),
        device_serial_number=DEVICE_SERIAL_NUMBER,
        content_description=plain(context.research_text, 64),
        content_creator_name="Segnode^Automatic",
        content_label="GLIOMA",
        plane_positions=[_position(at) for at in slices],
        omit_empty_frames=False,
    )
    return dataset


def _description(style: RegionStyle, context: ResultContext) -> Dataset:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=plain(context.bundle_name, 64),
        family=ARTIFICIAL_INTELLIGENCE,
        version=plain(context.bundle_version, 64),
        source=MANUFACTURER,
        parameters={
            "bundle_sha256": context.bundle_sha256,
            "description": plain(context.algorithm_description, 1024),
        },
    )
    description: Dataset = hd.seg.SegmentDescription(
        segment_number=style.number,
        segment_label=style.label,
        segmented_property_category=MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=style.type,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=derived_uid(context.analysis_id, "tracking", style.region),
        tracking_id=f"{style.region} {context.analysis_id[:16]}",
        anatomic_regions=[BRAIN],
        display_color=hd.color.CIELabColor.from_rgb(*style.rgb),
    )
    return description


def _refer(dataset: Dataset, others: Sequence[Header]) -> None:
    """Refer to the other series too; the frames themselves refer to the reference series alone.

    highdicom would do both, and take 4 ms for each image.
    """
    for uid, headers in itertools.groupby(others, key=lambda h: h.series_instance_uid):
        images = []
        for header in headers:
            image = Dataset()
            image.ReferencedSOPClassUID = header.sop_class_uid
            image.ReferencedSOPInstanceUID = header.sop_instance_uid
            images.append(image)
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedInstanceSequence = images
        dataset.ReferencedSeriesSequence.append(series)
        dataset.SourceImageSequence.extend(images)


def _finish(dataset: Dataset, source: SourceSeries, context: ResultContext) -> None:
    """Put in what highdicom leaves to chance, to the clock, or to the first source image."""
    copy_study(source.head, dataset)
    address(dataset, context, SEG, 1)
    dataset.PositionReferenceIndicator = source.head.get("PositionReferenceIndicator")
    organization = derived_uid(context.analysis_id, SEG, "dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    when = dataset.ContentDate + dataset.ContentTime
    for item in dataset.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            item.ContributionDateTime = when


def _images(source: SourceSeries) -> list[Dataset]:
    """Build the source images for highdicom from nothing but what a segmentation needs.

    Real headers hold values that highdicom rejects (sex, dates) or compares too strictly
    (orientations that differ in the last digit); patient and study are copied afterwards.
    """
    instances = {at.header.sop_instance_uid for at in source.slices}
    if source.slices[0].frame is not None and len(instances) == 1:
        return [_multi_frame(source)]
    return [_single_frame(source, at) for at in source.slices]


def _single_frame(source: SourceSeries, at: SourceSlice) -> Dataset:
    image = _image(source, at.header)
    image.update(_measures(source))
    image.ImageOrientationPatient = _ds(source.slices[0].plane.orientation)
    image.ImagePositionPatient = _ds(at.plane.position)
    if at.frame is not None:
        image.SOPClassUID = MRImageStorage
        image.SOPInstanceUID = stand_in_uid(at)
    return image


def _multi_frame(source: SourceSeries) -> Dataset:
    image = _image(source, source.header)
    orientation = Dataset()
    orientation.ImageOrientationPatient = _ds(source.slices[0].plane.orientation)
    shared = Dataset()
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [_measures(source)]
    image.SharedFunctionalGroupsSequence = [shared]
    image.NumberOfFrames = len(source.header.planes)
    image.PerFrameFunctionalGroupsSequence = []
    for plane in source.header.planes:
        position = Dataset()
        position.ImagePositionPatient = _ds(plane.position)
        frame = Dataset()
        frame.PlanePositionSequence = [position]
        image.PerFrameFunctionalGroupsSequence.append(frame)
    return image


def _image(source: SourceSeries, header: Header) -> Dataset:
    image = Dataset()
    image.SOPClassUID = header.sop_class_uid
    image.SOPInstanceUID = header.sop_instance_uid
    image.StudyInstanceUID = header.study_instance_uid
    image.SeriesInstanceUID = header.series_instance_uid
    image.FrameOfReferenceUID = header.frame_of_reference_uid
    image.Modality = header.modality
    image.Rows, image.Columns = header.rows, header.columns
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        setattr(image, keyword, None)
    image.AccessionNumber = image.StudyID = image.StudyTime = None
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "StationName"):
        if keyword in source.head:
            setattr(image, keyword, source.head[keyword].value)
    copy_compression(source.head, image)
    return image


def _measures(source: SourceSeries) -> Dataset:
    """Pixel measures with the true distance of slices; the attribute of the source may lie."""
    header = source.header
    ends = np.array([source.slices[0].plane.position, source.slices[-1].plane.position])
    steps = len(source.slices) - 1
    measures = Dataset()
    measures.PixelSpacing = _ds(header.pixel_spacing or ())
    between = float(np.linalg.norm(ends[1] - ends[0])) / max(steps, 1)
    measures.SpacingBetweenSlices = _ds([between])[0]
    measures.SliceThickness = _ds([header.slice_thickness or between])[0]
    return measures


def _position(at: SourceSlice) -> Dataset:
    position: Dataset = hd.PlanePositionSequence(
        coordinate_system=hd.CoordinateSystemNames.PATIENT, image_position=at.plane.position
    )
    return position


def _ds(values: Sequence[float]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
