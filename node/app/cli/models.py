"""`segnode models`: the bundles that this node can run, and where to get more."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.app.cli.options import ConfigOption, settings_from

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from node.app.catalogue import ModelLine
    from node.segmentation.upstream import Offer

app = typer.Typer(help="List, verify, import and fetch models.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List what is installed and what can be fetched: version, state, licence, engine."""
    _print_lines(_lines(config), as_json=as_json)


@app.command("verify")
def verify(
    name: Annotated[str, typer.Argument(help="Name of a model; all of them without it.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check manifests and the checksum of every weight file; exit 1 if one is damaged.

    A model whose weights were never installed counts as damaged only when it is named.
    """
    from node.app.cli.output import console  # noqa: PLC0415
    from node.domain.errors import BundleMissing  # noqa: PLC0415
    from node.segmentation.library import BundleStatus  # noqa: PLC0415

    lines = [line for line in _lines(config) if not name or line.name == name]
    if not lines:
        raise BundleMissing(f"no bundle is called {name}")
    if as_json:
        _print_lines(lines, as_json=True)
    else:
        for line in lines:
            what = line.problem or f"whole, {line.sha256}"
            console().print(
                f"{line.name} {line.version}".strip() + ":", what, markup=False, soft_wrap=True
            )
    passing = {BundleStatus.READY} if name else set(BundleStatus) - {BundleStatus.INVALID}
    if any(line.state not in passing for line in lines):
        raise typer.Exit(1)


@app.command("import")
def import_one(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of a bundle, of published weights, or with --manifest of a MONAI "
            "bundle or nnU-Net model."
        ),
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="A metadata.json with the key `segnode`, for a model without one."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check a folder and install it as a bundle of this node."""
    from node.app.wiring import bundle_folders  # noqa: PLC0415
    from node.segmentation.importing import import_bundle  # noqa: PLC0415

    folder = bundle_folders(settings_from(config))[0]
    typer.echo(f"installed {import_bundle(source, folder, manifest=manifest)}")


@app.command("fetch")
def fetch_one(
    name: Annotated[str, typer.Argument(help="What to fetch; `segnode models list` shows it.")],
    given: Annotated[
        Path | None,
        typer.Option("--from", help="A file or folder that was carried here: no download."),
    ] = None,
    checksum: Annotated[
        str,
        typer.Option(
            "--checksum", help="sha256:… or md5:… of the file, where our list does not know it."
        ),
    ] = "",
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="The licence was read and is accepted.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Download the published weights of a model, check them and install them."""
    from node.app.fetch import Wish, fetch, unusual_files, with_checksum  # noqa: PLC0415
    from node.app.wiring import bundle_folders  # noqa: PLC0415
    from node.segmentation.upstream import find_offer  # noqa: PLC0415

    folder = bundle_folders(settings_from(config))[0]
    offer = find_offer(name)
    _show_licence(offer)
    if not accept_licence:
        typer.echo(f"nothing was fetched; to accept: segnode models fetch {name} --accept-licence")
        raise typer.Exit(1)
    with_checksum(offer, checksum)
    wish = Wish(offer=offer, given=given, checksum=checksum)
    with _progress() as shown:
        tasks: dict[str, TaskID] = {}

        def on_progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(file, total=total)
            shown.update(tasks[file], completed=done)

        made = fetch(wish, folder, on_progress=on_progress)
    for file in unusual_files(offer, made):
        typer.echo(
            f"note: {file} is not what others found there; was the checksum the publisher's?"
        )
    typer.echo(f"installed {made}")


def _lines(config: Path | None) -> "tuple[ModelLine, ...]":
    from node.app.catalogue import list_models as found  # noqa: PLC0415
    from node.app.wiring import bundle_folders  # noqa: PLC0415

    return found(bundle_folders(settings_from(config)))


def _print_lines(lines: "Iterable[ModelLine]", *, as_json: bool) -> None:
    if as_json:
        rows = [{**asdict(line), "folder": str(line.folder)} for line in lines]
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from node.app.cli.output import console  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "version", "state", "licence", "engine", "what to do"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for line in lines:
        todo = line.remedy
        if line.problem and line.state != "weights not installed":
            todo = f"{line.problem}; {line.remedy}"
        cells = (line.name, line.version, str(line.state), line.licence, line.engine, todo)
        table.add_row(*map(escape, cells))
    console().print(table)


def _show_licence(offer: "Offer") -> None:
    upstream = offer.upstream
    typer.echo(f"{upstream.name}, from {upstream.source}")
    typer.echo(f"licence: {upstream.licence.name}\n{upstream.licence.notice}\n")


def _progress() -> "Progress":
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    from node.app.cli.output import console  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console(stderr=True),
    )
