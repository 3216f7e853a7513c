"""read_header: every encoding, bad values, hostile bytes; project agrees with it."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import encapsulate

from node.dicom.elements import MAX_DEPTH
from node.dicom.headers import project, read_header
from node.domain.errors import MissingIdentifier, NotDicom
from node.domain.header import Header
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MARKED_NAME,
    encode,
    enhanced_dataset,
    explicit_element,
    mr_dataset,
)

JPEG_LS = "1.2.840.10008.1.2.4.80"
SYNTAXES = [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN]


def read(made: Dataset, syntax: str = EXPLICIT) -> Header:
    return read_header(encode(made, syntax), syntax)


def outcome_of(data: bytes) -> str:
    """Return the header or the refusal as text; anything else is a crash."""
    try:
        return repr(read_header(data, EXPLICIT))
    except (NotDicom, MissingIdentifier) as error:
        return error.what


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_classic_image_reads_the_same_in_every_native_syntax(syntax: str) -> None:
    header = read(
        mr_dataset(
            7,
            ScanningSequence=["SE", "IR"],
            ImageType=["ORIGINAL", "PRIMARY", "M"],
            RepetitionTime="4000",
            InversionTime="1100",
            MagneticFieldStrength="3",
            ContrastBolusAgent="Gadovist",
            SoftwareVersions=["5.7.1", "5.7.1.3"],
        ),
        syntax,
    )
    assert header.transfer_syntax_uid == syntax
    assert header.series_description == "t2_tse_tra"
    assert header.scanning_sequence == ("SE", "IR")
    assert header.image_type == ("ORIGINAL", "PRIMARY", "M")
    assert (header.repetition_time_ms, header.echo_time_ms) == (4000.0, 91.5)
    assert header.inversion_time_ms == 1100.0
    assert header.contrast_bolus_agent == "Gadovist"
    assert header.software_versions == "5.7.1\\5.7.1.3"
    assert (header.rows, header.columns, header.bits_allocated) == (4, 4, 16)
    assert header.pixel_spacing == (0.5, 0.5)
    assert header.number_of_frames == 1
    assert [plane.position for plane in header.planes] == [(0.0, 0.0, 35.0)]


def test_encapsulated_pixel_data_are_not_looked_into() -> None:
    made = mr_dataset(PixelData=encapsulate([b"not even a codestream"]))
    made["PixelData"].is_undefined_length = True
    assert read(made, JPEG_LS).rows == 4


def test_a_header_never_holds_the_name() -> None:
    header = read(mr_dataset())
    assert MARKED_NAME not in repr(header)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_project_and_read_header_agree(syntax: str) -> None:
    made = enhanced_dataset()
    assert project(made, syntax) == read(made, syntax)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("EchoTime", "1.2.3"),
        ("EchoTime", "a lot"),
        ("EchoTime", "inf"),
        ("EchoTime", ""),
        ("PixelSpacing", "0.5"),
        ("PixelSpacing", "0\\0"),
        ("PixelSpacing", "x\\y"),
        ("ImagePositionPatient", "1\\2"),
        ("ImageOrientationPatient", "1\\0\\0\\0\\nan\\0"),
        ("NumberOfFrames", "-3"),
        ("SeriesNumber", "1.5"),
    ],
)
def test_bad_values_of_optional_attributes_become_absent(keyword: str, value: str) -> None:
    made = mr_dataset()
    if keyword in made:
        del made[keyword]
    parts = encode(made)
    tag = {
        "EchoTime": 0x00180081,
        "PixelSpacing": 0x00280030,
        "ImagePositionPatient": 0x00200032,
        "ImageOrientationPatient": 0x00200037,
        "NumberOfFrames": 0x00280008,
        "SeriesNumber": 0x00200011,
    }[keyword]
    padded = value.encode() + b" " * (len(value) % 2)
    # Put before group 7FE0: the order of elements does not matter to the reader.
    at = parts.index(struct.pack("<HH", 0x7FE0, 0x0010))
    header = read_header(parts[:at] + explicit_element(tag, b"DS", padded) + parts[at:], EXPLICIT)
    assert header.echo_time_ms is None or keyword != "EchoTime"
    assert header.pixel_spacing is None or keyword != "PixelSpacing"
    assert header.planes == () or not keyword.startswith("Image")
    assert header.number_of_frames == 1
    assert header.series_number is None


@pytest.mark.parametrize(
    ("character_set", "encoded", "text"),
    [
        (None, b"Sch\xe4del", "Schädel"),
        ("ISO_IR 100", b"Sch\xe4del ", "Schädel"),
        ("ISO-IR 100", b"Sch\xe4del ", "Schädel"),
        ("ISO_IR 192", "Schädel 脳".encode(), "Schädel 脳"),
        ("ISO_IR 144", "мозг".encode("iso8859_5"), "мозг"),
        ("GB18030", "颅脑".encode("gb18030"), "颅脑"),
        ("\\ISO 2022 IR 87", b"T2 \x1b$BF,It\x1b(B ax", "T2 頭部 ax"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb3\xfa T2", "뇌 T2"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xc4\xb3\xcc\xde \x1b$BF,\x1b(J", "ﾄｳﾌﾞ 頭"),
        ("NO SUCH SET", b"Sch\xe4del", "Schädel"),
        ("ISO_IR 192", b"\xff\xfe", "\ufffd\ufffd"),
        ("\\ISO 2022 IR 87", b"T2 \x1b%Zx", "T2 \x1b%Zx"),
    ],
)
def test_descriptions_are_read_in_their_character_set(
    character_set: str | None, encoded: bytes, text: str
) -> None:
    head = b""
    if character_set is not None:
        value = character_set.encode()
        head = explicit_element(0x00080005, b"CS", value + b" " * (len(value) % 2))
    description = explicit_element(0x0008103E, b"LO", encoded + b" " * (len(encoded) % 2))
    rest = encode(mr_dataset(SeriesDescription=None))
    assert read_header(head + description + rest, EXPLICIT).series_description == text


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
)
def test_a_missing_identifier_is_named(keyword: str) -> None:
    tag = {"SOPClassUID": 0x00080016, "SOPInstanceUID": 0x00080018}.get(keyword, 0)
    made = mr_dataset()
    data = encode(made)
    del made[keyword]
    if tag:  # pydicom refuses to write a file without these two, so cut them out by hand
        start = data.index(struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, b"UI"))
        length = struct.unpack_from("<H", data, start + 6)[0]
        data = data[:start] + data[start + 8 + length :]
    else:
        data = encode(made)
    with pytest.raises(MissingIdentifier, match="has no"):
        read_header(data, EXPLICIT)
    with pytest.raises(MissingIdentifier):
        project(made, EXPLICIT)


@pytest.mark.parametrize("uid", [b"../../etc/passwd", b"1.2/3 ", b"1.2.x3", b"1" * 66, b"1.2\0.3 "])
def test_an_identifier_that_is_no_uid_is_refused_without_being_shown(uid: bytes) -> None:
    data = explicit_element(0x0020000D, b"UI", uid) + encode(mr_dataset(StudyInstanceUID=None))
    with pytest.raises(MissingIdentifier) as caught:
        read_header(data, EXPLICIT)
    assert "is not a valid UID" in caught.value.what
    assert uid.decode().strip() not in caught.value.what


@given(st.binary(max_size=400))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for syntax in (*SYNTAXES, JPEG_LS):
        with pytest.raises((NotDicom, MissingIdentifier)):
            read_header(data, syntax)


@given(st.data())
def test_a_data_set_cut_within_its_pixel_data_is_not_taken(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    whole = encode(mr_dataset(), syntax)
    start = 0 if syntax == DEFLATED else len(whole) - 32
    with pytest.raises(NotDicom, match=r"ends in the middle|cut short|empty"):
        read_header(whole[: data.draw(st.integers(start, len(whole) - 3))], syntax)


@given(st.data())
def test_a_data_set_cut_before_is_refused_or_read_to_the_cut(data: st.DataObject) -> None:
    whole = encode(enhanced_dataset())
    cut = data.draw(st.integers(0, len(whole)))
    assert MARKED_NAME not in outcome_of(whole[:cut])


@given(st.data())
def test_a_flipped_byte_never_crashes(data: st.DataObject) -> None:
    whole = bytearray(encode(enhanced_dataset()))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    assert MARKED_NAME not in outcome_of(bytes(whole))


def test_a_length_that_runs_into_the_name_takes_nothing_of_it() -> None:
    whole = bytearray(encode(mr_dataset()))
    name = whole.index(b"\x10\x00\x10\x00PN")
    swallowing = bytearray(explicit_element(0x0008103E, b"LO", b"t1"))
    swallowing[6] += 8 + whole[name + 6]
    data = bytes(whole[:name] + swallowing + whole[name:])
    assert read_header(data, EXPLICIT).series_description == ""
    assert MARKED_NAME not in outcome_of(data)


def test_a_name_under_the_tag_of_another_attribute_is_not_taken() -> None:
    whole = encode(mr_dataset())
    moved = whole.replace(b"\x10\x00\x10\x00PN", b"\x18\x00\x10\x00PN")
    assert moved != whole
    assert read_header(moved, EXPLICIT).contrast_bolus_agent == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(64),
        b"%PDF-1.7 and more of it, long enough to look like elements",
        b"\xff\xd8\xff\xe0" + bytes(100),
        bytes(128) + b"DICM" + bytes(100),
        b"<html><body>503</body></html>" * 10,
    ],
)
def test_other_files_are_not_dicom(data: bytes) -> None:
    for syntax in SYNTAXES:
        with pytest.raises(NotDicom):
            read_header(data, syntax)


def test_zeros_after_the_last_element_are_padding() -> None:
    made = mr_dataset(PixelData=None)
    assert read_header(encode(made) + bytes(130), EXPLICIT).rows == 4


def test_a_data_set_in_another_vr_than_negotiated_is_read_all_the_same() -> None:
    assert read_header(encode(mr_dataset(), IMPLICIT), EXPLICIT).rows == 4
    assert read_header(encode(mr_dataset(), EXPLICIT), IMPLICIT).rows == 4


def test_a_deflated_bomb_is_not_inflated_beyond_the_limit() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 2**31)
    bomb = deflater.compress(head)
    for _ in range(100):
        bomb += deflater.compress(bytes(2**20))
    bomb += deflater.flush()
    assert len(bomb) < 2**18
    with pytest.raises(NotDicom, match="over 64 MiB"):
        read_header(bomb, DEFLATED)


def test_a_big_deflated_image_is_inflated_only_up_to_its_pixel_data() -> None:
    made = mr_dataset(Rows=2048, Columns=2048, PixelData=bytes(2048 * 2048 * 2))
    assert read(made, DEFLATED).rows == 2048


def test_sequences_nested_without_end_are_refused() -> None:
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(NotDicom, match="nested"):
        read_header(opening * (MAX_DEPTH + 2), EXPLICIT)


def test_private_sequences_of_any_make_are_stepped_over() -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    item_end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    inner = struct.pack("<HHI", 0x0009, 0x1002, 4) + b"abcd"  # implicit, as within UN
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)
    unknown += item + inner + item_end + end
    fragments = struct.pack("<HH2sHI", 0x0009, 0x1003, b"OB", 0, 0xFFFFFFFF)
    fragments += struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\x00\x01\x02\x03" + end
    header = read_header(unknown + fragments + encode(mr_dataset()), EXPLICIT)
    assert header.rows == 4
