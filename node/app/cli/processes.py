"""`segnode run`, `serve`, `work` and `doctor`."""

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from node.app.cli.options import ConfigOption, settings_from


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run(config: ConfigOption = None) -> None:
    """Run the node: both halves, watched over."""
    from node.app.run import run as run_both  # noqa: PLC0415
    from node.app.settings import find_configuration  # noqa: PLC0415
    from node.domain.clock import SystemClock  # noqa: PLC0415
    from node.telemetry.logs import configure_logging  # noqa: PLC0415

    settings = settings_from(config)
    configure_logging(settings.log_level)
    path: Path = find_configuration(config).resolve()
    run_both(path, stop_on_signals(), SystemClock())


def serve(config: ConfigOption = None) -> None:
    """Run the receiving half: listener, completion, health and metrics."""
    from node.app.serve import serve as run_serve  # noqa: PLC0415
    from node.telemetry.logs import configure_logging  # noqa: PLC0415

    settings = settings_from(config)
    configure_logging(settings.log_level)
    run_serve(settings, stop_on_signals())


def work(config: ConfigOption = None) -> None:
    """Run the executing half: analyses and deliveries."""
    from node.app.work import work as run_work  # noqa: PLC0415
    from node.telemetry.logs import configure_logging  # noqa: PLC0415

    settings = settings_from(config)
    configure_logging(settings.log_level)
    run_work(settings, stop_on_signals())
    # A stage may still run in a thread. It is taken up again at the next start, so waiting for
    # it would only delay the stop.
    logging.shutdown()
    os._exit(0)


def doctor(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check configuration, ports, disk, database, rules, weights and every destination."""
    from node.app.doctor import examine  # noqa: PLC0415
    from node.app.settings import find_configuration  # noqa: PLC0415
    from node.operations.checks import Grade  # noqa: PLC0415

    findings = examine(find_configuration(config))
    if as_json:
        lines = [{"check": f.check, "grade": f.grade.value, "text": f.text} for f in findings]
        typer.echo(json.dumps(lines, indent=1))
    else:
        for finding in findings:
            typer.echo(f"{finding.grade.value:<5} {finding.check}: {finding.text}")
    if any(finding.grade is Grade.FAULT for finding in findings):
        raise typer.Exit(1)
