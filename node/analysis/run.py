"""Run one stage of one analysis, once, and tell the ledger; never raise for bad input."""

import logging
from dataclasses import dataclass
from enum import StrEnum

from node.analysis.artefacts import (
    StageRecord,
    read_record,
    record_key,
    record_sha256,
    stage_key,
    write_record,
)
from node.analysis.bench import Bench, Job, open_job
from node.analysis.stages import STAGES, Stage, stage_named
from node.domain.errors import BundleInvalid, LedgerUnavailable, SegnodeError, StepCrashed
from node.domain.ids import AnalysisId
from node.domain.states import ARRIVED, AnalysisState
from node.domain.study import Reason

log = logging.getLogger(__name__)

WHO = "analysis"


class Outcome(StrEnum):
    """How a stage ended."""

    DONE = "done"
    SUPERSEDED = "superseded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """Outcome of a stage and, when it failed, the reason."""

    outcome: Outcome
    reason: Reason | None = None


def run_stage(bench: Bench, analysis_id: AnalysisId, name: str) -> StageOutcome:
    """Run the named stage, or find that it was done.

    Whatever goes wrong with the input, the site or ourselves becomes a FAILED analysis with a
    reason. Raises LedgerUnavailable only: without the ledger nothing can be said.
    """
    try:
        job = open_job(bench, analysis_id)
        # Asked after the images were read, so that none of a later revision is among them.
        if not bench.ledger.analyses.is_current(analysis_id):
            return _superseded(bench, analysis_id)
        stage = stage_named(name)
        _redo_what_changed(job, stage)
        _run_or_reuse(job, stage)
    except LedgerUnavailable:
        raise
    except SegnodeError as error:
        return _failed(bench, analysis_id, error)
    except Exception as error:
        log.exception("stage %s of analysis %s crashed", name, analysis_id[:12])
        crash = StepCrashed(f"stage {name} raised {type(error).__name__}")
        return _failed(bench, analysis_id, crash)
    return StageOutcome(outcome=Outcome.DONE)


def _redo_what_changed(job: Job, stage: Stage) -> None:
    """Do earlier stages again that were done with something else: another bundle, a new method.

    That happens when a site changes it while an analysis is stopped halfway.
    """
    if _is_partly_sent(job):
        return
    for earlier in STAGES[: STAGES.index(stage)]:
        made = record_key(job.folder, earlier.name)
        if made is not None and made != _key(job, earlier):
            _run_or_reuse(job, earlier)


def _run_or_reuse(job: Job, stage: Stage) -> None:
    analyses, clock = job.bench.ledger.analyses, job.bench.clock
    analysis_id = job.record.order.analysis_id
    # What an archive has a part of is never made anew: its objects have their identifiers.
    key = _key(job, stage)
    found = read_record(job.folder, stage.name, key=None if _is_partly_sent(job) else key)
    if found is not None:
        seconds = {step.step: step.seconds for step in analyses.steps(analysis_id)}
        if seconds.get(stage.name) is None:  # the process died between record and ledger
            analyses.begin_step(analysis_id, stage.name, clock.now())
            analyses.end_step(analysis_id, stage.name, found.seconds, found.summary)
        return
    analyses.begin_step(analysis_id, stage.name, clock.now())
    started = clock.monotonic()
    names, summary = stage.work(job)
    record = StageRecord(seconds=clock.monotonic() - started, summary=summary)
    if _key(job, stage) != key:
        message = "the bundle was changed while a study was analysed with it"
        raise BundleInvalid(message)
    write_record(job.folder, stage.name, record, key=key, names=names)
    analyses.end_step(analysis_id, stage.name, record.seconds, summary)


def _is_partly_sent(job: Job) -> bool:
    deliveries = job.bench.ledger.deliveries.of(job.record.order.analysis_id)
    return any(delivery.state in ARRIVED for delivery in deliveries)


def _key(job: Job, stage: Stage) -> str:
    return stage_key(_upstream(job, stage), stage.parameters(job))


def _upstream(job: Job, stage: Stage) -> str:
    """Hash of the record of the stage before: the end of a chain over all that led here."""
    index = STAGES.index(stage)
    return "" if index == 0 else record_sha256(job.folder, STAGES[index - 1].name)


def _failed(bench: Bench, analysis_id: AnalysisId, error: SegnodeError) -> StageOutcome:
    reason = Reason(code=error.code, text=error.what)
    _move(bench, analysis_id, AnalysisState.FAILED, reason)
    return StageOutcome(outcome=Outcome.FAILED, reason=reason)


def _move(bench: Bench, analysis_id: AnalysisId, to: AnalysisState, reason: Reason | None) -> None:
    bench.ledger.analyses.move(analysis_id, to, reason=reason, who=WHO, now=bench.clock.now())


def start(bench: Bench, analysis_id: AnalysisId) -> StageOutcome:
    """Record that an executor took the analysis, and that its result has somewhere to go."""
    record = bench.ledger.analyses.get(analysis_id)
    if record.state is AnalysisState.QUEUED:
        _move(bench, analysis_id, AnalysisState.RUNNING, None)
    try:
        bench.destinations(record.order)
    except SegnodeError as error:
        return _failed(bench, analysis_id, error)
    return StageOutcome(outcome=Outcome.DONE)


def finish_encoding(bench: Bench, analysis_id: AnalysisId) -> None:
    """Record that all objects are made and gated."""
    _move(bench, analysis_id, AnalysisState.ENCODED, None)


def _superseded(bench: Bench, analysis_id: AnalysisId) -> StageOutcome:
    reason = Reason(code="superseded", text="late images opened a new revision")
    _move(bench, analysis_id, AnalysisState.CANCELLED, reason)
    return StageOutcome(outcome=Outcome.SUPERSEDED, reason=reason)
