"""`segnode doctor`: every check that the configuration makes possible."""

from pathlib import Path

from node.app.settings import Settings, read_settings
from node.app.wiring import CLOCK, bundle_folders, ledger_of, peers_of, spool_of
from node.domain.errors import ConfigurationInvalid, SegnodeError
from node.operations.checks import (
    MIB,
    Finding,
    Grade,
    check_brain_methods,
    check_bundles,
    check_callers,
    check_certificate,
    check_database,
    check_destinations,
    check_machine,
    check_port,
    check_rules,
    check_spool,
)
from node.rules.files import RuleBook
from node.segmentation.machine import measure_machine


def examine(configuration: Path) -> tuple[Finding, ...]:
    """Check the configuration file and everything that it names; never raises for a fault."""
    try:
        settings = read_settings(configuration)
    except ConfigurationInvalid as error:
        return (Finding(check="configuration", grade=Grade.FAULT, text=error.what),)
    return (
        Finding(check="configuration", grade=Grade.OK, text=str(configuration)),
        check_port("DICOM port", settings.listen.host, settings.listen.port),
        check_callers(settings.listen.callers),
        *_tls(settings),
        check_port("HTTP port", settings.http.host, settings.http.port),
        _spool(settings),
        _database(settings),
        check_machine(measure_machine(settings.work.threads)),
        check_brain_methods(_brain_methods(settings)),
        *_rules_and_bundles(settings),
        *check_destinations(peers_of(settings)),
    )


def _tls(settings: Settings) -> tuple[Finding, ...]:
    options, tls = settings.tls_options, settings.listen.tls
    if options is None or tls is None:
        return ()
    return (
        check_port("DICOM TLS port", settings.listen.host, tls.port),
        check_certificate(options, CLOCK.now()),
    )


def _spool(settings: Settings) -> Finding:
    try:
        return check_spool(
            spool_of(settings),
            min_free_bytes=settings.overload.min_free_mib * MIB,
            min_free_inodes=settings.overload.min_free_inodes,
        )
    except SegnodeError as error:
        return Finding(check="spool", grade=Grade.FAULT, text=f"{error.what}. {error.remedy}")


def _database(settings: Settings) -> Finding:
    try:
        return check_database(ledger_of(settings))
    except SegnodeError as error:
        return Finding(check="database", grade=Grade.FAULT, text=f"{error.what}. {error.remedy}")


def _brain_methods(settings: Settings) -> frozenset[str]:
    from node.app.work import brain_options  # noqa: PLC0415 - heavy
    from node.segmentation.brains import methods_at_hand  # noqa: PLC0415

    return frozenset(methods_at_hand(brain_options(settings)))


def _rules_and_bundles(settings: Settings) -> tuple[Finding, ...]:
    from node.segmentation.bundle import open_bundle  # noqa: PLC0415 - heavy
    from node.segmentation.library import find  # noqa: PLC0415

    folder = settings.resolve(settings.rules)
    book = RuleBook(folder)
    rules = book.current()
    folders = bundle_folders(settings)

    def verified(name: str) -> str:
        manifest = open_bundle(find(name, folders)).manifest
        return f"version {manifest.version}, whole"

    return (
        check_rules(
            folder,
            tuple(book.errors().values()),
            {rule.name: rule.destinations for rule in rules},
            settings.destinations,
        ),
        *check_bundles({rule.name: rule.bundle for rule in rules}, verified),
    )
