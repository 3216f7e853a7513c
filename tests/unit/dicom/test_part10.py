"""Files around bytes: pydicom reads them, the bytes are untouched, odd heads are refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from node.dicom.part10 import file_meta_of, read_file_meta, write_part10
from node.dicom.uids import IMPLEMENTATION_CLASS_UID
from node.domain.errors import NotDicom
from tests.support.dicom_objects import DEFLATED, EXPLICIT, IMPLICIT, MR, encode, mr_dataset


def written(data_set: bytes, syntax: str = EXPLICIT, ae_title: str = "SCANNER") -> io.BytesIO:
    target = io.BytesIO()
    write_part10(
        target,
        data_set=data_set,
        sop_class_uid=MR,
        sop_instance_uid="1.2.3.45",
        transfer_syntax_uid=syntax,
        source_ae_title=ae_title,
    )
    target.seek(0)
    return target


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED])
@pytest.mark.parametrize("ae_title", ["SCANNER", "ODD", ""])
def test_pydicom_reads_what_was_written(syntax: str, ae_title: str) -> None:
    made = dcmread(written(encode(mr_dataset(5), syntax), syntax, ae_title))
    assert made.InstanceNumber == 5
    assert made.file_meta.TransferSyntaxUID == syntax
    assert made.file_meta.MediaStorageSOPInstanceUID == "1.2.3.45"
    assert made.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert made.file_meta.SourceApplicationEntityTitle == ae_title
    assert made.preamble == bytes(128)


@given(st.binary(max_size=200))
def test_the_bytes_behind_the_head_are_those_that_came(data_set: bytes) -> None:
    data_set = b"\x08\x00" + data_set  # the group that every data set begins with
    file = written(data_set)
    meta = read_file_meta(file)
    assert file.getvalue()[meta.offset :] == data_set
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (MR, "1.2.3.45")
    assert meta.transfer_syntax_uid == EXPLICIT
    assert meta == file_meta_of(file.getvalue()[:65536])


@pytest.mark.parametrize("ae_title", ["SCANNER", "ODD", ""])
def test_who_sent_it_is_read_as_it_was_written(ae_title: str) -> None:
    meta = read_file_meta(written(b"\x08\x00rest", EXPLICIT, ae_title))
    assert meta.source_ae_title == ae_title


def test_a_wrong_group_length_does_not_mislead() -> None:
    content = bytearray(written(b"\x08\x00rest of it all").getvalue())
    content[140:144] = (9999).to_bytes(4, "little")
    meta = read_file_meta(io.BytesIO(bytes(content)))
    assert content[meta.offset :] == b"\x08\x00rest of it all"


@given(st.binary(max_size=300))
def test_other_files_are_not_dicom(content: bytes) -> None:
    for file in (content, bytes(128) + b"DICM" + content):
        with pytest.raises(NotDicom):
            read_file_meta(io.BytesIO(file))


@given(st.data())
def test_a_file_cut_in_its_head_is_not_dicom(data: st.DataObject) -> None:
    whole = written(b"").getvalue()
    length = data.draw(st.integers(0, whole.rindex(EXPLICIT.encode()) + 10))
    with pytest.raises(NotDicom):
        read_file_meta(io.BytesIO(whole[:length]))
