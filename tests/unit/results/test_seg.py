"""The segmentation says what was found, where, by what, and on which images."""

import random
import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian

from node.domain.errors import EncodingRefused, NoGeometry, SpoolDamaged
from node.domain.regions import Region, RegionVolume
from node.imaging.volume import Grid, Volume
from node.results.codes import STYLES
from node.results.seg import encode_seg
from tests.support.mr_series import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    SERIES_UID,
    a_grid,
    tilted,
    write_mr_series,
)
from tests.unit.results.cases import SMALL, a_case, a_context, nested_labels, parsed

REGIONS = {1: (1, 2, 3), 2: (1, 3), 3: (3,)}


def marked_positions(data: bytes, segment: int) -> np.ndarray:
    """Return sorted LPS positions of a segment's voxels, as highdicom's reader places them."""
    volume = hd.seg.segread(BytesIO(data)).get_volume(
        segment_numbers=[segment], combine_segments=False
    )
    indices = np.argwhere(volume.array[..., 0])
    return rounded(volume.map_indices_to_reference(indices))


def rounded(positions: np.ndarray) -> np.ndarray:
    kept = np.round(positions, 3) + 0.0
    return kept[np.lexsort(kept.T)]


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    axes=st.sampled_from([AXIAL, SAGITTAL, CORONAL]),
    degrees=st.floats(0, 30),
    place=st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 7)),
    seed=st.integers(0, 99),
)
def test_a_marker_voxel_keeps_its_place_in_the_patient_in_any_geometry(
    axes: tuple[tuple[float, float, float], ...],
    degrees: float,
    place: tuple[int, int, int],
    seed: int,
) -> None:
    grid = a_grid((6, 9, 8), axes=tilted(axes, degrees), spacing_mm=(3.1, 0.9, 1.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[place] = 3
    labels = Volume(array=array, grid=grid)
    with tempfile.TemporaryDirectory() as folder:
        files = write_mr_series(Path(folder), labels, seed=seed)
        made = encode_seg(labels, files, (), a_context(labels))
    wanted = rounded(grid.positions_mm(np.array([place])))
    for style in STYLES:
        np.testing.assert_allclose(marked_positions(made.data, style.number), wanted, atol=2e-3)


def test_regions_are_three_overlapping_segments(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    made = encode_seg(case.labels, case.files, (), case.context)
    for segment, values in REGIONS.items():
        wanted = SMALL.positions_mm(np.argwhere(np.isin(case.labels.array, values)))
        np.testing.assert_allclose(marked_positions(made.data, segment), rounded(wanted), atol=2e-3)
    dataset = parsed(made)
    assert dataset.SegmentationType == "BINARY"
    assert dataset.SegmentsOverlap == "YES"


def test_the_order_of_the_files_changes_no_byte(tmp_path: Path) -> None:
    case = a_case(tmp_path / "a")
    others = write_mr_series(tmp_path / "b", case.reference, SeriesInstanceUID=SERIES_UID + "1")
    shuffled = random.Random(1).sample(case.files, len(case.files))
    first = encode_seg(case.labels, case.files, others, case.context)
    second = encode_seg(case.labels, shuffled, others[::-1], case.context)
    assert first == second


def test_labels_stored_from_the_other_end_give_the_same_frames(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    affine = SMALL.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (SMALL.shape[0] - 1)
    affine[:3, 0] *= -1
    grid = Grid(
        shape=SMALL.shape, affine=affine, frame_of_reference_uid=SMALL.frame_of_reference_uid
    )
    turned = Volume(array=case.labels.array[::-1], grid=grid)
    here = encode_seg(case.labels, case.files, (), case.context)
    there = encode_seg(turned, case.files, (), case.context)
    for segment in REGIONS:
        np.testing.assert_allclose(
            marked_positions(here.data, segment), marked_positions(there.data, segment), atol=2e-3
        )


def test_every_frame_refers_to_the_source_image_on_its_slice(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        number = int(str(image.ReferencedSOPInstanceUID).rsplit(".", 1)[1]) - 1
        wanted = SMALL.positions_mm(np.array([[number, 0, 0]]))[0]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        np.testing.assert_allclose(position, wanted, atol=1e-6)
        assert image.SpatialLocationsPreserved == "YES"


def test_patient_and_study_are_those_of_the_source_unchanged(tmp_path: Path) -> None:
    case = a_case(tmp_path, PatientSex="X", PatientBirthDate="1961", PatientWeight="70.5")
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    with_odd_values = {
        "PatientName": "Müller^Test",
        "PatientSex": "X",
        "PatientBirthDate": "1961",
        "PatientWeight": 70.5,
        "StudyID": "S1",
        "AccessionNumber": "A4711",
        "StudyDescription": "MR head",
        "ReferringPhysicianName": "Any^Doctor",
        "SpecificCharacterSet": "ISO_IR 100",
    }
    assert {keyword: dataset[keyword].value for keyword in with_odd_values} == with_odd_values


def test_a_big_endian_source_with_another_alphabet_is_copied_as_it_reads(tmp_path: Path) -> None:
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    alphabets = ["", "ISO 2022 IR 87"]
    case = a_case(
        tmp_path,
        SpecificCharacterSet=alphabets,
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        PregnancyStatus=4,
        IssuerOfAccessionNumberSequence=[issuer],
    )
    for path in case.files:
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = bytes(len(dataset.PixelData))
        dcmwrite(path, dataset, little_endian=False, implicit_vr=False)
    read = parsed(encode_seg(case.labels, case.files, (), case.context))
    assert read.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert read.PregnancyStatus == 4
    assert read.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.3"


def test_our_own_text_is_plain_whatever_the_alphabet_of_the_source(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    context = replace(case.context, research_text="Nur für Forschung")
    dataset = parsed(encode_seg(case.labels, case.files, (), context))
    assert dataset.ContentDescription == "Nur f?r Forschung"


def test_loss_by_compression_of_the_source_is_passed_on(tmp_path: Path) -> None:
    case = a_case(tmp_path, LossyImageCompression="01", LossyImageCompressionRatio="12.5")
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 12.5)


def test_attributes_that_the_source_lacks_are_empty_not_invented(tmp_path: Path) -> None:
    case = a_case(tmp_path, PatientSex=None, AccessionNumber=None, StudyDescription=None)
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    assert dataset.PatientSex == ""
    assert dataset.AccessionNumber == ""
    assert "StudyDescription" not in dataset


def test_segments_say_what_they_are_and_what_made_them(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    types = [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in dataset.SegmentSequence]
    assert types == ["301766008", "108369006", "C113842"]
    for segment in dataset.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "intensity-glioma"
        assert algorithm.AlgorithmVersion == "1.0.0"
        assert "ab" * 32 in algorithm.AlgorithmParameters
        assert len(segment.RecommendedDisplayCIELabValue) == 3
    assert dataset.Manufacturer == "Segnode"
    assert dataset.SoftwareVersions == "segnode 0.1.0"
    assert (dataset.SeriesNumber, dataset.Modality) == (9001, "SEG")


def test_all_source_series_are_referenced(tmp_path: Path) -> None:
    case = a_case(tmp_path / "a")
    other = SERIES_UID + "1"
    others = write_mr_series(tmp_path / "b", case.reference, SeriesInstanceUID=other)
    dataset = parsed(encode_seg(case.labels, case.files, others, case.context))
    counts = {
        str(series.SeriesInstanceUID): len(series.ReferencedInstanceSequence)
        for series in dataset.ReferencedSeriesSequence
    }
    assert counts == {SERIES_UID: SMALL.shape[0], other: SMALL.shape[0]}


def test_times_are_those_of_the_context_in_the_offset_of_the_source(tmp_path: Path) -> None:
    case = a_case(tmp_path, TimezoneOffsetFromUTC="-0330")
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    for of in ("Content", "Series", "InstanceCreation"):
        assert (dataset[f"{of}Date"].value, dataset[f"{of}Time"].value) == ("20260102", "090015")


def test_when_nothing_was_found_the_object_is_valid_and_empty(tmp_path: Path) -> None:
    nothing = Volume(array=np.zeros(SMALL.shape, dtype=np.uint8), grid=SMALL)
    case = a_case(tmp_path, labels=nothing)
    dataset = parsed(encode_seg(case.labels, case.files, (), case.context))
    assert dataset.NumberOfFrames == 3
    assert not dataset.pixel_array.any()


def test_a_region_that_was_not_found_is_still_described(tmp_path: Path) -> None:
    array = nested_labels(SMALL).array.copy()
    array[array == 3] = 1
    case = a_case(tmp_path, labels=Volume(array=array, grid=SMALL))
    made = encode_seg(case.labels, case.files, (), case.context)
    assert len(parsed(made).SegmentSequence) == 3
    assert not len(marked_positions(made.data, 3))


def test_a_series_without_frame_of_reference_is_refused_with_its_reason(tmp_path: Path) -> None:
    case = a_case(tmp_path, FrameOfReferenceUID=None)
    with pytest.raises(NoGeometry, match="Frame of Reference"):
        encode_seg(case.labels, case.files, (), case.context)


def test_labels_beside_the_source_images_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    affine = SMALL.affine.copy()
    affine[:3, 3] += (0.0, 0.0, 2.0)
    beside = Volume(array=case.labels.array, grid=Grid(shape=SMALL.shape, affine=affine))
    with pytest.raises(EncodingRefused, match="off the grid"):
        encode_seg(beside, case.files, (), case.context)


def test_a_missing_source_image_is_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    with pytest.raises(EncodingRefused, match="no source image lies on slice"):
        encode_seg(case.labels, case.files[1:], (), case.context)


def test_files_of_two_series_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path / "a")
    others = write_mr_series(tmp_path / "b", case.reference, SeriesInstanceUID=SERIES_UID + "1")
    with pytest.raises(EncodingRefused, match="one series"):
        encode_seg(case.labels, [*case.files, *others], (), case.context)


def test_a_file_that_is_gone_is_a_fault_of_the_spool(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    with pytest.raises(SpoolDamaged):
        encode_seg(case.labels, [*case.files, tmp_path / "gone.dcm"], (), case.context)


def test_volumes_other_than_those_of_the_labels_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    wrong = RegionVolume(region=Region.ET, voxels=1, voxel_mm3=1.0)
    with pytest.raises(EncodingRefused, match="ET is stated"):
        encode_seg(case.labels, case.files, (), replace(case.context, volumes=(wrong,)))
