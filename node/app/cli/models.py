"""`segnode models`: the bundles that this node can run."""

from pathlib import Path
from typing import Annotated

import typer

from node.app.cli.options import ConfigOption, settings_from

app = typer.Typer(help="List, verify and import bundles.", no_args_is_help=True)


@app.command("list")
def list_bundles(config: ConfigOption = None) -> None:
    """List the installed bundles: name, version, state, hash."""
    from node.app.wiring import bundle_folders  # noqa: PLC0415
    from node.segmentation.library import find_bundles  # noqa: PLC0415

    for found in find_bundles(bundle_folders(settings_from(config))):
        typer.echo(f"{found.name}  {found.version}  {found.status}  {found.sha256[:16]}")


@app.command("verify")
def verify(
    name: Annotated[str, typer.Argument(help="Name of a bundle.")], config: ConfigOption = None
) -> None:
    """Check a bundle's manifest and the checksum of every weight file."""
    from node.app.wiring import bundle_folders  # noqa: PLC0415
    from node.segmentation.bundle import open_bundle  # noqa: PLC0415
    from node.segmentation.library import find  # noqa: PLC0415

    bundle = open_bundle(find(name, bundle_folders(settings_from(config))))
    typer.echo(f"{name} {bundle.manifest.version} is whole, sha256 {bundle.sha256}")


@app.command("import")
def import_one(
    source: Annotated[Path, typer.Argument(help="Folder of a bundle or of published weights.")],
    config: ConfigOption = None,
) -> None:
    """Check a folder and install it as a bundle of this node."""
    from node.segmentation.importing import import_bundle  # noqa: PLC0415

    settings = settings_from(config)
    folder = settings.resolve(settings.bundles[0])
    folder.mkdir(parents=True, exist_ok=True)
    typer.echo(f"installed {import_bundle(source, folder)}")
