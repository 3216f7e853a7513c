"""`segnode work`: the executing half."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from node.analysis.bench import Bench, BundleShelf
from node.analysis.case import Tools
from node.analysis.workshop import ChildProcess, Workshop
from node.app.settings import Settings
from node.app.wiring import (
    CLOCK,
    SOFTWARE_VERSION,
    bundle_folders,
    ledger_of,
    peers_of,
    spool_of,
)
from node.domain.errors import BundleInvalid, BundleMissing, ConfigurationInvalid
from node.jobs.executor import ExecutorOptions, executing
from node.jobs.queue import prepare_database
from node.jobs.workflows import Backoff, Flow
from node.segmentation.brains import BrainOptions, Method
from node.segmentation.machine import measure_machine
from node.segmentation.parameters import HD_BET_FOLDER, verify_parameters

log = logging.getLogger(__name__)

HD_BET_CHECKPOINT = "fold_all/checkpoint_final.pth"


def work(settings: Settings, stop: threading.Event) -> None:
    """Execute analyses and deliveries until told to stop.

    Raises SpoolUnwritable, LedgerUnavailable, ConfigurationInvalid.
    """
    spool = spool_of(settings)
    with _the_only_one(settings), ChildProcess() as workshop:
        ledger = ledger_of(settings)
        prepare_database(settings.database_url)
        peers = peers_of(settings)
        bench = Bench(
            spool=spool,
            ledger=ledger,
            bundles=BundleShelf(bundle_folders(settings)),
            clock=CLOCK,
            software_version=SOFTWARE_VERSION,
            tools=tools_of(settings, workshop),
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


def tools_of(settings: Settings, workshop: Workshop) -> Tools:
    """Return what the heavy steps work with, as the configuration says."""
    options = settings.work
    return Tools(
        workshop=workshop,
        machine=partial(measure_machine, options.threads),
        brain=brain_options(settings),
        brain_limit_s=options.limits.brain_s,
        infer_limit_s=options.limits.infer_s,
    )


def brain_options(settings: Settings) -> BrainOptions:
    """Return how brains are found here."""
    options = BrainOptions(method=Method(settings.work.brain_method))
    parameters = hd_bet_parameters(settings)
    if parameters is None:
        return options
    return replace(options, hd_bet_folder=parameters[0], hd_bet_sha256=parameters[1])


def hd_bet_parameters(settings: Settings) -> tuple[Path, str] | None:
    """Return the folder of HD-BET's parameters and their checksum; None without sound ones."""
    folder = settings.resolve(settings.bundles[0]) / HD_BET_FOLDER
    try:
        return folder, verify_parameters(folder).files[HD_BET_CHECKPOINT]
    except BundleMissing:
        return None
    except (BundleInvalid, KeyError):
        log.warning("the parameters of HD-BET are damaged; fetch them again")
        return None


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
