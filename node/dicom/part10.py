"""Files around data sets as they came: preamble, prefix and file meta group (PS3.10 section 7)."""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from node.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_uid
from node.domain.errors import NotDicom
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID

MAX_META: Final = 64 * 1024
"""No file meta group is longer, private information of odd writers included."""

_NOT_PLAIN: Final = re.compile(r"[^ -~]")
_LONG_VR: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the file meta group says.

    source_ae_title: who sent it, "" where the file does not say. offset: where the data set
    begins in the file, bytes.
    """

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    source_ae_title: AETitle
    offset: int


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if vr in _LONG_VR:
        return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def _uid(text: str) -> bytes:
    value = text.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)


def _text(text: str) -> bytes:
    value = _NOT_PLAIN.sub("?", text).encode("ascii", "replace")
    return value + b" " * (len(value) % 2)


def part10_head(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str
) -> bytes:
    """Return what stands before the data set in a file: zeroed preamble, DICM, file meta."""
    group = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", _uid(sop_class_uid)),
            _element(0x0003, b"UI", _uid(sop_instance_uid)),
            _element(0x0010, b"UI", _uid(transfer_syntax_uid)),
            _element(0x0012, b"UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element(0x0016, b"AE", _text(source_ae_title)),
        )
    )
    return bytes(128) + b"DICM" + _element(0, b"UL", struct.pack("<I", len(group))) + group


def write_part10(
    target: BinaryIO,
    *,
    data_set: bytes,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str,
) -> None:
    """Write a DICOM file: the data set's bytes untouched behind a file meta group.

    The preamble is zeroed, so that no file can be two things at once.
    """
    target.write(
        part10_head(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            source_ae_title=source_ae_title,
        )
    )
    target.write(data_set)


def read_file_meta(source: BinaryIO) -> FileMeta:
    """Read the head of a DICOM file. Raises NotDicom, showing no value."""
    return file_meta_of(source.read(MAX_META))


def file_meta_of(head: bytes) -> FileMeta:
    """Read the first MAX_META bytes of a DICOM file, or all. Raises NotDicom."""
    if head[128:132] != b"DICM":
        raise NotDicom("the file is not in the DICOM file format")
    found, offset = _meta_elements(head)
    uids = [
        found.get(number, b"").rstrip(b" \0").decode("ascii", "replace")
        for number in (0x0002, 0x0003, 0x0010)
    ]
    if not all(map(is_uid, uids)):
        raise NotDicom("the file meta information lacks SOP class, instance or transfer syntax")
    return FileMeta(
        sop_class_uid=SOPClassUID(uids[0]),
        sop_instance_uid=SOPInstanceUID(uids[1]),
        transfer_syntax_uid=TransferSyntaxUID(uids[2]),
        source_ae_title=_ae_title(found.get(0x0016, b"")),
        offset=offset,
    )


def _ae_title(value: bytes) -> AETitle:
    text = value.strip(b" \0").decode("ascii", "replace")
    return AETitle(_NOT_PLAIN.sub("?", text)[:16])


def _meta_elements(head: bytes) -> tuple[dict[int, bytes], int]:
    """Return the elements of group 2 by number, and where the next group begins.

    The group length is not trusted, because some writers leave it wrong.
    """
    found: dict[int, bytes] = {}
    position = 132
    while position + 12 <= len(head):
        group, number, vr, length = struct.unpack_from("<HH2sH", head, position)
        if group != 2:
            break
        start = position + 8
        if vr in _LONG_VR:
            (length,) = struct.unpack_from("<I", head, position + 8)
            start = position + 12
        position = start + length
        found[number] = head[start:position]
    if position > len(head) or head[position : position + 2] == b"\x02\x00":
        raise NotDicom("the file ends in the middle of its file meta information")
    return found, position
