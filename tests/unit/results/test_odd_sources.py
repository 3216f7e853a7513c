"""Sources as they come: several Enhanced objects, names in odd bytes, attributes without sense."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import EnhancedMRImageStorage

from node.domain.errors import EncodingRefused
from node.imaging.assemble import assemble
from node.results.context import EncodedObject
from node.results.gate import check
from node.results.overlay import encode_overlay
from node.results.seg import encode_seg
from tests.unit.results.cases import Case, a_case


def objects_of(case: Case) -> tuple[EncodedObject, ...]:
    seg = encode_seg(case.labels, case.files, (), case.context)
    return (seg, *encode_overlay(case.labels, case.reference, case.files, case.context))


def enhanced(files: Sequence[Path], frames: int) -> tuple[Path, ...]:
    """Pack a classic series into Enhanced MR objects of so many frames each."""
    slices = sorted((dcmread(path) for path in files), key=lambda d: d.InstanceNumber)
    made = []
    for first in range(0, len(slices), frames):
        part = slices[first : first + frames]
        path = files[0].parent / f"enhanced{first:03d}.dcm"
        _pack(part).save_as(path, enforce_file_format=True)
        made.append(path)
    for classic in files:
        classic.unlink()
    return tuple(made)


def _pack(part: Sequence[Dataset]) -> Dataset:
    packed = Dataset()
    packed.update(part[0])
    packed.file_meta = part[0].file_meta
    packed.SOPClassUID = packed.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    packed.NumberOfFrames = len(part)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = part[0].ImageOrientationPatient
    measures.PixelSpacing = part[0].PixelSpacing
    measures.SliceThickness = part[0].SliceThickness
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    packed.SharedFunctionalGroupsSequence = [shared]
    packed.PerFrameFunctionalGroupsSequence = [_frame(dataset) for dataset in part]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(packed, keyword)
    packed.PixelData = b"".join(dataset.PixelData for dataset in part)
    return packed


def _frame(dataset: Dataset) -> Dataset:
    position, frame = Dataset(), Dataset()
    position.ImagePositionPatient = dataset.ImagePositionPatient
    frame.PlanePositionSequence = [position]
    return frame


@pytest.mark.parametrize("frames", [1, 7, 14])
def test_a_series_of_several_enhanced_objects_gets_a_result(tmp_path: Path, frames: int) -> None:
    case = a_case(tmp_path)
    files = enhanced(case.files, frames)
    assert assemble(files).grid.shape == case.reference.grid.shape
    case = replace(case, files=files)
    objects = objects_of(case)
    check(objects, case.labels, files)
    seg = dcmread(BytesIO(objects[0].data))
    known = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files}
    referred = {
        str(image.ReferencedSOPInstanceUID)
        for series in seg.ReferencedSeriesSequence
        for image in series.ReferencedInstanceSequence
    }
    assert referred <= known
    for group in seg.PerFrameFunctionalGroupsSequence:
        for image in group.DerivationImageSequence[0].SourceImageSequence:
            assert str(image.ReferencedSOPInstanceUID) in known


NAMES = {
    "latin-1 bytes called UTF-8": ("ISO_IR 192", b"M\xfcller^Eva "),
    "kanji called half-width": ("ISO_IR 13", b"\x8eR\x93c^\x91\xbe\x98Y"),
    "japanese as it should be": (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    ),
    "greek": ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2 "),
    "an unknown set": ("ISO_IR 999", b"M\xfcller^Eva "),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_patient_name_is_passed_on_byte_for_byte(tmp_path: Path, name: str) -> None:
    character_set, content = NAMES[name]
    case = a_case(tmp_path)
    for path in case.files:
        with_name(path, character_set.encode(), content)
    objects = objects_of(case)
    check(objects, case.labels, case.files)
    for made in objects[:2]:
        assert content.strip() in made.data


def with_name(path: Path, character_set: bytes, content: bytes) -> None:
    """Write a name as bytes, whatever they mean."""
    with disable_value_validation():
        dataset = dcmread(path)
        mark = "N" * (len(content) + len(content) % 2)
        sets = "S" * (len(character_set) + len(character_set) % 2)
        dataset.PatientName = mark
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.StudyDescription = "MR head"
        dataset.save_as(path)
    whole = path.read_bytes().replace(mark.encode(), content.ljust(len(mark)))
    old = b"\x08\x00\x05\x00CS" + len("ISO_IR 100").to_bytes(2, "little") + b"ISO_IR 100"
    new = b"\x08\x00\x05\x00CS" + len(sets).to_bytes(2, "little") + character_set.ljust(len(sets))
    assert whole.count(old) == 1
    path.write_bytes(whole.replace(old, new))


@pytest.mark.parametrize("offset", ["+2400", "-9999", "+1460", "nonsense", "+0930"])
def test_a_timezone_that_there_is_not_hinders_nothing(tmp_path: Path, offset: str) -> None:
    with disable_value_validation():
        case = a_case(tmp_path, TimezoneOffsetFromUTC=offset)
        check(objects_of(case), case.labels, case.files)


def test_a_compression_ratio_without_sense_hinders_nothing(tmp_path: Path) -> None:
    with disable_value_validation():
        case = a_case(tmp_path, LossyImageCompression="01")
        for path in case.files:
            raw = path.read_bytes()
            assert b"\x28\x00\x10\x21" in raw
        check(objects_of(case), case.labels, case.files)


def altered(made: EncodedObject, **values: object) -> EncodedObject:
    dataset = dcmread(BytesIO(made.data))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return replace(made, data=buffer.getvalue())


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientName", "Other^Patient"), ("PatientBirthDate", "19000101"), ("PatientSex", "O")],
)
def test_an_object_of_another_person_is_refused(tmp_path: Path, keyword: str, value: str) -> None:
    case = a_case(tmp_path)
    seg = altered(objects_of(case)[0], **{keyword: value})
    with pytest.raises(EncodingRefused, match=keyword):
        check([seg], case.labels, case.files)


def test_segments_with_each_other_s_names_are_refused(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    seg = objects_of(case)[0]
    segments = dcmread(BytesIO(seg.data)).SegmentSequence
    segments[0].SegmentLabel, segments[2].SegmentLabel = (
        segments[2].SegmentLabel,
        segments[0].SegmentLabel,
    )
    with pytest.raises(EncodingRefused, match="named"):
        check([altered(seg, SegmentSequence=segments)], case.labels, case.files)
