"""`segnode segment`: four series in, labels out, without a node."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.app.cli.output import console
from node.domain.errors import BundleMissing, ConfigurationInvalid
from node.domain.regions import Role

if TYPE_CHECKING:
    from rich.progress import TaskID

    from node.app.segment import Report, Tell
    from node.app.settings import Settings
    from node.segmentation.bundle import Bundle

PREFERRED = ("ca-cnn-brats17", "intensity-glioma")
"""Which bundle is taken when none is named: the first that is ready."""


def segment(
    series: Annotated[
        list[str],
        typer.Argument(
            help="T1=PATH T1C=PATH T2=PATH FLAIR=PATH; a folder of DICOM, or a NIfTI file.",
            metavar="ROLE=PATH...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the answer.")],
    bundle: Annotated[str, typer.Option(help="Name of a bundle, or its folder.")] = "",
    reference: Annotated[
        Role, typer.Option(help="On whose grid the labels are to lie.")
    ] = Role.T1C,
    brain: Annotated[
        str, typer.Option(help="How the brain is found: auto, hd-bet, hd-bet-v1, deepbet.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A node.yaml, for its bundles; none is needed."),
    ] = None,
) -> None:
    """Segment one case: labels as NIfTI (and DICOM SEG), a picture and a JSON report."""
    inputs = parse_inputs(series)
    if reference not in inputs:
        message = f"the reference {reference} is not among the series"
        raise ConfigurationInvalid(message)
    settings = _settings(config, brain)

    from node.analysis.workshop import ChildProcess  # noqa: PLC0415
    from node.app.segment import Request, segment  # noqa: PLC0415
    from node.app.work import tools_of  # noqa: PLC0415

    with ChildProcess() as workshop:
        chosen = _bundle(bundle, settings)
        typer.echo(f"bundle {chosen.manifest.name} {chosen.manifest.version}")
        with _progress() as tell:
            report = segment(
                Request(inputs=inputs, reference=reference, out=out),
                chosen,
                tools_of(settings, workshop),
                tell,
            )
    _print(report, out)


def parse_inputs(words: list[str]) -> dict[Role, Path]:
    """Read ROLE=PATH. Raises ConfigurationInvalid."""
    found: dict[Role, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        role = next((role for role in Role if role.lower() == name.lower()), None)
        if not equals or not path or role is None:
            message = f"{word!r} is not of the form ROLE=PATH; roles are {', '.join(Role)}"
            raise ConfigurationInvalid(message)
        if role in found:
            message = f"{role} is given twice"
            raise ConfigurationInvalid(message)
        found[role] = Path(path)
    return found


def _settings(config: Path | None, brain: str) -> "Settings":
    """Return the configuration that is named, or the defaults; only bundles and brain count."""
    from pydantic import ValidationError  # noqa: PLC0415

    from node.app.settings import Settings, Work, read_settings  # noqa: PLC0415

    named = config or (
        Path(os.environ["SEGNODE_CONFIG"]) if "SEGNODE_CONFIG" in os.environ else None
    )
    settings = read_settings(named) if named else Settings(folder=Path.cwd())
    try:
        method = brain or settings.work.brain_method
        work = Work.model_validate({**settings.work.model_dump(), "brain_method": method})
    except ValidationError as error:
        message = f"there is no method {brain!r} to find the brain"
        raise ConfigurationInvalid(message) from error
    return settings.model_copy(update={"work": work})


def _bundle(name: str, settings: "Settings") -> "Bundle":
    """Return the bundle that is named, or the first preferred one that is ready."""
    from node.app.wiring import bundle_folders  # noqa: PLC0415
    from node.segmentation.bundle import open_bundle  # noqa: PLC0415
    from node.segmentation.library import find  # noqa: PLC0415

    if name and Path(name).is_dir():
        return open_bundle(Path(name))
    folders = bundle_folders(settings)
    if name:
        return open_bundle(find(name, folders))
    for preferred in PREFERRED:
        with suppress(BundleMissing):
            return open_bundle(find(preferred, folders))
    message = "no bundle is installed; `segnode models list` says what there is"
    raise BundleMissing(message)


@contextmanager
def _progress() -> "Iterator[Tell]":
    """Show the steps; in a terminal as bars that go."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:<9}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, part: float) -> None:
            if step not in tasks:
                for task in tasks.values():
                    bars.update(task, completed=1.0)
                    bars.stop_task(task)
                tasks[step] = bars.add_task(step, total=1.0)
            bars.update(tasks[step], completed=part)

        yield tell
        for task in tasks.values():
            bars.update(task, completed=1.0)


def _print(report: "Report", out: Path) -> None:
    from node.domain.measurement import describe  # noqa: PLC0415

    for line in describe(report.measurements):
        typer.echo(line)
    typer.echo(f"trust: {report.verdict.trust}")
    for finding in report.verdict.findings:
        typer.echo(f"  {finding.text} [{finding.code}]")
    seconds = sum(step.seconds for step in report.steps)
    typer.echo(f"{seconds:.1f} s; {', '.join(report.files)} in {out}")
    typer.echo("Research use only; every result needs a radiologist's review.")
