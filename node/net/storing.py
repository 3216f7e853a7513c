"""What a conversation asks of whoever stores: values and protocols (PS3.7 9.1.1, PS3.4 annex B)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
DATA_SET_DOES_NOT_MATCH = 0xA900

LONGEST_COMMENT = 64
"""Error Comment is an LO: 64 characters at most (PS3.7 annex E)."""


class Ending(StrEnum):
    """How an association ended; closed, for logs and metrics."""

    RELEASED = "released"
    REJECTED = "rejected"
    ABORTED = "aborted"  # by the peer, or by a handler
    LOST = "connection-lost"
    SILENT = "silent"
    SLOW = "too-slow"
    LONG = "too-long"
    TOO_MANY = "too-many-instances"
    PROTOCOL = "protocol-error"
    STOPPED = "stopped"
    CRASHED = "crashed"


class Hangup(Exception):
    """The association must end now.

    abort: source and reason of the A-ABORT (PS3.8 table 9-26); None when nobody can hear it.
    """

    def __init__(self, ending: Ending, abort: tuple[int, int] | None = None) -> None:
        super().__init__(ending.value)
        self.ending = ending
        self.abort = abort


BY_USER = (0, 0)
"""A-ABORT by the service user: what is wrong lies above the upper layer, or is our limit."""

UNRECOGNISED_PDU = (2, 1)
UNEXPECTED_PDU = (2, 2)
INVALID_PARAMETER = (2, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationLimits:
    """Limits of one association; what goes beyond is aborted.

    patience_s: until a whole A-ASSOCIATE-RQ is there. idle_s: between two reads.
    message_s: for one message, first to last byte. association_s: in all.
    instances: C-STORE requests. longest_pdu: bytes after the PDU's six bytes of head.
    """

    patience_s: float
    idle_s: float
    message_s: float
    association_s: float
    instances: int
    longest_pdu: int = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """What a store may know of the association. max_pdu: the peer's, bytes, 0 for no limit."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    max_pdu: int
    tls_subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A C-STORE-RQ. UIDs: as sent without padding; they may be invalid, long or empty."""

    message_id: int
    context_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAnswer:
    """A C-STORE-RSP. comment: Error Comment (0000,0902), cut to 64 characters."""

    status: int
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How one message came.

    seconds: first byte of the command to last byte of the data set. longest_wait_s: longest
    wait for bytes inside the message. stalled: the sender waits for our delayed
    acknowledgements (Nagle's algorithm), in this message or in two before it.
    """

    seconds: float
    longest_wait_s: float
    stalled: bool


class Sink(Protocol):
    """One data set that is being received; called from the association's thread only."""

    def write(self, fragment: memoryview) -> StoreAnswer | None:
        """Take the next bytes; they are valid during the call only.

        An answer refuses: it leaves at once, the rest is drained, and the sink hears no more.
        """

    def finish(self, timing: Timing) -> StoreAnswer:
        """Answer for the whole data set."""

    def abandon(self) -> None:
        """Forget what came: the association ended in the middle, or the sink raised."""


class Storing(Protocol):
    """Decides about C-STORE requests; called from the association's thread."""

    def begin(self, request: StoreRequest, party: Party) -> Sink | StoreAnswer:
        """Return where the data set goes, or the answer that leaves before it is read."""
