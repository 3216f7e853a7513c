"""The process that executes: one for each GPU or CPU box, exactly one on SQLite."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from dbos import DBOS, DBOSConfig

from node.domain.errors import SegnodeError
from node.jobs.names import (
    ANALYSES,
    APPLICATION,
    APPLICATION_VERSION,
    DELIVERIES,
    serializer,
)
from node.jobs.reconcile import reconcile
from node.jobs.workflows import Flow, register_workflows

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """executor_id: the same after every restart of this machine, unlike any other's.

    polling_s: how long enqueued work may go unnoticed. analyses_at_once: on this machine.
    beat_s and dead_after_s: heartbeat, and the silence after which others take over.
    """

    executor_id: str = "local"
    polling_s: float = 0.2
    analyses_at_once: int = 1
    beat_s: float = 10.0
    dead_after_s: float = 60.0


@contextmanager
def executing(flow: Flow, options: ExecutorOptions) -> Iterator[None]:
    """Execute what is queued while the context lasts, unfinished work of this id first."""
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_engine": flow.bench.ledger.engine,
        "application_version": APPLICATION_VERSION,
        "executor_id": options.executor_id,
        "serializer": serializer(),
        "log_level": "WARNING",
        "enable_otlp": False,
        # Nothing here waits for messages or events, and the listener's connection leaks.
        "use_listen_notify": False,
    }
    DBOS(config=config)
    register_workflows(flow)
    DBOS.launch()
    DBOS.register_queue(
        ANALYSES,
        worker_concurrency=options.analyses_at_once,
        polling_interval_sec=options.polling_s,
        on_conflict="always_update",
    )
    DBOS.register_queue(
        DELIVERIES,
        partition_concurrency=1,
        polling_interval_sec=options.polling_s,
        on_conflict="always_update",
    )
    stop = threading.Event()
    heart = threading.Thread(
        target=_beat_until, args=(stop, flow, options), name="heartbeat", daemon=True
    )
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        DBOS.destroy(destroy_registry=True)


def _beat_until(stop: threading.Event, flow: Flow, options: ExecutorOptions) -> None:
    """Say that this executor lives, and take over the work of those that do not."""
    while True:
        try:
            flow.bench.ledger.health.beat(options.executor_id, flow.bench.clock.now())
            take_over_from_the_dead(flow, options)
            reconcile(flow)
        except SegnodeError as error:
            log.warning("heartbeat failed: %s", error.what)
        except Exception:
            log.exception("heartbeat failed")
        if stop.wait(options.beat_s):
            return


def take_over_from_the_dead(flow: Flow, options: ExecutorOptions) -> tuple[str, ...]:
    """Resume the pending workflows of executors that have been silent too long.

    DBOS recovers only what an executor of the same id left; returns the workflow ids taken.
    """
    limit = flow.bench.clock.now() - timedelta(seconds=options.dead_after_s)
    taken: list[str] = []
    for other in flow.bench.ledger.health.executors():
        if other.executor_id == options.executor_id or other.beat_at >= limit:
            continue
        pending = DBOS.list_workflows(status="PENDING", executor_id=other.executor_id)
        for workflow in pending:
            DBOS.resume_workflow(workflow.workflow_id, queue_name=workflow.queue_name)
            taken.append(workflow.workflow_id)
        if pending:
            log.warning("took over %d workflows of executor %s", len(pending), other.executor_id)
    return tuple(taken)
