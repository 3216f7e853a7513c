"""The two workflows. A workflow only puts steps in order; a step calls one function below.

Steps take and return ids and words, so a checkpoint is a few dozen bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from node.analysis.bench import Bench
from node.analysis.run import Outcome, finish_encoding, run_stage, start
from node.analysis.stages import STAGES
from node.delivery.send import Lane, close_analysis, give_up, send_open
from node.domain.ids import AnalysisId, DestinationName
from node.jobs.names import ANALYSE, DELIVER, DELIVERIES, delivery_workflow_id
from node.net.scu import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits between attempts to send: first_s, then factor times longer, at most longest_s."""

    first_s: float = 5.0
    factor: float = 2.0
    longest_s: float = 900.0
    attempts: int = 12

    def waits(self) -> tuple[float, ...]:
        """Return the wait in seconds after each failed attempt but the last."""
        return tuple(
            min(self.first_s * self.factor**i, self.longest_s) for i in range(self.attempts - 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the workflows work with. peers: where each destination's name leads."""

    bench: Bench
    peers: Mapping[DestinationName, Peer]
    backoff: Backoff


def register_workflows(flow: Flow) -> None:
    """Tell DBOS the workflows; call before launch."""
    bench = flow.bench

    @DBOS.workflow(name=DELIVER)
    def deliver(analysis_id: AnalysisId, destination: DestinationName) -> str:
        lane = Lane(_send(flow, analysis_id, destination))
        for wait_s in flow.backoff.waits():
            if lane is not Lane.OPEN:
                break
            DBOS.sleep(wait_s)
            lane = Lane(_send(flow, analysis_id, destination))
        if lane is Lane.OPEN:
            DBOS.run_step(
                {"name": "give-up.v1"}, give_up, analysis_id, destination, bench.ledger, bench.clock
            )
            lane = Lane.LOST
        DBOS.run_step({"name": "close.v1"}, close_analysis, analysis_id, bench.ledger, bench.clock)
        return lane.value

    @DBOS.workflow(name=ANALYSE)
    def analyse(analysis_id: AnalysisId, attempt: int) -> str:
        DBOS.run_step({"name": "start.v1"}, start, bench, analysis_id)
        for stage in STAGES:
            outcome = DBOS.run_step(
                {"name": f"{stage.name}.v1"}, _stage, bench, analysis_id, stage.name
            )
            if outcome != Outcome.DONE:
                return outcome
        DBOS.run_step({"name": "encoded.v1"}, finish_encoding, bench, analysis_id)
        destinations = bench.destinations(bench.ledger.analyses.get(analysis_id).order)
        if not destinations:
            DBOS.run_step(
                {"name": "close.v1"}, close_analysis, analysis_id, bench.ledger, bench.clock
            )
        for destination in destinations:
            workflow_id = delivery_workflow_id(analysis_id, attempt, destination)
            with SetWorkflowID(workflow_id), SetEnqueueOptions(queue_partition_key=destination):
                DBOS.enqueue_workflow(DELIVERIES, deliver, analysis_id, destination)
        return Outcome.DONE.value


def _stage(bench: Bench, analysis_id: AnalysisId, name: str) -> str:
    return run_stage(bench, analysis_id, name).outcome.value


def _send(flow: Flow, analysis_id: AnalysisId, destination: DestinationName) -> str:
    def step() -> str:
        bench = flow.bench
        peer = flow.peers[destination]
        lane = send_open(analysis_id, destination, peer, bench.spool, bench.ledger, bench.clock)
        return lane.value

    return DBOS.run_step({"name": "send.v1"}, step)
