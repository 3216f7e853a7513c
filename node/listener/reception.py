"""What is answered to each request: the handlers that pynetdicom calls.

Data sets are taken as the bytes that came; nothing is decoded here.
"""

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt

from node.domain.errors import SegnodeError
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.listener.callers import Caller, may_call
from node.listener.statuses import (
    PROCESSING_FAILURE,
    STATUS_OF_ADMISSION,
    SUCCESS,
    status_of,
)
from node.listener.visits import Visits
from node.store.admit import Admission, Incoming
from node.telemetry import metrics
from node.telemetry.metrics import ReceivedOutcome

logger: Final = logging.getLogger(__name__)

Admit = Callable[[Incoming], Admission]

CALLING_AE_TITLE_UNKNOWN: Final = (1, 1, 3)
"""Permanent, by the service user, calling AE title not recognised (PS3.8 table 9-21)."""

LOCAL_LIMIT_EXCEEDED: Final = (2, 3, 2)
"""Transient, by the presentation layer: the sender may try again."""

_OUTCOME: Final[Mapping[Admission, ReceivedOutcome]] = MappingProxyType(
    {
        Admission.STORED: "stored",
        Admission.DUPLICATE: "duplicate",
        Admission.KEPT_ASIDE: "kept-aside",
        Admission.OURS: "ours",
    }
)


class Reception:
    """Answers requests; called from the threads of all associations at once."""

    def __init__(self, admit: Admit, callers: tuple[Caller, ...], *, max_associations: int) -> None:
        self._admit: Final = admit
        self._callers: Final = callers
        self._visits: Final = Visits(max_associations)

    def handlers(self) -> list[tuple[Any, Callable[[evt.Event], Any]]]:
        """Return each event of pynetdicom with the function that handles it."""
        return [
            (evt.EVT_REQUESTED, self.on_requested),
            (evt.EVT_ESTABLISHED, self._visits.on_established),
            (evt.EVT_REJECTED, self._visits.on_rejected),
            (evt.EVT_RELEASED, self._visits.on_released),
            (evt.EVT_ABORTED, self._visits.on_aborted),
            (evt.EVT_CONN_CLOSE, self._visits.on_closed),
            (evt.EVT_C_ECHO, self.on_c_echo),
            (evt.EVT_C_STORE, self.on_c_store),
        ]

    def on_requested(self, event: evt.Event) -> None:
        """Reject an association whose caller is not on the list, or for which is no place."""
        requestor = event.assoc.requestor
        requestor.ae_title = requestor.primitive.calling_ae_title  # pynetdicom does it later
        if not may_call(self._callers, requestor.ae_title.strip(), requestor.address):
            self._reject(event, CALLING_AE_TITLE_UNKNOWN)
        elif not self._visits.enter(event.assoc):
            self._reject(event, LOCAL_LIMIT_EXCEEDED)

    def _reject(self, event: evt.Event, reason: tuple[int, int, int]) -> None:
        event.assoc.acse.send_reject(*reason)
        self._visits.on_rejected(event)
        event.assoc.kill()

    def on_c_echo(self, _event: evt.Event) -> int:
        """Answer a verification request."""
        return SUCCESS

    def on_c_store(self, event: evt.Event) -> int | Dataset:
        """Answer a storage request; with success only when the bytes are on disk."""
        started = time.perf_counter()
        incoming = _incoming(event)
        size = len(incoming.data_set)
        try:
            admission = self._admit(incoming)
        except SegnodeError as error:
            self._visits.received(event.assoc, "refused", size)
            return _refusal(incoming, error.code, status_of(error))
        except Exception as error:  # the edge: the sender must get an answer
            self._visits.received(event.assoc, "refused", size)
            logger.error("admission crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
            return _refusal(incoming, SegnodeError.code, PROCESSING_FAILURE)
        finally:
            metrics.store_seconds(time.perf_counter() - started)
        self._visits.received(event.assoc, _OUTCOME[admission], size)
        return STATUS_OF_ADMISSION[admission]


def _incoming(event: evt.Event) -> Incoming:
    request = event.request
    return Incoming(
        sop_class_uid=SOPClassUID(str(request.AffectedSOPClassUID)),
        sop_instance_uid=SOPInstanceUID(str(request.AffectedSOPInstanceUID)),
        transfer_syntax_uid=TransferSyntaxUID(str(event.context.transfer_syntax)),
        data_set=request.DataSet.getvalue(),
        calling_ae_title=AETitle(event.assoc.requestor.ae_title.strip()),
    )


def _refusal(incoming: Incoming, code: str, status: int) -> Dataset:
    """Return the answer with the reason's code as comment, for the sender's log."""
    metrics.refused(code)
    logger.warning(
        "instance refused",
        extra={
            "code": code,
            "status": f"0x{status:04X}",
            "calling": incoming.calling_ae_title,
            "bytes": len(incoming.data_set),
        },
    )
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = code
    return answer
