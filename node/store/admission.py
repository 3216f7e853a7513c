"""What is taken in, and what became of it (pure)."""

from dataclasses import dataclass
from enum import StrEnum

from node.dicom.classes import is_storage_class
from node.domain.errors import MissingIdentifier, UnsupportedSopClass
from node.domain.header import Header, Identity
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """What the command and the presentation context say of an instance that arrives."""

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    calling_ae_title: AETitle


class Admission(StrEnum):
    """What became of an object that was not refused."""

    STORED = "stored"  # on disk and in the ledger
    DUPLICATE = "duplicate"  # was here already, byte for byte
    KEPT_ASIDE = "kept-aside"  # same SOP Instance UID, other bytes: kept, not used
    OURS = "ours"  # written by Segnode: never an input, so not kept


def check_class(arriving: Arriving) -> None:
    """Raise UnsupportedSopClass where the command names no class that is stored here."""
    if not is_storage_class(arriving.sop_class_uid):
        raise UnsupportedSopClass(
            f"Objects of SOP class {arriving.sop_class_uid} are not stored here."
        )


def check(header: Header | Identity, arriving: Arriving) -> None:
    """Raise where an object is not what its command says, or of no class that is stored here.

    Raises UnsupportedSopClass and MissingIdentifier.
    """
    check_class(arriving)
    if header.sop_instance_uid != arriving.sop_instance_uid:
        raise MissingIdentifier("The SOP Instance UID of the command is not the data set's.")
    if header.sop_class_uid != arriving.sop_class_uid:
        raise MissingIdentifier("The SOP Class UID of the command is not the data set's.")
