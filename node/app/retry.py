"""An operator's retry: what can be tried again of a study, and nothing else."""

from contextlib import closing
from dataclasses import dataclass

from node.app.settings import Settings
from node.app.wiring import CLOCK, ledger_of
from node.domain.ids import StudyInstanceUID
from node.domain.states import AnalysisState, RevisionState
from node.jobs.queue import AnalysisQueue, prepare_database

REOPENABLE = frozenset({RevisionState.NOT_ELIGIBLE, RevisionState.GAVE_UP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Whether there was anything to try again, and what was done."""

    anything: bool
    text: str


def retry_study(settings: Settings, study: StudyInstanceUID) -> Retried:
    """Try a study again.

    A study that was given up or not eligible is judged anew; an analysis that failed goes on
    at the stage that failed, and sends only what has not arrived yet.
    """
    ledger = ledger_of(settings)
    story = ledger.stories.story(study)
    if story is None:
        return Retried(anything=False, text="no such study")
    if story.current.state in REOPENABLE:
        ledger.studies.reopen(study, now=CLOCK.now())
        return Retried(anything=True, text="the study will be judged again")
    last = story.analyses[-1].record if story.analyses else None
    if last is not None and last.state is AnalysisState.FAILED:
        prepare_database(settings.database_url)
        with closing(AnalysisQueue(ledger)) as queue:
            ledger.analyses.requeue(last.order.analysis_id, queue.enqueue_again, now=CLOCK.now())
        return Retried(anything=True, text="the analysis was queued again")
    state = last.state if last is not None else story.current.state
    return Retried(anything=False, text=f"nothing to retry: the study is {state}")
