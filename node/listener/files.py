"""Objects that come as files (PS3.10) instead of over an association, through the same door."""

import io
import logging
import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from node.dicom.elements import Encoded
from node.dicom.part10 import read_file_meta
from node.domain.errors import SegnodeError, SiteFault
from node.domain.ids import AETitle
from node.store.admit import Admission, Incoming
from node.store.spool import writable
from node.telemetry import metrics

Admit = Callable[[Incoming], Admission]

logger: Final = logging.getLogger(__name__)

MAPPED_FROM: Final = 16 * 2**20
"""A shorter data set is held in memory."""

PIECE: Final = 2**20


@contextmanager
def read_object(
    source: BinaryIO, *, calling_ae_title: AETitle, temporary: Path
) -> Iterator[Incoming]:
    """Read a DICOM file from its beginning; the data set stays as it is, byte for byte.

    calling_ae_title: under which the way in is known, for want of an association. temporary:
    a folder in which a long data set lies, in a file without a name, for as long as it is
    needed, so that memory stays flat; a file of the sender's could change meanwhile. Raises
    NotDicom for other files, OSError where the source does, SpoolUnwritable for the folder.
    """
    meta = read_file_meta(source)
    size = source.seek(0, io.SEEK_END) - meta.offset
    source.seek(meta.offset)
    with ExitStack() as held:
        data_set: Encoded
        if size < MAPPED_FROM:
            data_set = source.read()
        else:
            data_set = held.enter_context(_mapped(source, temporary))
        yield Incoming(
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            data_set=data_set,
            calling_ae_title=calling_ae_title,
        )


@contextmanager
def _mapped(source: BinaryIO, temporary: Path) -> Iterator[mmap.mmap]:
    """Map a copy of what is left of a source."""
    with ExitStack() as held:
        with writable("written"):
            copy = held.enter_context(TemporaryFile(dir=temporary))
        while piece := source.read(PIECE):
            with writable("written"):
                copy.write(piece)
        with writable("written"):
            copy.flush()
        yield held.enter_context(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))


def admit_counted(admit: Admit, incoming: Incoming, *, comes_again: bool = False) -> Admission:
    """Admit an object and count what became of it.

    comes_again: where the site cannot take it, it waits to be offered again by ourselves, so
    that nothing was refused yet.
    Raises SegnodeError as `admit` does, and an empty SegnodeError for any other exception,
    which is logged: whoever sent the object must get an answer.
    """
    size = len(incoming.data_set)
    try:
        admission = admit(incoming)
    except SegnodeError as error:
        if comes_again and isinstance(error, SiteFault):
            raise
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
