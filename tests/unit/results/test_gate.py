"""What disagrees with labels or source does not leave the node."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from node.domain.errors import EncodingRefused
from node.imaging.volume import Grid, Volume
from node.results.context import EncodedObject
from node.results.gate import check
from node.results.overlay import encode_overlay
from node.results.seg import encode_seg
from tests.support.mr_series import AXIAL, SAGITTAL, a_grid, tilted
from tests.unit.results.cases import SMALL, Case, a_case, parsed, tampered

THICK = a_grid((9, 40, 36), axes=AXIAL, spacing_mm=(5.0, 1.0, 1.0))


def objects_of(case: Case) -> list[EncodedObject]:
    seg = encode_seg(case.labels, case.files, (), case.context)
    overlay = encode_overlay(case.labels, case.reference, case.files, case.context)
    return [seg, *overlay]


@pytest.mark.parametrize(
    "grid",
    [
        SMALL,
        THICK,
        a_grid((14, 18, 16), axes=tilted(SAGITTAL, 20), spacing_mm=(1.1, 1.0, 0.9)),
        a_grid((20, 20, 20), axes=tilted(AXIAL, 40)),
    ],
    ids=["sagittal", "thick", "oblique", "far oblique"],
)
def test_what_the_encoders_make_passes(tmp_path: Path, grid: Grid) -> None:
    case = a_case(tmp_path, grid)
    check(objects_of(case), case.labels, case.files)


def test_an_empty_result_passes(tmp_path: Path) -> None:
    nothing = Volume(array=np.zeros(SMALL.shape, dtype=np.uint8), grid=SMALL)
    case = a_case(tmp_path, labels=nothing)
    check(objects_of(case), case.labels, case.files)


@pytest.mark.parametrize("value", [1, 2, 3])
def test_a_single_voxel_in_a_corner_passes(tmp_path: Path, value: int) -> None:
    array = np.zeros(SMALL.shape, dtype=np.uint8)
    array[0, -1, 0] = value
    case = a_case(tmp_path, labels=Volume(array=array, grid=SMALL))
    check(objects_of(case), case.labels, case.files)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_mirrored_after_encoding_are_refused(tmp_path: Path, axis: int) -> None:
    case = a_case(tmp_path)
    mirrored = Volume(array=np.flip(case.labels.array, axis), grid=SMALL)
    seg, *overlay = objects_of(case)
    with pytest.raises(EncodingRefused, match="SEG: WT"):
        check([seg], mirrored, case.files)
    with pytest.raises(EncodingRefused, match="overlay: WT"):
        check(overlay, mirrored, case.files)


def test_a_change_of_side_is_named(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    mirrored = Volume(array=np.flip(case.labels.array, 0), grid=SMALL)
    seg, *overlay = objects_of(case)
    with pytest.raises(EncodingRefused, match="on the left, in the labels on the right"):
        check([seg], mirrored, case.files)
    with pytest.raises(EncodingRefused, match="outlined on the left but labelled on the right"):
        check(overlay, mirrored, case.files)


def flip_frames(dataset: Dataset) -> None:
    frames = np.flip(dataset.pixel_array, axis=2)
    dataset.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()


def shift_frames(dataset: Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[1] += 1.0


def shift_to_the_next_slice(dataset: Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[0] -= 1.2


def drop_a_frame(dataset: Dataset) -> None:
    middle = int(dataset.NumberOfFrames) // 2
    frames = np.delete(dataset.pixel_array, middle, axis=0)
    del dataset.PerFrameFunctionalGroupsSequence[middle]
    dataset.NumberOfFrames = len(frames)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)


def drop_a_description(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[-1]


def refer_elsewhere(dataset: Dataset) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[0].DerivationImageSequence = groups[1].DerivationImageSequence


def refer_to_nothing(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = []


def swap_segments(dataset: Dataset) -> None:
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        item = frame.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = 4 - item.ReferencedSegmentNumber


def stretch(dataset: Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].PixelSpacing = ["1.1", "1.0"]


def thicken(dataset: Dataset) -> None:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].SpacingBetweenSlices = "2.4"


def swap_study(dataset: Dataset) -> None:
    dataset.StudyInstanceUID = "1.2.3.4"


def swap_frame_of_reference(dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = "1.2.3.4"


def swap_patient(dataset: Dataset) -> None:
    dataset.PatientID = "ANOTHER"


def swap_instance(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = "1.2.3.4"


def pass_as_the_scanner(dataset: Dataset) -> None:
    dataset.Manufacturer = "Scanner"
    dataset.SoftwareVersions = "1"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (flip_frames, "SEG: WT"),
        (shift_frames, "SEG: a plane lies 1.00 mm off"),
        (shift_to_the_next_slice, "does not refer to the source image on its slice"),
        (drop_a_frame, "SEG: TC"),
        (drop_a_description, "differ in number"),
        (refer_elsewhere, "does not refer to the source image"),
        (refer_to_nothing, "does not refer to the source image"),
        (swap_segments, "SEG: WT"),
        (stretch, "off the grid"),
        (thicken, "mL"),
        (swap_study, "study"),
        (swap_frame_of_reference, "frame of reference"),
        (swap_patient, "patient"),
        (swap_instance, "other UIDs"),
        (pass_as_the_scanner, "ours"),
    ],
)
def test_a_segmentation_that_was_tampered_with_is_refused(
    tmp_path: Path, change: Callable[[Dataset], None], complaint: str
) -> None:
    case = a_case(tmp_path)
    seg = encode_seg(case.labels, case.files, (), case.context)
    dataset = parsed(seg)
    change(dataset)
    with pytest.raises(EncodingRefused, match=complaint):
        check([tampered(seg, dataset)], case.labels, case.files)


def flip_picture(dataset: Dataset) -> None:
    dataset.PixelData = dataset.pixel_array[:, ::-1].tobytes()


def shift_picture(dataset: Dataset) -> None:
    dataset.ImagePositionPatient[0] += 5.0


def change_orientation(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (flip_picture, "overlay: WT is outlined"),
        (shift_picture, "overlay: "),
        (change_orientation, "overlay: "),
    ],
)
def test_an_overlay_that_was_tampered_with_is_refused(
    tmp_path: Path, change: Callable[[Dataset], None], complaint: str
) -> None:
    case = a_case(tmp_path)
    changed = []
    for made in encode_overlay(case.labels, case.reference, case.files, case.context):
        dataset = parsed(made)
        change(dataset)
        changed.append(tampered(made, dataset))
    with pytest.raises(EncodingRefused, match=complaint):
        check(changed, case.labels, case.files)


@pytest.mark.parametrize("picture", [0, 2, -1])
def test_a_missing_picture_is_refused(tmp_path: Path, picture: int) -> None:
    case = a_case(tmp_path)
    overlay = list(encode_overlay(case.labels, case.reference, case.files, case.context))
    del overlay[picture]
    with pytest.raises(EncodingRefused, match="overlay: the pictures do not"):
        check(overlay, case.labels, case.files)


def test_outlines_in_an_empty_result_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    overlay = encode_overlay(case.labels, case.reference, case.files, case.context)
    nothing = Volume(array=np.zeros(SMALL.shape, dtype=np.uint8), grid=SMALL)
    with pytest.raises(EncodingRefused, match="outlined or labelled"):
        check(overlay, nothing, case.files)


def test_an_outline_where_nothing_is_labelled_is_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    hollow = case.labels.array.copy()
    # Keeps the extent on every side, but takes the middle out.
    hollow[:, 4:11, 7:12] = 0
    labels = Volume(array=hollow, grid=SMALL)
    overlay = encode_overlay(case.labels, case.reference, case.files, case.context)
    with pytest.raises(EncodingRefused, match="overlay: "):
        check(overlay, labels, case.files)


def test_bytes_that_are_no_object_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    seg = encode_seg(case.labels, case.files, (), case.context)
    with pytest.raises(EncodingRefused, match="cannot be read"):
        check([replace(seg, data=seg.data[:400])], case.labels, case.files)


def test_pixels_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    seg = encode_seg(case.labels, case.files, (), case.context)
    dataset = parsed(seg)
    dataset.PixelData = dataset.PixelData[:8]
    with pytest.raises(EncodingRefused, match="lacks what a viewer needs"):
        check([tampered(seg, dataset)], case.labels, case.files)


def test_the_same_object_twice_is_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    seg = encode_seg(case.labels, case.files, (), case.context)
    with pytest.raises(EncodingRefused, match="same SOP Instance UID"):
        check([seg, seg], case.labels, case.files)
