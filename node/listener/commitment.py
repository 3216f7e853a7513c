"""Storage Commitment Push Model as a provider (PS3.4 annex J): the side of the receiver.

The request is kept where the ledger is before it is acknowledged. After the response has
left, its objects are looked up and the result goes out on the same association; where that
is not possible, `serve` tells it on a new one (node/listener/callback.py).
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pynetdicom import evt

from node.dicom.attributes import layout
from node.listener.parcels import in_pieces
from node.listener.requests import (
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    SUCCESS,
    Ask,
    Body,
    RequestRefused,
    answer_of,
    asked,
    caller_of,
    read_request,
    uid_of,
)

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
CONTEXTS: Final = (PUSH_MODEL,)
"""Abstract syntaxes to accept, with `requests.TRANSFER_SYNTAXES`."""

REQUEST_COMMITMENT: Final = 1
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2

AT_ONCE: Final = 400
"""Objects of one question; it stays far below the 128 KiB of a datagram."""

ObjectReference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""

AfterResponse = Callable[[evt.Event, Callable[[], None]], None]
"""Has something done on the association's thread once the response to an event has left."""

_REQUEST: Final = layout(
    "TransactionUID",
    {"ReferencedSOPSequence": layout("ReferencedSOPClassUID ReferencedSOPInstanceUID")},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAsked:
    """A modality asks whether it may delete these objects."""

    calling_ae_title: str
    address: str
    transaction_uid: str
    objects: tuple[ObjectReference, ...]

    KIND = "commitment-asked"

    def to_json(self) -> Body:
        """Return the message as plain JSON."""
        return {
            "kind": self.KIND,
            "calling": self.calling_ae_title,
            "address": self.address,
            "transaction": self.transaction_uid,
            "objects": [list(pair) for pair in self.objects],
        }

    @classmethod
    def from_json(cls, body: Body) -> "CommitmentAsked":
        """Return the message that `to_json` wrote."""
        return cls(
            calling_ae_title=body["calling"],
            address=body["address"],
            transaction_uid=body["transaction"],
            objects=tuple((sop_class, sop) for sop_class, sop in body["objects"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsLookedUp:
    """Which of some objects are here for good? See `Failures` for the reply."""

    objects: tuple[ObjectReference, ...]

    KIND = "commitment-look"

    def to_json(self) -> Body:
        """Return the message as plain JSON."""
        return {"kind": self.KIND, "objects": [list(pair) for pair in self.objects]}

    @classmethod
    def from_json(cls, body: Body) -> "ObjectsLookedUp":
        """Return the message that `to_json` wrote."""
        return cls(objects=tuple((sop_class, sop) for sop_class, sop in body["objects"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Reply to a look: the reason of each object that is not committed, by its place.

    settling: something acknowledged is still on its way to the ledger; ask again.
    """

    reasons: dict[int, int]
    settling: bool

    def to_json(self) -> Body:
        """Return the reply as plain JSON."""
        pairs = [list(pair) for pair in self.reasons.items()]
        return {"status": SUCCESS, "failed": pairs, "settling": self.settling}

    @classmethod
    def from_json(cls, body: Body) -> "Failures":
        """Return the reply that `to_json` wrote."""
        return cls(reasons=dict(body["failed"]), settling=body["settling"])


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentTold:
    """What became of telling the result on the association of the request."""

    calling_ae_title: str
    transaction_uid: str
    was_taken: bool

    KIND = "commitment-told"

    def to_json(self) -> Body:
        """Return the message as plain JSON."""
        return {
            "kind": self.KIND,
            "calling": self.calling_ae_title,
            "transaction": self.transaction_uid,
            "taken": self.was_taken,
        }

    @classmethod
    def from_json(cls, body: Body) -> "CommitmentTold":
        """Return the message that `to_json` wrote."""
        return cls(
            calling_ae_title=body["calling"],
            transaction_uid=body["transaction"],
            was_taken=body["taken"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How an association waits for what was acknowledged just now to reach the ledger."""

    longest_s: float = 5.0
    look_s: float = 0.25


def after_the_response(event: evt.Event, act: Callable[[], None]) -> None:
    """Have something done by the association of a `Conversation`."""
    event.assoc.after_response(act)


def handlers(
    ask: Ask,
    after_response: AfterResponse = after_the_response,
    *,
    patience: Patience | None = None,
) -> list[tuple[Any, Callable[[evt.Event], Any]]]:
    """Return the event of pynetdicom with the function that handles it."""

    def on_n_action(event: evt.Event) -> tuple[Dataset, None]:
        calling = caller_of(event)
        try:
            request = commitment_asked(event, calling)
            status = asked(in_pieces(ask), request.to_json())["status"]
        except RequestRefused as refusal:
            status = refusal.status
        else:
            if status == SUCCESS:
                after_response(
                    event, lambda: _tell(event.assoc, request, ask, patience or Patience())
                )
        return answer_of(status, service="N-ACTION", calling=calling), None

    return [(evt.EVT_N_ACTION, on_n_action)]


def commitment_asked(event: evt.Event, calling: str) -> CommitmentAsked:
    """Read an N-ACTION request (PS3.4 table J.3-1). Raises RequestRefused."""
    request = event.request
    if str(request.RequestedSOPInstanceUID or "") != PUSH_MODEL_INSTANCE:
        raise RequestRefused(NO_SUCH_INSTANCE)
    if request.ActionTypeID != REQUEST_COMMITMENT:
        raise RequestRefused(NO_SUCH_ACTION)
    top = read_request(
        request.ActionInformation,
        event.context,
        _REQUEST,
        absent=INVALID_ARGUMENT_VALUE,
        unreadable=INVALID_ARGUMENT_VALUE,
    )
    wrong = {"missing": INVALID_ARGUMENT_VALUE, "invalid": INVALID_ARGUMENT_VALUE}
    objects = {
        (
            uid_of(item, "ReferencedSOPClassUID", **wrong),
            uid_of(item, "ReferencedSOPInstanceUID", **wrong),
        ): None
        for item in top.items.get("ReferencedSOPSequence", ())
    }
    if not objects:
        raise RequestRefused(INVALID_ARGUMENT_VALUE)
    return CommitmentAsked(
        calling_ae_title=calling,
        address=str(event.assoc.requestor.address),
        transaction_uid=uid_of(top, "TransactionUID", **wrong),
        objects=tuple(objects),
    )


def result_of(
    transaction_uid: str, objects: Sequence[ObjectReference], reasons: dict[int, int]
) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a result (PS3.4 table J.3-2)."""
    result = Dataset()
    result.TransactionUID = transaction_uid
    committed = [_reference(*o) for place, o in enumerate(objects) if place not in reasons]
    if committed:
        result.ReferencedSOPSequence = DicomSequence(committed)
    if reasons:
        failed = [_failure(objects[place], reason) for place, reason in sorted(reasons.items())]
        result.FailedSOPSequence = DicomSequence(failed)
    return (FAILURES_EXIST if reasons else ALL_COMMITTED), result


def was_taken(status: Dataset) -> bool:
    """Whether a peer's answer to N-EVENT-REPORT says that it has it; warnings do."""
    code = int(status.get("Status", -1))
    return code in (SUCCESS, 0x0001, 0x0107, 0x0116) or code >> 12 == 0xB


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _failure(reference: ObjectReference, reason: int) -> Dataset:
    item = _reference(*reference)
    item.FailureReason = reason
    return item


def _tell(association: Any, request: CommitmentAsked, ask: Ask, patience: Patience) -> None:
    """Look the objects up, report on the association, and say whether that worked."""
    reasons = _reasons(request.objects, ask, patience)
    taken = reasons is not None and _report(association, request, reasons)
    asked(
        ask,
        CommitmentTold(
            calling_ae_title=request.calling_ae_title,
            transaction_uid=request.transaction_uid,
            was_taken=taken,
        ).to_json(),
    )


def _report(association: Any, request: CommitmentAsked, reasons: dict[int, int]) -> bool:
    event_type, result = result_of(request.transaction_uid, request.objects, reasons)
    try:
        status, _ = association.send_n_event_report(
            result, event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError, OSError):  # released or lost in the meantime
        return False
    return was_taken(status)


def _reasons(
    objects: Sequence[ObjectReference], ask: Ask, patience: Patience
) -> dict[int, int] | None:
    """Return why objects are not committed; None when that is not certain within the patience.

    What was acknowledged is reported to `serve` a moment later, so a failure counts only when
    a second look finds the same.
    """
    until = time.monotonic() + patience.longest_s
    pause = threading.Event()  # never set
    before: dict[int, int] | None = None
    while (found := _looked_up(objects, ask)) is not None:
        if not found.reasons or (found.reasons == before and not found.settling):
            return found.reasons
        if time.monotonic() > until:
            return None
        before = found.reasons
        pause.wait(patience.look_s)
    return None


def _looked_up(objects: Sequence[ObjectReference], ask: Ask) -> Failures | None:
    """Ask for all objects, some at a time; None when nobody knows."""
    reasons: dict[int, int] = {}
    settling = False
    for start in range(0, len(objects), AT_ONCE):
        some = ObjectsLookedUp(objects=tuple(objects[start : start + AT_ONCE]))
        reply = asked(ask, some.to_json())
        if reply["status"] != SUCCESS:
            return None
        found = Failures.from_json(reply)
        reasons |= {start + place: reason for place, reason in found.reasons.items()}
        settling = settling or found.settling
    return Failures(reasons=reasons, settling=settling)
