"""What a normalised request (N-CREATE, N-SET, N-ACTION) holds, read from hostile bytes.

Only what is wanted is decoded, by our own reader, which trusts no length; nothing that came
shows in an answer or in the log.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import evt

from node.dicom.attributes import Attributes, Layout, from_bytes
from node.dicom.uids import is_uid
from node.domain.errors import NotDicom

logger: Final = logging.getLogger(__name__)

Body = dict[str, Any]
"""A message between a receiver and `serve`: plain JSON."""

Ask = Callable[[Body], Body]
"""The port: has `serve` answer a message. Raises OSError when nobody is there."""

TRANSFER_SYNTAXES: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""To be negotiated for these services: no deflated bombs; every peer has to know the first."""

MOST_BYTES: Final = 4 * 2**20
MOST_ITEMS: Final = 25_000
"""Items of all sequences of a data set; the largest studies list some thousand images."""

_ITEM: Final = b"\xfe\xff\x00\xe0"

SUCCESS: Final = 0x0000
INVALID_ATTRIBUTE_VALUE: Final = 0x0106
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_INSTANCE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT_VALUE: Final = 0x0115
CLASS_INSTANCE_CONFLICT: Final = 0x0119
MISSING_ATTRIBUTE: Final = 0x0120
MISSING_ATTRIBUTE_VALUE: Final = 0x0121
NO_SUCH_ACTION: Final = 0x0123
RESOURCE_LIMITATION: Final = 0x0213

COMMENTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        INVALID_ATTRIBUTE_VALUE: "an attribute has a value that it cannot have",
        PROCESSING_FAILURE: "the request could not be processed",
        DUPLICATE_INSTANCE: "there is such an object already",
        NO_SUCH_INSTANCE: "there is no such object",
        INVALID_ARGUMENT_VALUE: "the data set of the request cannot be used",
        MISSING_ATTRIBUTE: "an attribute is missing that the request must have",
        MISSING_ATTRIBUTE_VALUE: "an attribute has no value",
        NO_SUCH_ACTION: "the action is not known",
        RESOURCE_LIMITATION: "too much at once, or not possible for now",
    }
)
"""PS3.7 annex C in our own words, for the Error Comment: at most 64 characters."""


class RequestRefused(Exception):
    """A request that cannot be taken. status: of PS3.7 annex C."""

    def __init__(self, status: int) -> None:
        super().__init__(f"0x{status:04X}")
        self.status: Final = status


def read_request(
    data_set: Any, context: Any, top: Layout, *, absent: int, unreadable: int
) -> Attributes:
    """Return the attributes of the data set of a request.

    data_set: the io.BytesIO of pynetdicom's primitive, None when there was none. context: the
    presentation context of the event. Raises RequestRefused: RESOURCE_LIMITATION for too
    much, `absent` for no bytes, `unreadable` for bytes that are no data set.
    """
    syntax = str(context.transfer_syntax)
    data = data_set.getvalue() if data_set is not None else b""
    if len(data) > MOST_BYTES or data.count(_ITEM) > MOST_ITEMS:
        raise RequestRefused(RESOURCE_LIMITATION)
    if not data:
        raise RequestRefused(absent)
    if syntax not in TRANSFER_SYNTAXES:
        raise RequestRefused(unreadable)
    try:
        return from_bytes(data, syntax, top)
    except NotDicom as error:
        raise RequestRefused(unreadable) from error


def uid_of(item: Attributes, keyword: str, *, missing: int, invalid: int) -> str:
    """Return a UID; raises RequestRefused with one of the statuses when it is none."""
    value = item.text(keyword)
    if not value:
        raise RequestRefused(missing)
    if not is_uid(value):
        raise RequestRefused(invalid)
    return value


def caller_of(event: evt.Event) -> str:
    """Return the calling AE title of the association that an event belongs to."""
    requestor = event.assoc.requestor
    return str(requestor.primitive.calling_ae_title or requestor.ae_title).strip()


def asked(ask: Ask, body: Body) -> Body:
    """Have a message answered; when nobody is there, the answer is a status that says so."""
    try:
        return ask(body)
    except OSError:  # the node is about to stop, or to start again
        return {"status": RESOURCE_LIMITATION}


def answer_of(status: int, *, service: str, calling: str, error_id: int | None = None) -> Dataset:
    """Return the answer for a status; a refusal is logged and has a comment for the sender.

    error_id: what a service adds to a status that is not its own (Error ID, PS3.7 annex C).
    """
    answer = Dataset()
    answer.Status = status
    if error_id is not None:
        answer.ErrorID = error_id
    if status != SUCCESS:
        logger.warning(
            "request refused",
            extra={"service": service, "calling": calling, "status": f"0x{status:04X}"},
        )
        answer.ErrorComment = COMMENTS.get(status, COMMENTS[PROCESSING_FAILURE])
    return answer
