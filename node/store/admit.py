"""The one way in: bytes on disk, then the row in the ledger, then the acknowledgement.

A crash between the two leaves a file that no row names; the sender was told nothing, sends
again, and the same bytes go to the same place.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final

from node.dicom.classes import is_storage_class
from node.dicom.headers import read_header
from node.dicom.ours import is_ours
from node.dicom.part10 import write_part10
from node.domain.clock import Clock
from node.domain.errors import (
    DuplicateDiffers,
    MissingIdentifier,
    RefusedInput,
    SegnodeError,
    SpoolUnwritable,
    UnsupportedSopClass,
)
from node.domain.header import Header
from node.domain.ids import (
    AETitle,
    Sha256,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.domain.study import Reason, Refusal, StoredInstance
from node.store.intake import KnownInstance
from node.store.ledger import Ledger
from node.store.spool import Spool, aside_path, instance_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One object as it arrived: the identifiers of the C-STORE command and the bytes.

    data_set: encoded in the transfer syntax, without preamble and file meta information.
    """

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    data_set: bytes
    calling_ae_title: AETitle


class Admission(StrEnum):
    """What became of an object that was not refused."""

    STORED = "stored"  # on disk and in the ledger
    DUPLICATE = "duplicate"  # was here already, byte for byte
    KEPT_ASIDE = "kept-aside"  # same SOP Instance UID, other bytes: kept, not used
    OURS = "ours"  # written by Segnode: never an input, so not kept


class Admitter:
    """Takes objects in; safe to call from many threads and processes at once."""

    def __init__(self, spool: Spool, ledger: Ledger, clock: Clock) -> None:
        self._spool: Final = spool
        self._ledger: Final = ledger
        self._clock: Final = clock

    def admit(self, incoming: Incoming) -> Admission:
        """Take one object in; when this returns, it may be acknowledged.

        Raises NotDicom, MissingIdentifier (also where the data set contradicts the command),
        UnsupportedSopClass and SpoolUnwritable, each written down as a refusal first, with its
        study where that is known; LedgerUnavailable when nothing can be written down at all.
        """
        try:
            header = _checked_header(incoming)
        except RefusedInput as error:
            self._refuse(incoming, _study_of(incoming), error)
            raise
        if is_ours(header):
            return Admission.OURS
        try:
            return self._take(incoming, header)
        except SpoolUnwritable as error:
            self._refuse(incoming, header.study_instance_uid, error)
            raise

    def _take(self, incoming: Incoming, header: Header) -> Admission:
        """Store an object that may be an input."""
        content = content_sha256(incoming)
        known = self._ledger.intake.find(header.sop_instance_uid)
        if known is None:
            stored = self._write(incoming, header, content)
            if self._ledger.intake.record_instance(
                header,
                stored,
                calling_ae_title=incoming.calling_ae_title,
                data_set_sha256=content,
                now=self._clock.now(),
            ):
                return Admission.STORED
            # Another thread or process was first with this SOP Instance UID.
            known = self._ledger.intake.get(header.sop_instance_uid)
        if known.data_set_sha256 == content:
            return self._again(incoming, header, known)
        return self._keep_aside(incoming, header, content)

    def _again(self, incoming: Incoming, header: Header, known: KnownInstance) -> Admission:
        """Answer a repeat; where the disk has lost or altered the file, it is written anew."""
        if not self._spool.holds(known.instance.path, known.instance.sha256):
            stored = self._write(incoming, header, known.data_set_sha256)
            self._ledger.intake.record_rewritten(stored)
        return Admission.DUPLICATE

    def _keep_aside(self, incoming: Incoming, header: Header, content: Sha256) -> Admission:
        relative = aside_path(header.sop_instance_uid, content)
        self._spool.write_new(relative, lambda target: _write_file(target, incoming))
        self._refuse(
            incoming,
            header.study_instance_uid,
            DuplicateDiffers(f"The same SOP Instance UID came with other content: {relative}."),
        )
        return Admission.KEPT_ASIDE

    def _write(self, incoming: Incoming, header: Header, content: Sha256) -> StoredInstance:
        relative = instance_path(
            header.study_instance_uid,
            header.series_instance_uid,
            header.sop_instance_uid,
            content,
        )
        sha256, size = self._spool.write_new(relative, lambda target: _write_file(target, incoming))
        return StoredInstance(
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            path=relative,
            sha256=sha256,
            size_bytes=size,
            planes=header.planes,
        )

    def _refuse(
        self, incoming: Incoming, study: StudyInstanceUID | None, error: SegnodeError
    ) -> None:
        self._ledger.intake.record_refusal(
            Refusal(
                study_instance_uid=study,
                sop_instance_uid=incoming.sop_instance_uid,
                calling_ae_title=incoming.calling_ae_title,
                reason=Reason(code=error.code, text=error.what),
                at=self._clock.now(),
            )
        )


def content_sha256(incoming: Incoming) -> Sha256:
    """Return what makes two objects the same: transfer syntax and bytes as received.

    The file's own hash is not it, because its meta information names the sender.
    """
    digest = hashlib.sha256(incoming.transfer_syntax_uid.encode() + b"\0")
    digest.update(incoming.data_set)
    return Sha256(digest.hexdigest())


def _study_of(incoming: Incoming) -> StudyInstanceUID | None:
    """Return the study of an object that is refused, so that its story can say so."""
    try:
        return read_header(incoming.data_set, incoming.transfer_syntax_uid).study_instance_uid
    except RefusedInput:
        return None


def _checked_header(incoming: Incoming) -> Header:
    if not is_storage_class(incoming.sop_class_uid):
        raise UnsupportedSopClass(
            f"Objects of SOP class {incoming.sop_class_uid} are not stored here."
        )
    header = read_header(incoming.data_set, incoming.transfer_syntax_uid)
    if header.sop_instance_uid != incoming.sop_instance_uid:
        raise MissingIdentifier("The SOP Instance UID of the command is not the data set's.")
    if header.sop_class_uid != incoming.sop_class_uid:
        raise MissingIdentifier("The SOP Class UID of the command is not the data set's.")
    return header


def _write_file(target: BinaryIO, incoming: Incoming) -> None:
    write_part10(
        target,
        data_set=incoming.data_set,
        sop_class_uid=incoming.sop_class_uid,
        sop_instance_uid=incoming.sop_instance_uid,
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        source_ae_title=incoming.calling_ae_title,
    )
