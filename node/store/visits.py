"""One association as its receiver saw it; without SQL, since receivers have none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from node.domain.ids import AETitle

VisitOutcome = Literal["released", "aborted", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderVisit:
    """One association that ended, or was not let in.

    address: numeric. instances: answered, whatever the answer. duplicates: of these, came before
    with the same bytes; refused: of these, not taken. stalled: of these, waited for a delayed
    acknowledgement. size_bytes: of data sets. seconds: from the first to the last, of the whole
    association. longest_gap_s: between an answer and the next request. max_pdu: that the sender
    takes, bytes, 0 for no limit. transfer_syntaxes: UID to number of instances.
    """

    calling_ae_title: AETitle
    address: str
    ended_at: datetime
    outcome: VisitOutcome
    instances: int = 0
    duplicates: int = 0
    refused: int = 0
    stalled: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    longest_gap_s: float = 0.0
    max_pdu: int = 0
    transfer_syntaxes: Mapping[str, int] = field(default_factory=dict)
