"""`segnode work`: the executing half."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from node.analysis.bench import Bench, BundleShelf
from node.app.settings import Settings
from node.app.wiring import (
    CLOCK,
    SOFTWARE_VERSION,
    bundle_folders,
    ledger_of,
    peers_of,
    spool_of,
)
from node.domain.errors import ConfigurationInvalid
from node.jobs.executor import ExecutorOptions, executing
from node.jobs.queue import prepare_database
from node.jobs.workflows import Backoff, Flow
from node.segmentation.brains import choose_extractor


def work(settings: Settings, stop: threading.Event) -> None:
    """Execute analyses and deliveries until told to stop.

    Raises SpoolUnwritable, LedgerUnavailable, ConfigurationInvalid.
    """
    spool = spool_of(settings)
    with _the_only_one(settings):
        _limit_threads(settings)
        ledger = ledger_of(settings)
        prepare_database(settings.database_url)
        peers = peers_of(settings)
        bench = Bench(
            spool=spool,
            ledger=ledger,
            bundles=BundleShelf(bundle_folders(settings)),
            clock=CLOCK,
            software_version=SOFTWARE_VERSION,
            choose_extractor=choose_extractor,
            known_destinations=tuple(peers),
            overlay_thickness_mm=settings.overlay_thickness_mm,
        )
        flow = Flow(bench=bench, peers=peers, backoff=Backoff(**settings.retry.model_dump()))
        options = ExecutorOptions(
            executor_id=settings.executor_id,
            polling_s=settings.work.polling_s,
            analyses_at_once=settings.work.analyses_at_once,
        )
        with executing(flow, options):
            stop.wait()


def _limit_threads(settings: Settings) -> None:
    """Give numeric libraries the configured number of threads; 0 leaves them alone."""
    if settings.work.threads:
        import torch  # noqa: PLC0415 - heavy, and only this process needs it

        torch.set_num_threads(settings.work.threads)


@contextmanager
def _the_only_one(settings: Settings) -> Iterator[None]:
    """Hold a lock while executing on SQLite, where two executors could run a job twice."""
    if not settings.is_embedded:
        yield
        return
    path = settings.resolve(settings.spool) / "work.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = "another `segnode work` runs on this SQLite database"
            raise ConfigurationInvalid(message) from error
        yield
    finally:
        os.close(descriptor)
