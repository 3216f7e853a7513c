"""The two workflows. A workflow only puts steps in order; a step calls one function below.

Steps take and return ids and words, so a checkpoint is a few dozen bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID, StepOptions

from node.analysis.bench import Bench
from node.analysis.run import Outcome, finish_encoding, run_stage, start
from node.analysis.stages import STAGES
from node.analysis.tidy import tidy
from node.delivery.send import Lane, close_analysis, give_up, send_open
from node.domain.errors import LedgerUnavailable
from node.domain.ids import AnalysisId, DestinationName
from node.jobs.names import ANALYSE, DELIVER, DELIVERIES, delivery_workflow_id
from node.net.scu import Peer

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits between attempts to send: first_s, then factor times longer, at most longest_s."""

    first_s: float = 5.0
    factor: float = 2.0
    longest_s: float = 900.0
    attempts: int = 12

    def wait_after(self, number: int) -> float | None:
        """Return the seconds to wait after the number-th failed attempt, None after the last."""
        if number >= self.attempts:
            return None
        return min(self.first_s * self.factor ** (number - 1), self.longest_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the workflows work with. peers: where each destination's name leads."""

    bench: Bench
    peers: Mapping[DestinationName, Peer]
    backoff: Backoff


RECOVERIES = 5
"""How often a workflow is taken up again after its process died; then it is the workflow's
fault, and `reconcile` says so in the ledger."""


def register_workflows(flow: Flow) -> None:
    """Tell DBOS the workflows; call before launch."""
    bench = flow.bench

    @DBOS.workflow(name=DELIVER)
    def deliver(
        analysis_id: AnalysisId, attempt: int, destination: DestinationName, number: int
    ) -> str:
        """Send once; what stays open is sent by a successor, so that the lane is free."""
        lane = _step("send", _send, flow, analysis_id, destination)
        if lane == Lane.OPEN:
            wait_s = _step("wait", flow.backoff.wait_after, number)
            if wait_s is not None:
                enqueue(analysis_id, attempt, destination, number + 1, wait_s)
                return lane
            _step("give-up", give_up, analysis_id, destination, bench.ledger, bench.clock)
        _step("close", _close, bench, analysis_id)
        return lane

    def enqueue(
        analysis_id: AnalysisId,
        attempt: int,
        destination: DestinationName,
        number: int,
        in_s: float,
    ) -> None:
        workflow_id = delivery_workflow_id(analysis_id, attempt, destination, number)
        options = SetEnqueueOptions(queue_partition_key=destination, delay_seconds=in_s or None)
        with SetWorkflowID(workflow_id), options:
            DBOS.enqueue_workflow(DELIVERIES, deliver, analysis_id, attempt, destination, number)

    @DBOS.workflow(name=ANALYSE, max_recovery_attempts=RECOVERIES)
    def analyse(analysis_id: AnalysisId, attempt: int) -> str:
        outcome = _step("start", _start, bench, analysis_id)
        for stage in STAGES:
            if outcome == Outcome.DONE:
                outcome = _step(stage.name, _stage, bench, analysis_id, stage.name)
        if outcome != Outcome.DONE:
            _step("tidy", tidy, bench, analysis_id)
            return outcome
        for destination in _step("encoded", _encoded, bench, analysis_id):
            enqueue(analysis_id, attempt, destination, 1, 0.0)
        return outcome


def _step(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function as a step; a ledger that is away is waited for, about an hour."""
    options: StepOptions = {
        "name": f"{name}.v1",
        "retries_allowed": True,
        "interval_seconds": 1.0,
        "backoff_rate": 2.0,
        "max_attempts": 12,
        "should_retry": lambda error: isinstance(error, LedgerUnavailable),
    }
    return DBOS.run_step(options, function, *args, **kwargs)


def _start(bench: Bench, analysis_id: AnalysisId) -> str:
    return start(bench, analysis_id).outcome.value


def _stage(bench: Bench, analysis_id: AnalysisId, name: str) -> str:
    return run_stage(bench, analysis_id, name).outcome.value


def _encoded(bench: Bench, analysis_id: AnalysisId) -> list[DestinationName]:
    """Close the making of objects; give up what a former configuration wanted to send."""
    destinations = bench.destinations(bench.ledger.analyses.get(analysis_id).order)
    finish_encoding(bench, analysis_id)
    for name in {d.destination for d in bench.ledger.deliveries.of(analysis_id)}:
        if name not in destinations:
            give_up(analysis_id, name, bench.ledger, bench.clock)
    return list(destinations)


def _send(flow: Flow, analysis_id: AnalysisId, destination: DestinationName) -> str:
    bench, peer = flow.bench, flow.peers.get(destination)
    lane = send_open(analysis_id, destination, peer, bench.spool, bench.ledger, bench.clock)
    return lane.value


def _close(bench: Bench, analysis_id: AnalysisId) -> None:
    destinations = bench.wanted(bench.ledger.analyses.get(analysis_id).order)
    close_analysis(analysis_id, destinations, bench.ledger, bench.clock)
    tidy(bench, analysis_id)
