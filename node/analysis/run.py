"""Run one stage of one analysis, once, and tell the ledger; never raise for bad input."""

import logging
from dataclasses import dataclass
from enum import StrEnum

from node.analysis.artefacts import read_record, record_sha256, stage_key, write_record
from node.analysis.bench import Bench, Job, open_job
from node.analysis.stages import STAGES, Stage, stage_named
from node.domain.errors import SegnodeError, StepCrashed
from node.domain.ids import AnalysisId
from node.domain.states import AnalysisState
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
    if not bench.ledger.analyses.is_current(analysis_id):
        reason = Reason(code="superseded", text="late images opened a new revision")
        _move(bench, analysis_id, AnalysisState.CANCELLED, reason)
        return StageOutcome(outcome=Outcome.SUPERSEDED, reason=reason)
    try:
        _run_or_reuse(bench, analysis_id, stage_named(name))
    except SegnodeError as error:
        return _failed(bench, analysis_id, error)
    except Exception as error:
        log.exception("stage %s of analysis %s crashed", name, analysis_id[:12])
        crash = StepCrashed(f"stage {name} raised {type(error).__name__}")
        return _failed(bench, analysis_id, crash)
    return StageOutcome(outcome=Outcome.DONE)


def _run_or_reuse(bench: Bench, analysis_id: AnalysisId, stage: Stage) -> None:
    job = open_job(bench, analysis_id)
    key = stage_key(_upstream(job, stage), stage.parameters(job))
    if read_record(job.folder, stage.name, key=key) is not None:
        return
    bench.ledger.analyses.begin_step(analysis_id, stage.name, bench.clock.now())
    started = bench.clock.monotonic()
    names, summary = stage.work(job)
    write_record(job.folder, stage.name, key=key, names=names, summary=summary)
    seconds = bench.clock.monotonic() - started
    bench.ledger.analyses.end_step(analysis_id, stage.name, seconds, summary)


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


def start(bench: Bench, analysis_id: AnalysisId) -> None:
    """Record that an executor took the analysis."""
    if bench.ledger.analyses.get(analysis_id).state is AnalysisState.QUEUED:
        _move(bench, analysis_id, AnalysisState.RUNNING, None)


def finish_encoding(bench: Bench, analysis_id: AnalysisId) -> None:
    """Record that all objects are made and gated."""
    _move(bench, analysis_id, AnalysisState.ENCODED, None)
