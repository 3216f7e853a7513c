"""Reads a segmentation as a viewer would and holds it to the labels, voxel by voxel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.domain.errors import EncodingRefused
from node.domain.header import Plane
from node.imaging.measure import labels_to_region
from node.imaging.volume import Affine, Grid, Volume
from node.results.codes import STYLES
from node.results.source import SourceSeries, corners_mm, slice_under

SAME_PLACE_MM: Final = 0.01
"""How far a frame may lie from the source image it refers to: both are decimal strings."""

VOLUME_TOLERANCE: Final = 0.01
"""Relative; the spacing in the object is a rounded one, and voxels are compared as well."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Frame:
    """One decoded frame: (row, column). corners: (3, 3), see corners_mm.

    references: SOP Instance UID and frame number of each source image.
    """

    segment: int
    plane: Plane
    corners: Affine
    pixels: Mask
    references: frozenset[tuple[str, int | None]]

    def sum_mm(self) -> Affine:
        """Return the sum of the LPS positions of all labelled pixels, (3,)."""
        rows, columns = np.nonzero(self.pixels)
        height, width = (max(n - 1, 1) for n in self.pixels.shape)
        first, below, beside = self.corners
        total: Affine = (
            len(rows) * first
            + rows.sum() * (below - first) / height
            + columns.sum() * (beside - first) / width
        )
        return total


def side_of(position_mm: Affine, grid: Grid) -> str:
    """Return on which side of the grid's middle a position (LPS mm) lies."""
    middle = grid.positions_mm((np.array([grid.shape]) - 1) / 2)[0]
    offset = float(position_mm[0] - middle[0])
    if abs(offset) <= max(grid.spacing_mm):
        return "middle"
    return "left" if offset > 0 else "right"


def check_seg(dataset: Dataset, labels: Volume, source: SourceSeries) -> None:
    """Raise EncodingRefused unless the segmentation shows the labels where they are."""
    _check_segments(dataset)
    frames = list(_frames(dataset))
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel_mm3 = float(np.prod([float(mm) for mm in measures.PixelSpacing]))
    voxel_mm3 *= float(measures.SpacingBetweenSlices)
    places = [_place(frame, labels.grid) for frame in frames]
    for frame, place in zip(frames, places, strict=True):
        _check_reference(frame, source, place)
    for style in STYLES:
        own = [frame for frame in frames if frame.segment == style.number]
        decoded = np.zeros(labels.grid.shape, dtype=np.bool_)
        for frame, place in zip(frames, places, strict=True):
            if frame.segment == style.number:
                decoded[place] |= frame.pixels
        wanted = labels_to_region(labels, style.region)
        _check_measures(f"SEG: {style.region}", own, voxel_mm3, wanted, labels.grid)
        if not np.array_equal(decoded, wanted):
            different = int(np.count_nonzero(decoded != wanted))
            raise EncodingRefused(f"SEG: {style.region} differs in {different} voxels")


def _check_segments(dataset: Dataset) -> None:
    """Raise EncodingRefused unless each segment is named as the region that it holds."""
    if dataset.get("SegmentationType") != "BINARY":
        raise EncodingRefused("SEG: it is not a binary segmentation")
    said = {
        int(s.SegmentNumber): (s.SegmentLabel, s.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for s in dataset.get("SegmentSequence") or ()
    }
    if said != {style.number: (style.label, style.type.value) for style in STYLES}:
        raise EncodingRefused("SEG: its segments are not named as the regions that they hold")


def _frames(dataset: Dataset) -> Iterator[_Frame]:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    c = [float(cosine) for cosine in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    spacing = [float(mm) for mm in shared.PixelMeasuresSequence[0].PixelSpacing]
    shape = (int(dataset.Rows), int(dataset.Columns))
    groups = dataset.PerFrameFunctionalGroupsSequence
    pixels = np.asarray(dataset.pixel_array).reshape(-1, *shape).astype(np.bool_)
    if len(groups) != len(pixels):
        raise EncodingRefused("SEG: frames and their descriptions differ in number")
    for group, frame in zip(groups, pixels, strict=True):
        x, y, z = (float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient)
        plane = Plane(position=(x, y, z), orientation=(c[0], c[1], c[2], c[3], c[4], c[5]))
        yield _Frame(
            segment=int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
            plane=plane,
            corners=corners_mm(plane, (spacing[0], spacing[1]), shape),
            pixels=frame,
            references=_references(group),
        )


def _references(group: Dataset) -> frozenset[tuple[str, int | None]]:
    return frozenset(
        (
            str(image.ReferencedSOPInstanceUID),
            int(image.ReferencedFrameNumber) if "ReferencedFrameNumber" in image else None,
        )
        for derivation in group.get("DerivationImageSequence") or ()
        for image in derivation.get("SourceImageSequence") or ()
    )


def _place(frame: _Frame, grid: Grid) -> int:
    if frame.pixels.shape != grid.shape[1:]:
        raise EncodingRefused("SEG: its frames have other rows or columns than the labels")
    try:
        return slice_under(frame.corners, grid)
    except EncodingRefused as error:
        raise EncodingRefused(f"SEG: {error.what}") from error


def _check_reference(frame: _Frame, source: SourceSeries, place: int) -> None:
    """Each frame refers to the one source image that lies where the frame lies."""
    at = source.slices[place]
    if frame.references != {(at.header.sop_instance_uid, at.frame)}:
        raise EncodingRefused("SEG: a frame does not refer to the source image on its slice")
    apart = np.subtract(at.plane.position, frame.plane.position)
    if np.abs(apart).max() > SAME_PLACE_MM:
        raise EncodingRefused("SEG: a frame does not lie on the source image it refers to")


def _check_measures(
    name: str, frames: Sequence[_Frame], voxel_mm3: float, wanted: Mask, grid: Grid
) -> None:
    """Compare side, centre and volume of a region, by the object's own attributes."""
    if not frames:
        raise EncodingRefused(f"{name} has no frame")
    voxels = sum(int(np.count_nonzero(frame.pixels)) for frame in frames)
    if not voxels or not wanted.any():
        if bool(voxels) != bool(wanted.any()):
            raise EncodingRefused(f"{name} is empty in the object or in the labels, not in both")
        return
    centre = sum((frame.sum_mm() for frame in frames), start=np.zeros(3)) / voxels
    there = grid.positions_mm(np.argwhere(wanted).mean(axis=0)[None])[0]
    sides = side_of(centre, grid), side_of(there, grid)
    if set(sides) == {"left", "right"}:
        raise EncodingRefused(f"{name} lies on the {sides[0]}, in the labels on the {sides[1]}")
    apart_mm = float(np.linalg.norm(centre - there))
    if apart_mm > min(grid.spacing_mm) / 2:
        raise EncodingRefused(f"{name} has its centre {apart_mm:.2f} mm beside that of the labels")
    volumes = voxels * voxel_mm3 / 1000, np.count_nonzero(wanted) * grid.voxel_mm3 / 1000
    if not np.isclose(*volumes, rtol=VOLUME_TOLERANCE):
        raise EncodingRefused(f"{name} has {volumes[0]:.2f} mL, in the labels {volumes[1]:.2f} mL")
