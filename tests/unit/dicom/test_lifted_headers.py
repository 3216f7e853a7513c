"""Enhanced multi-frame objects and private attributes, seen through the classic vocabulary."""

import struct
from dataclasses import fields

import pytest
from pydicom import Dataset

from node.dicom.headers import read_header
from node.domain.header import Header
from tests.support.dicom_objects import (
    EXPLICIT,
    encode,
    enhanced_dataset,
    explicit_element,
    mr_dataset,
    sequence,
)


def read(made: Dataset) -> Header:
    return read_header(encode(made), EXPLICIT)


def test_functional_groups_are_lifted_to_the_classic_attributes() -> None:
    header = read(enhanced_dataset())
    assert header.number_of_frames == 3
    assert [plane.position[0] for plane in header.planes] == [0.0, 2.0, 4.0]
    assert {plane.orientation for plane in header.planes} == {(0, 1, 0, 0, 0, -1)}
    assert (header.repetition_time_ms, header.echo_time_ms) == (1800.0, 2.41)
    assert (header.inversion_time_ms, header.flip_angle_deg) == (900.0, 9.0)
    assert header.scanning_sequence == ("GR", "IR")
    assert header.scan_options == ("FS",)
    assert header.pixel_spacing == (2.0, 2.0)
    assert header.slice_thickness == 2.0
    assert header.image_type == ("ORIGINAL", "PRIMARY", "M", "NONE")
    assert header.acquisition_contrast == "T1"
    assert header.body_part_examined == "Brain"
    assert header.diffusion_b_value == 1000.0
    assert header.temporal_position_identifier == 1
    assert (header.acquisition_date, header.acquisition_time) == ("20220711", "120517.0425")
    assert header.contrast_bolus_agent == "Gadoterate"
    assert header.contrast_bolus_route == "Intravenous route"
    assert header.contrast_bolus_volume_ml == 12.0


def test_top_level_values_win_where_both_say_what_an_image_is() -> None:
    header = read(enhanced_dataset(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]))
    assert header.image_type[-1] == "ADC"


def test_frames_without_a_position_have_no_plane() -> None:
    header = read(enhanced_dataset(PerFrameFunctionalGroupsSequence=sequence(Dataset())))
    assert header.planes == ()


@pytest.mark.parametrize(
    ("creator", "tag", "vr", "value", "b_value"),
    [
        ("SIEMENS MR HEADER", 0x0019100C, b"IS", b"1000", 1000.0),
        ("GEMS_PARM_01", 0x00431039, b"IS", b"1000000800\\8\\0\\0", 800.0),
        ("Philips Imaging DD 001", 0x20011003, b"FL", struct.pack("<f", 700), 700.0),
        ("Image Private Header", 0x00651009, b"FD", struct.pack("<d", 900), 900.0),
        ("SOMEBODY ELSE", 0x0019100C, b"IS", b"1000", None),
        ("SIEMENS MR HEADER", 0x0019100C, b"IS", b"-1", None),
    ],
)
def test_vendors_private_b_values_are_taken_when_the_creator_is_right(
    creator: str, tag: int, vr: bytes, value: bytes, b_value: float | None
) -> None:
    name = creator.encode() + b" " * (len(creator) % 2)
    private = explicit_element(tag & 0xFFFF0000 | 0x10, b"LO", name)
    private += explicit_element(tag, vr, value + b" " * (len(value) % 2))
    parts = encode(mr_dataset())
    at = parts.index(struct.pack("<HH", 0x7FE0, 0x0010))
    header = read_header(parts[:at] + private + parts[at:], EXPLICIT)
    assert header.diffusion_b_value == b_value


def test_the_private_sequence_name_of_ge_is_taken() -> None:
    private = explicit_element(0x00190010, b"LO", b"GEMS_ACQU_01")
    private += explicit_element(0x0019109C, b"LO", b"BRAVO ")
    data = private + encode(mr_dataset())
    assert read_header(data, EXPLICIT).pulse_sequence_name == "BRAVO"


def test_every_attribute_of_the_header_can_be_filled() -> None:
    made = enhanced_dataset(
        FrameOfReferenceUID="1.2.3", AccessionNumber="A", StudyID="S", StudyDate="20260102",
        StudyTime="10", StudyDescription="D", Manufacturer="M", ManufacturerModelName="MM",
        SoftwareVersions="1", StationName="ST", MagneticFieldStrength="3", SeriesNumber="4",
        ProtocolName="P", SeriesDate="20260102", SeriesTime="11", AcquisitionNumber="1",
        DerivationDescription="DD", BurnedInAnnotation="NO", ImagesInAcquisition="3",
        SequenceVariant="SK", MRAcquisitionType="3D", SequenceName="tfl", EchoNumbers="1",
        PulseSequenceName="PS", NumberOfTemporalPositions="1", SpacingBetweenSlices="2",
    )  # fmt: skip
    header = read(made)
    empty = {f.name for f in fields(Header) if getattr(header, f.name) in (None, "", ())}
    assert empty == set()
