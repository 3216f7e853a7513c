"""The closed sets of names that objects, associations and refusals are counted by."""

from typing import Final, Literal, get_args

ReceivedOutcome = Literal["stored", "duplicate", "kept-aside", "ours", "refused"]
AssociationOutcome = Literal["released", "aborted", "rejected", "ignored"]

RejectionKind = Literal[
    "calling-ae-title", "called-ae-title", "too-many", "overloaded", "protocol", "tls"
]
"""Why a caller was not let in; tls: the handshake failed, so that there was no association."""

RefusingCause = Literal[
    "space", "inodes", "spool", "ledger", "unsettled", "unfinished", "unwatched"
]
"""Why nothing more is taken in; the words for it are in node/listener/gate.py."""

RECEIVED_OUTCOMES: Final[tuple[ReceivedOutcome, ...]] = get_args(ReceivedOutcome)
ASSOCIATION_OUTCOMES: Final[tuple[AssociationOutcome, ...]] = get_args(AssociationOutcome)
REJECTION_KINDS: Final[tuple[RejectionKind, ...]] = get_args(RejectionKind)
REFUSING_CAUSES: Final[tuple[RefusingCause, ...]] = get_args(RefusingCause)
