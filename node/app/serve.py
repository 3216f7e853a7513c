"""`segnode serve`: the receiving half. It stays small and never waits for the other half."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from node.app.entrance import Entrance, named_senders
from node.app.settings import Settings
from node.app.wiring import CLOCK, ledger_of, site_key, spool_of
from node.domain.errors import SegnodeError
from node.jobs.queue import AnalysisQueue, prepare_database
from node.net.door import more_descriptors
from node.operations.checks import (
    MIB,
    Grade,
    check_certificate,
    check_database,
    check_spool,
    finding_of,
)
from node.operations.collect import ledger_numbers
from node.rules.files import RuleBook
from node.store.ledger import Ledger
from node.store.spool import Spool
from node.studies.watch import Watch
from node.telemetry import metrics
from node.web.server import HttpServer, make_app


def serve(settings: Settings, stop: threading.Event) -> None:
    """Receive, judge and enqueue until told to stop.

    Raises SpoolUnwritable, LedgerUnavailable, ConfigurationInvalid.
    """
    more_descriptors()
    spool = spool_of(settings)
    spool.discard_unfinished()
    ledger = ledger_of(settings)
    prepare_database(settings.database_url)
    queue = AnalysisQueue(ledger)
    rules = RuleBook(settings.resolve(settings.rules))
    watch = Watch(ledger, rules, queue, CLOCK, site_key=site_key(spool))
    watcher = threading.Thread(target=watch.run, args=(stop,), name="completion")
    entrance = Entrance(settings, spool, ledger, on_settled=watch.wake)
    entrance.recover()  # before anything is judged by what is in the ledger
    numbers = ledger_numbers(ledger, CLOCK, senders=named_senders(settings))
    collector = metrics.observe_ledger(numbers)
    http = HttpServer(
        make_app(
            metrics.render,
            _faults(settings, spool, ledger, rules, entrance),
            stow=entrance.stow_routes(),
        ),
        settings.http.host,
        settings.http.port,
    )
    # Ended in the reverse order, also when one of them cannot start: a listener that goes on
    # alone would take images that nobody judges.
    with ExitStack() as started:
        started.callback(queue.close)
        started.callback(rules.close)
        started.callback(metrics.forget_ledger, collector)
        rules.watch()
        watcher.start()
        started.callback(watcher.join)
        started.callback(watch.wake)
        started.callback(stop.set)
        started.callback(entrance.stop)
        entrance.start()
        started.callback(http.stop)
        http.start()
        stop.wait()


def _faults(
    settings: Settings, spool: Spool, ledger: Ledger, rules: RuleBook, entrance: Entrance
) -> Callable[[], Sequence[str]]:
    def faults() -> Sequence[str]:
        findings = [
            check_database(ledger),
            finding_of("spool", lambda: f"mark of {len(site_key(spool))} bytes"),
            check_spool(spool, min_free_bytes=settings.min_free_mib * MIB),
        ]
        if settings.tls_options is not None:
            findings.append(check_certificate(settings.tls_options, CLOCK.now()))
        broken: Sequence[SegnodeError] = tuple(rules.errors().values())
        refusing = entrance.refusing()
        return [
            *(f"{f.check}: {f.text}" for f in findings if f.grade is not Grade.OK),
            *(f"rules: {error.what}" for error in broken),
            *([f"receiving: {refusing}"] if refusing is not None else []),
        ]

    return faults
