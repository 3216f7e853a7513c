"""`segnode phantom`: a synthetic head study as DICOM files."""

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder to write the series to.")],
    seed: Annotated[int, typer.Option(help="Same seed, same head.")] = 0,
    salt: Annotated[str, typer.Option(help="Another salt, other UIDs.")] = "",
) -> None:
    """Write a synthetic head study with a glioma of known shape."""
    from node.phantom.head import make_head  # noqa: PLC0415
    from node.phantom.study import write_study  # noqa: PLC0415

    written = write_study(make_head(seed), folder, salt=salt)
    typer.echo(f"wrote {len(written.files)} images of study {written.study_instance_uid}")
