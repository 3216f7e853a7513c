"""Objects that come as files (PS3.10) instead of over an association, through the same door."""

import logging
from collections.abc import Callable
from typing import BinaryIO, Final

from node.dicom.part10 import read_file_meta
from node.domain.errors import SegnodeError
from node.domain.ids import AETitle
from node.store.admit import Admission, Incoming
from node.telemetry import metrics

Admit = Callable[[Incoming], Admission]

logger: Final = logging.getLogger(__name__)


def read_object(source: BinaryIO, *, calling_ae_title: AETitle) -> Incoming:
    """Read a DICOM file from its beginning; the data set stays as it is, byte for byte.

    calling_ae_title: under which the way in is known, for want of an association. Raises
    NotDicom for other files, OSError where the source does.
    """
    meta = read_file_meta(source)
    source.seek(meta.offset)
    return Incoming(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        data_set=source.read(),
        calling_ae_title=calling_ae_title,
    )


def admit_counted(admit: Admit, incoming: Incoming) -> Admission:
    """Admit an object and count what became of it.

    Raises SegnodeError as `admit` does, and an empty SegnodeError for any other exception,
    which is logged: whoever sent the object must get an answer.
    """
    size = len(incoming.data_set)
    try:
        admission = admit(incoming)
    except SegnodeError as error:
        metrics.instance_received("refused", size)
        count_refusal(error, calling_ae_title=incoming.calling_ae_title, size_bytes=size)
        raise
    except Exception as error:
        metrics.instance_received("refused", size)
        logger.error("admission crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
        crash = SegnodeError("The admission crashed.")
        count_refusal(crash, calling_ae_title=incoming.calling_ae_title, size_bytes=size)
        raise crash from None
    metrics.instance_received(admission.value, size)
    return admission


def count_refusal(error: SegnodeError, *, calling_ae_title: AETitle, size_bytes: int) -> None:
    """Count and log one object that is not taken."""
    metrics.refused(error.code)
    logger.warning(
        "instance refused",
        extra={"code": error.code, "calling": calling_ae_title, "bytes": size_bytes},
    )
