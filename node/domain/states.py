"""States of a revision, an analysis and a delivery, each with its one transition table.

The ledger refuses every step that is not in a table (docs/architecture.md, section 5).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class RevisionState(StrEnum):
    """How far the judgement of a study's inputs is."""

    RECEIVING = "RECEIVING"  # images came since the last look
    WAITING = "WAITING"  # looked at, not complete yet, with a reason
    COMPLETE = "COMPLETE"  # judged complete, an analysis exists
    NOT_ELIGIBLE = "NOT_ELIGIBLE"  # quiet, and no rule wants it
    GAVE_UP = "GAVE_UP"  # a rule wants it, but something stayed missing
    SUPERSEDED = "SUPERSEDED"  # late images opened the next revision


class AnalysisState(StrEnum):
    """How far one rule's work on one revision is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    ENCODED = "ENCODED"  # objects made and gated, deliveries pending
    DELIVERED = "DELIVERED"  # every destination has every object
    FAILED = "FAILED"  # with a named reason; a retry is possible
    CANCELLED = "CANCELLED"  # superseded by a later revision


class DeliveryState(StrEnum):
    """How far one object is on its way to one destination."""

    PENDING = "PENDING"
    SENT = "SENT"  # the destination answered success or a warning
    PROVEN = "PROVEN"  # the destination says that it holds the object
    RETRY = "RETRY"  # will be tried again at a stated time
    REFUSED = "REFUSED"  # the destination will not take it, ever
    DEAD = "DEAD"  # out of attempts, an operator decides


class StepState(StrEnum):
    """What a modality says of its work (Performed Procedure Step Status, PS3.3 C.4.14)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"  # and says which images it made
    DISCONTINUED = "DISCONTINUED"  # no evidence of anything


R, A, D = RevisionState, AnalysisState, DeliveryState

ARRIVED: Final = frozenset({DeliveryState.SENT, DeliveryState.PROVEN})
"""States of an object that a destination has."""

REVISION_TRANSITIONS: Final[Mapping[RevisionState, frozenset[RevisionState]]] = MappingProxyType(
    {
        R.RECEIVING: frozenset({R.RECEIVING, R.WAITING, R.COMPLETE, R.NOT_ELIGIBLE, R.GAVE_UP}),
        R.WAITING: frozenset({R.RECEIVING, R.WAITING, R.COMPLETE, R.NOT_ELIGIBLE, R.GAVE_UP}),
        R.COMPLETE: frozenset({R.SUPERSEDED}),
        # A study that was given up is looked at again when images or an operator come.
        R.NOT_ELIGIBLE: frozenset({R.RECEIVING}),
        R.GAVE_UP: frozenset({R.RECEIVING}),
        R.SUPERSEDED: frozenset(),
    }
)

ANALYSIS_TRANSITIONS: Final[Mapping[AnalysisState, frozenset[AnalysisState]]] = MappingProxyType(
    {
        A.QUEUED: frozenset({A.RUNNING, A.FAILED, A.CANCELLED}),
        A.RUNNING: frozenset({A.RUNNING, A.ENCODED, A.FAILED, A.CANCELLED}),
        A.ENCODED: frozenset({A.DELIVERED, A.FAILED, A.CANCELLED}),
        A.DELIVERED: frozenset(),
        A.FAILED: frozenset({A.QUEUED}),  # an operator's retry
        A.CANCELLED: frozenset(),
    }
)

DELIVERY_TRANSITIONS: Final[Mapping[DeliveryState, frozenset[DeliveryState]]] = MappingProxyType(
    {
        D.PENDING: frozenset({D.SENT, D.RETRY, D.REFUSED, D.DEAD}),
        D.SENT: frozenset({D.PROVEN, D.RETRY, D.DEAD}),
        D.PROVEN: frozenset(),
        D.RETRY: frozenset({D.SENT, D.RETRY, D.REFUSED, D.DEAD}),
        D.REFUSED: frozenset({D.PENDING}),  # an operator's retry
        D.DEAD: frozenset({D.PENDING}),  # an operator's retry
    }
)
