"""What the ledger tells: one line for each study, the whole story of one, and the counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from node.domain.header import Header
from node.domain.ids import RevisionNumber, StudyInstanceUID
from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.domain.study import (
    AnalysisRecord,
    CompletionDecision,
    DeliveryRecord,
    ProcedureStep,
    Reason,
    Refusal,
    SeriesFacts,
    StepRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """One study in a list: the state of its current revision and of its latest analysis.

    reason: of the last completion decision; None before the first look.
    """

    study_instance_uid: StudyInstanceUID
    revision: RevisionNumber
    state: RevisionState
    reason: Reason | None
    series: int
    instances: int
    last_received_at: datetime
    analysis: AnalysisState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionStory:
    """One revision and the last decision about it, None before the first look."""

    revision: RevisionNumber
    state: RevisionState
    decision: CompletionDecision | None
    opened_at: datetime
    changed_at: datetime
    next_look_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisStory:
    """One analysis with its stages in the order in which they began, and its deliveries."""

    record: AnalysisRecord
    steps: tuple[StepRecord, ...]
    deliveries: tuple[DeliveryRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One recorded change of state.

    entity: "revision", "analysis" or "delivery". entity_id: the revision number, the analysis
    id, or "analysis id/destination/SOP Instance UID". from_state: "" when it began.
    """

    entity: str
    entity_id: str
    from_state: str
    to_state: str
    who: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStory:
    """Everything that is known about one study, from the ledger alone.

    header: of its first series, for the facts of the study. series: as the rules see them
    now, by number. procedure_steps: what modalities said of it, held against what is here
    now. refusals: what came for it and was not taken. revisions, analyses and
    transitions: oldest first.
    """

    study_instance_uid: StudyInstanceUID
    header: Header
    first_received_at: datetime
    last_received_at: datetime
    instances: int
    size_bytes: int
    series: tuple[SeriesFacts, ...]
    procedure_steps: tuple[ProcedureStep, ...]
    refusals: tuple[Refusal, ...]
    revisions: tuple[RevisionStory, ...]
    analyses: tuple[AnalysisStory, ...]
    transitions: tuple[Transition, ...]

    @property
    def current(self) -> RevisionStory:
        """The revision in force."""
        return self.revisions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """How much there is of everything; states without entries are counted as 0."""

    studies: int
    instances: int
    size_bytes: int
    revisions: Mapping[RevisionState, int]
    analyses: Mapping[AnalysisState, int]
    deliveries: Mapping[DeliveryState, int]
    refusals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorBeat:
    """An executor of `segnode work` and the last time it said that it lives."""

    executor_id: str
    beat_at: datetime
