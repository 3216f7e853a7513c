"""A committed entry of a journal, read once: what the ledger is to know of it."""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from node.dicom.elements import Encoded
from node.dicom.headers import read_header
from node.dicom.part10 import MAX_META, FileMeta, file_meta_of, read_file_meta
from node.domain.errors import NotDicom, SpoolDamaged
from node.domain.header import Header
from node.domain.ids import Sha256, SOPInstanceUID
from node.domain.study import StoredInstance
from node.store.admission import Arriving, check
from node.store.intake import Received
from node.store.record import (
    MAPPED_FROM,
    PREAMBLE_SIZE,
    Record,
    encoded,
    opened,
    pieces,
    read_record,
)
from node.store.spool import instance_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An instance in a file with a record.

    relative: the place that is the instance's in the spool. length: of the file, bytes.
    """

    path: Path
    meta: FileMeta
    header: Header
    relative: str
    sha256: Sha256
    length: int

    @property
    def sop_instance_uid(self) -> SOPInstanceUID:
        """Which instance it is."""
        return self.header.sop_instance_uid

    @property
    def span(self) -> tuple[int, int]:
        """Where the data set begins and ends."""
        return self.meta.offset, self.length

    def received(self) -> Received:
        """Return what the ledger is told once the file is at its place."""
        return Received(
            header=self.header,
            instance=StoredInstance(
                sop_instance_uid=self.header.sop_instance_uid,
                series_instance_uid=self.header.series_instance_uid,
                path=self.relative,
                sha256=self.sha256,
                size_bytes=self.length,
                planes=self.header.planes,
            ),
            calling_ae_title=self.meta.source_ae_title,
        )


def read_entry(path: Path) -> Found | None:
    """Read a committed file whole; None when it is not committed.

    Raises OSError; SpoolDamaged when the file is not what its record says; and RefusedInput
    when the object is none that may be stored (it was checked before it was committed).
    """
    with opened(path) as descriptor:
        record = read_record(os.pread(descriptor, PREAMBLE_SIZE, 0))
        if record is None:
            return None
        if record.length != os.fstat(descriptor).st_size:
            raise SpoolDamaged("A received file is not as long as its record says.")
        if record.length < MAPPED_FROM:
            data = os.pread(descriptor, record.length, 0)
            sha256 = _checked_sha256([data], record)
            meta, header = _parsed(data)
        else:
            # It is read before it is mapped: a mapping tells of a failing disk with a signal.
            sha256 = _checked_sha256(pieces(descriptor, 0, record.length), record)
            with encoded(descriptor, record.length) as mapped:
                meta, header = _parsed(mapped)
    check(
        header,
        Arriving(
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            calling_ae_title=meta.source_ae_title,
        ),
    )
    relative = instance_path(
        header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
    )
    return Found(
        path=path,
        meta=meta,
        header=header,
        relative=relative,
        sha256=sha256,
        length=record.length,
    )


def meta_of(path: Path) -> FileMeta | None:
    """Return what the file meta group of a file says, None where it cannot be read."""
    with contextlib.suppress(OSError, NotDicom), path.open("rb") as file:
        return read_file_meta(file)
    return None


def _parsed(data: Encoded) -> tuple[FileMeta, Header]:
    meta = file_meta_of(data[:MAX_META])
    return meta, read_header(data, meta.transfer_syntax_uid, start=meta.offset)


def _checked_sha256(found: Iterable[bytes], record: Record) -> Sha256:
    """Return the SHA-256 of the pieces; raises SpoolDamaged where they are not the record's."""
    digest, crc, length = hashlib.sha256(), 0, 0
    for piece in found:
        digest.update(piece)
        crc = zlib.crc32(memoryview(piece)[0 if length else PREAMBLE_SIZE :], crc)
        length += len(piece)
    if length != record.length or crc != record.crc:
        raise SpoolDamaged("A received file is not what its record says.")
    return Sha256(digest.hexdigest())
