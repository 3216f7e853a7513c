"""Values of the judgement: what came, which series is what, and whether it is all here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.domain.header import Header, Plane
from node.domain.ids import (
    AETitle,
    AnalysisId,
    BundleName,
    DestinationName,
    RevisionNumber,
    RuleName,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
    StudyInstanceUID,
)
from node.domain.quality import FINDINGS, Finding, Verdict, collect
from node.domain.regions import Role
from node.domain.states import AnalysisState, DeliveryState, RevisionState, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is as it is: a code of the error tree (or "ok") and a sentence.

    The sentence is for the administrator and holds no patient data.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackFacts:
    """What the positions of a series' slices say about it (PS3.3 C.7.6.2.1.1).

    problem: the reason why the slices form no volume, or None.
    spacing_mm: distance between neighbouring slice centres; None when unknown.
    """

    slices: int
    orientations: int
    spacing_mm: float | None
    plane: str  # "axial", "coronal", "sagittal", "oblique" or ""
    problem: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """One series as the rules see it: the header of one instance and counts."""

    header: Header
    instances: int
    stack: StackFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One series considered for one role.

    score: higher is better; None when the series cannot take the role.
    reasons: sentences, what spoke for and against it.
    """

    series_instance_uid: SeriesInstanceUID
    series_number: int | None
    series_description: str
    score: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChoice:
    """What was decided for one role.

    chosen is None when no candidate can take it; reason then says why.
    """

    role: Role
    chosen: SeriesInstanceUID | None
    reason: Reason
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDecision:
    """The roles of a study under one rule, explained."""

    rule: RuleName
    rule_sha256: Sha256
    choices: tuple[RoleChoice, ...]
    required: tuple[Role, ...]

    @property
    def missing(self) -> tuple[Role, ...]:
        """Required roles that no series can take."""
        return tuple(c.role for c in self.choices if c.chosen is None and c.role in self.required)

    @property
    def chosen(self) -> dict[Role, SeriesInstanceUID]:
        """Each filled role and its series."""
        return {c.role: c.chosen for c in self.choices if c.chosen is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcedureStep:
    """What a modality said of its work on a study (MPPS), held against what came.

    calling_ae_title: who said it. images: listed in it, and missing: of them, not here yet.
    """

    sop_instance_uid: SOPInstanceUID
    calling_ae_title: AETitle
    state: StepState
    images: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a completion decision may look at.

    quiet_s: seconds since the last instance came; age_s: since the first. unlisted: how many
    instances are here that no COMPLETED step lists; of no weight where there are no steps.
    """

    study_instance_uid: StudyInstanceUID
    revision: RevisionNumber
    quiet_s: float
    age_s: float
    series: tuple[SeriesFacts, ...]
    steps: tuple[ProcedureStep, ...] = ()
    unlisted: int = 0

    @property
    def instances(self) -> int:
        """How many instances are here."""
        return sum(series.instances for series in self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionDecision:
    """COMPLETE, WAITING, NOT_ELIGIBLE or GAVE_UP, and the evidence for it.

    evidence: sentences, in the order in which they were weighed.
    look_again_s: when WAITING, seconds until the next look.
    """

    state: RevisionState
    reason: Reason
    evidence: tuple[str, ...]
    roles: RoleDecision | None = None
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One acknowledged instance: where its bytes lie and where its slices are.

    path: relative to the spool's root; never holds patient data.
    """

    sop_instance_uid: SOPInstanceUID
    series_instance_uid: SeriesInstanceUID
    path: str
    sha256: Sha256
    size_bytes: int
    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOrder:
    """What an analysis is to do, fixed when its revision was judged complete.

    destinations: names of the site's configuration, in the rule's order.
    inputs_sha256: over the chosen roles and their SOP Instance UIDs and bytes.
    """

    analysis_id: AnalysisId
    study_instance_uid: StudyInstanceUID
    revision: RevisionNumber
    rule: RuleName
    bundle: BundleName
    reference: Role
    roles: tuple[tuple[Role, SeriesInstanceUID], ...]
    destinations: tuple[DestinationName, ...]
    inputs_sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRecord:
    """An order and how far it is. attempt counts from 1; a retry adds one."""

    order: AnalysisOrder
    state: AnalysisState
    reason: Reason | None
    attempt: int
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One stage of an analysis: when, how long, and what it found (JSON-able)."""

    step: str
    started_at: datetime
    seconds: float | None
    summary: dict[str, object]


def verdict_of(steps: Sequence[StepRecord]) -> Verdict:
    """Collect what the steps of an analysis found that lowers the trust in its result."""
    written: list[Any] = []
    for step in steps:
        found = step.summary.get(FINDINGS)
        written += found if isinstance(found, list) else []
    return collect(Finding(code=entry["code"], text=entry["text"]) for entry in written)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One object for one destination.

    kind: "SEG" or "OVERLAY". status: the last DIMSE status, None before the first.
    path: of the encoded object, relative to the spool's root. seen_at: when the object first
    came back to us, sent on by an archive; None while it has not.
    """

    analysis_id: AnalysisId
    destination: DestinationName
    sop_instance_uid: SOPInstanceUID
    kind: str
    path: str
    state: DeliveryState
    status: int | None
    attempts: int
    reason: Reason | None
    changed_at: datetime
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that came and was not taken, with the reason."""

    study_instance_uid: StudyInstanceUID | None
    sop_instance_uid: SOPInstanceUID | None
    calling_ae_title: AETitle
    reason: Reason
    at: datetime
