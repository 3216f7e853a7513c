"""`segnode send` and `segnode archive`: the two ends of a C-STORE, for trying things out."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from node.app.cli.options import parse_peer
from node.app.cli.output import console


def send(
    folder: Annotated[Path, typer.Argument(help="Folder (or file) to send, with all below it.")],
    to: Annotated[str, typer.Option(help="Whom to send to: AE@host:port.")],
    calling: Annotated[str, typer.Option(help="Our AE title in this call.")] = "SEGNODE-SEND",
) -> None:
    """Send DICOM files by C-STORE, as a scanner would."""
    from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415

    from node.net.scu import send_files  # noqa: PLC0415

    peer = parse_peer(to, calling)
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    if not files:
        typer.echo(f"nothing to send in {folder}", err=True)
        raise typer.Exit(1)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console()) as bar:
        task = bar.add_task("sending", total=len(files))
        results = send_files(peer, files, on_sent=lambda _path, _status: bar.advance(task))
    failed = [result for result in results if result.status != 0]
    for result in failed:
        answer = result.error or f"status {result.status:#06x}"
        typer.echo(f"{result.path}: {answer}", err=True)
    typer.echo(f"{len(results) - len(failed)} of {len(results)} files accepted by {to}")
    if failed:
        raise typer.Exit(1)


def archive(
    folder: Annotated[Path, typer.Argument(help="Folder that received objects are written to.")],
    ae_title: Annotated[str, typer.Option(help="AE title.")] = "ARCHIVE",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 11113,
) -> None:
    """Run a small archive that stores what it gets in a folder; for trials, not for patients."""
    from node.app.cli.processes import stop_on_signals  # noqa: PLC0415
    from node.net.archive import FolderArchive  # noqa: PLC0415

    stop: threading.Event = stop_on_signals()
    running = FolderArchive(folder, ae_title=ae_title, host=host, port=port)
    running.start()
    typer.echo(f"archive {ae_title} listens on {host}:{running.port}")
    try:
        stop.wait()
    finally:
        running.stop()
