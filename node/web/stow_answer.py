"""What is answered to a STOW-RS request (PS3.18 section 10.5.3 and annex I.2), pure.

A body of objects is answered as a whole by an HTTP status, and one by one in a data set:
Referenced SOP Sequence for those taken, Failed SOP Sequence and Other Failures Sequence with
a Failure Reason for the others.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"

OK: Final = 200
ACCEPTED: Final = 202
BAD_REQUEST: Final = 400
CONFLICT: Final = 409
TOO_LARGE: Final = 413
UNSUPPORTED_MEDIA_TYPE: Final = 415
BUSY: Final = 503

_SEQUENCES: Final = (
    ("00081198", "FailedSOPSequence"),
    ("00081199", "ReferencedSOPSequence"),
    ("0008119A", "OtherFailuresSequence"),
)
_URL: Final = ("00081190", "RetrieveURL", "UR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """SOP Class and SOP Instance UID of an object."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An object that was not taken. object: None where it could not be identified.

    reason: Failure Reason (0008,1197). http: the status of a request in which all failed alike.
    """

    object: Reference | None
    reason: int
    http: int = CONFLICT


@dataclass(slots=True)
class Outcome:
    """What became of the objects of one request, so far."""

    taken: list[Reference] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def parts(self) -> int:
        """How many objects there were."""
        return len(self.taken) + len(self.failures)

    @property
    def status(self) -> int:
        """The HTTP status of the whole (PS3.18 table 10.5.3-1)."""
        if not self.parts:
            return BAD_REQUEST
        if not self.failures:
            return OK
        if self.taken:
            return ACCEPTED
        kinds = {failure.http for failure in self.failures}
        return kinds.pop() if len(kinds) == 1 else CONFLICT


_Attribute = tuple[str, str, str, Sequence[Any]]
"""Tag, keyword, value representation, values; an item is a list of attributes."""


def to_json(outcome: Outcome) -> bytes:
    """Return the answer as application/dicom+json (PS3.18 annex F).

    One object, not an array of one: it is one data set, and Orthanc's client reads no other.
    """
    return json.dumps(_json(_data_set(outcome)), separators=(",", ":")).encode()


def to_xml(outcome: Outcome) -> bytes:
    """Return the answer as application/dicom+xml (PS3.19 annex A)."""
    body = "".join(_xml(_data_set(outcome)))
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<NativeDicomModel xml:space="preserve">{body}</NativeDicomModel>'.encode()


def _data_set(outcome: Outcome) -> list[_Attribute]:
    named = [f for f in outcome.failures if f.object is not None]
    unnamed = [f for f in outcome.failures if f.object is None]
    items = (
        [[*_reference(f.object), _reason(f)] for f in named if f.object is not None],
        # Retrieve URL has no value, because nothing can be retrieved here.
        [[*_reference(taken), (*_URL, ())] for taken in outcome.taken],
        [[_reason(f)] for f in unnamed],
    )
    found: list[_Attribute] = [(*_URL, ())]
    for (tag, keyword), values in zip(_SEQUENCES, items, strict=True):
        if values:
            found.append((tag, keyword, "SQ", values))
    return found


def _reference(found: Reference) -> list[_Attribute]:
    return [
        ("00081150", "ReferencedSOPClassUID", "UI", (found.sop_class_uid,)),
        ("00081155", "ReferencedSOPInstanceUID", "UI", (found.sop_instance_uid,)),
    ]


def _reason(failure: Failure) -> _Attribute:
    return ("00081197", "FailureReason", "US", (failure.reason,))


def _json(attributes: Sequence[_Attribute]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag, _, vr, values in sorted(attributes):
        found[tag] = {"vr": vr}
        if values:
            found[tag]["Value"] = [_json(v) for v in values] if vr == "SQ" else list(values)
    return found


def _xml(attributes: Sequence[_Attribute]) -> Iterator[str]:
    for tag, keyword, vr, values in sorted(attributes):
        yield f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}">'
        for number, value in enumerate(values, start=1):
            if vr == "SQ":
                yield f'<Item number="{number}">{"".join(_xml(value))}</Item>'
            else:
                yield f'<Value number="{number}">{escape(str(value))}</Value>'
        yield "</DicomAttribute>"
