"""Modality Performed Procedure Step as a provider (PS3.4 annex F): the side of the receiver.

A request is read into a small message and passed through a port to where the ledger is. Only
what says whether a study is all here is kept: study, status, and the images of each series.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt

from node.dicom.attributes import Attributes, layout
from node.dicom.uids import derived_uid, is_uid
from node.domain.states import StepState
from node.listener.parcels import in_pieces
from node.listener.requests import (
    INVALID_ATTRIBUTE_VALUE,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
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

MPPS: Final = "1.2.840.10008.3.1.2.3.3"
CONTEXTS: Final = (MPPS,)
"""Abstract syntaxes to accept, with `requests.TRANSFER_SYNTAXES`."""

Images = Mapping[str, tuple[str, ...]]
"""SOP Instance UIDs by Series Instance UID."""

_SERIES: Final = layout(
    "SeriesInstanceUID", {"ReferencedImageSequence": layout("ReferencedSOPInstanceUID")}
)
_STEP: Final = layout(
    "PerformedProcedureStepStatus",
    {
        "ScheduledStepAttributesSequence": layout("StudyInstanceUID"),
        "PerformedSeriesSequence": _SERIES,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCreated:
    """A modality began its work on a study; the first one, if it works on several."""

    calling_ae_title: str
    sop_instance_uid: str
    study_instance_uid: str
    images: Images

    KIND = "step-created"

    def to_json(self) -> Body:
        """Return the message as plain JSON."""
        return {
            "kind": self.KIND,
            "calling": self.calling_ae_title,
            "sop": self.sop_instance_uid,
            "study": self.study_instance_uid,
            "images": {series: list(uids) for series, uids in self.images.items()},
        }

    @classmethod
    def from_json(cls, body: Body) -> "StepCreated":
        """Return the message that `to_json` wrote."""
        return cls(
            calling_ae_title=body["calling"],
            sop_instance_uid=body["sop"],
            study_instance_uid=body["study"],
            images={series: tuple(uids) for series, uids in body["images"].items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChanged:
    """A modality says more of a step; None where it says nothing about status or images."""

    calling_ae_title: str
    sop_instance_uid: str
    state: StepState | None
    images: Images | None

    KIND = "step-changed"

    def to_json(self) -> Body:
        """Return the message as plain JSON."""
        images = self.images
        return {
            "kind": self.KIND,
            "calling": self.calling_ae_title,
            "sop": self.sop_instance_uid,
            "state": None if self.state is None else self.state.value,
            "images": None if images is None else {s: list(uids) for s, uids in images.items()},
        }

    @classmethod
    def from_json(cls, body: Body) -> "StepChanged":
        """Return the message that `to_json` wrote."""
        images, state = body["images"], body["state"]
        return cls(
            calling_ae_title=body["calling"],
            sop_instance_uid=body["sop"],
            state=None if state is None else StepState(state),
            images=None if images is None else {s: tuple(uids) for s, uids in images.items()},
        )


def handlers(ask: Ask) -> list[tuple[Any, Callable[[evt.Event], Any]]]:
    """Return each event of pynetdicom with the function that handles it."""
    whole = in_pieces(ask)
    return [
        (evt.EVT_N_CREATE, lambda event: on_n_create(event, whole)),
        (evt.EVT_N_SET, lambda event: on_n_set(event, whole)),
    ]


def on_n_create(event: evt.Event, ask: Ask) -> tuple[Dataset, Dataset | None]:
    """Answer N-CREATE; a modality may leave the naming of the step to us (PS3.7 10.1.5.1.4)."""
    calling = caller_of(event)
    named = str(event.request.AffectedSOPInstanceUID or "")
    try:
        created = step_created(
            event, calling, named or derived_uid("procedure step", secrets.token_hex(16))
        )
        status = asked(ask, created.to_json())["status"]
    except RequestRefused as refusal:
        return answer_of(refusal.status, service="N-CREATE", calling=calling), None
    answer = answer_of(status, service="N-CREATE", calling=calling)
    if status != SUCCESS or named:
        return answer, None
    attributes = Dataset()
    attributes.AffectedSOPInstanceUID = created.sop_instance_uid
    return answer, attributes


def on_n_set(event: evt.Event, ask: Ask) -> tuple[Dataset, None]:
    """Answer N-SET."""
    calling = caller_of(event)
    try:
        reply = asked(ask, step_changed(event, calling).to_json())
    except RequestRefused as refusal:
        reply = {"status": refusal.status}
    return answer_of(
        reply["status"], service="N-SET", calling=calling, error_id=reply.get("error_id")
    ), None


def step_created(event: evt.Event, calling: str, sop_instance_uid: str) -> StepCreated:
    """Read an N-CREATE request (PS3.4 table F.7.2-1). Raises RequestRefused."""
    if not is_uid(sop_instance_uid):
        raise RequestRefused(INVALID_ATTRIBUTE_VALUE)
    top = _attributes(event.request.AttributeList, event)
    scheduled = top.items.get("ScheduledStepAttributesSequence", ())
    if not scheduled:
        raise RequestRefused(MISSING_ATTRIBUTE)
    study = _uid(scheduled[0], "StudyInstanceUID")
    if _state(top) is None:
        raise RequestRefused(MISSING_ATTRIBUTE)
    if _state(top) is not StepState.IN_PROGRESS:
        raise RequestRefused(INVALID_ATTRIBUTE_VALUE)
    return StepCreated(
        calling_ae_title=calling,
        sop_instance_uid=sop_instance_uid,
        study_instance_uid=study,
        images=_images(top) or {},
    )


def step_changed(event: evt.Event, calling: str) -> StepChanged:
    """Read an N-SET request (PS3.4 table F.7.2-1). Raises RequestRefused."""
    sop_instance_uid = str(event.request.RequestedSOPInstanceUID or "")
    if not is_uid(sop_instance_uid):
        raise RequestRefused(NO_SUCH_INSTANCE)
    top = _attributes(event.request.ModificationList, event)
    return StepChanged(
        calling_ae_title=calling,
        sop_instance_uid=sop_instance_uid,
        state=_state(top),
        images=_images(top),
    )


def _attributes(data_set: Any, event: evt.Event) -> Attributes:
    return read_request(
        data_set,
        event.context,
        _STEP,
        absent=MISSING_ATTRIBUTE,
        unreadable=INVALID_ATTRIBUTE_VALUE,
    )


def _state(top: Attributes) -> StepState | None:
    """Return the status, None when the request has none. Raises RequestRefused for another."""
    if "PerformedProcedureStepStatus" not in top.values:
        return None
    try:
        return StepState(top.text("PerformedProcedureStepStatus"))
    except ValueError as error:
        raise RequestRefused(INVALID_ATTRIBUTE_VALUE) from error


def _images(top: Attributes) -> Images | None:
    """Return the images of each series, None when the request does not list any series."""
    listed = top.items.get("PerformedSeriesSequence")
    if listed is None:
        return None
    found: dict[str, dict[str, None]] = {}  # as ordered sets
    for series in listed:
        images = found.setdefault(_uid(series, "SeriesInstanceUID"), {})
        for image in series.items.get("ReferencedImageSequence", ()):
            images[_uid(image, "ReferencedSOPInstanceUID")] = None
    return {series: tuple(images) for series, images in found.items()}


def _uid(item: Attributes, keyword: str) -> str:
    return uid_of(item, keyword, missing=MISSING_ATTRIBUTE_VALUE, invalid=INVALID_ATTRIBUTE_VALUE)
