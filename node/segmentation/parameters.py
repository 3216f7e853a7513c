"""Parameters of a step before the bundle, such as HD-BET's: a folder and its checksums.

They are no bundle: nothing but the step itself reads them. They lie beside the bundles, in a
folder whose name begins with a dot, together with a list of what was installed.
"""

import json
import shutil
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.bundle import file_sha256
from node.segmentation.importing import place
from node.segmentation.unpacking import unpack
from node.segmentation.upstream import Upstream, UpstreamFile, is_file_of

CHECKSUMS: Final = "checksums.json"

HD_BET: Final = "hd-bet"
"""Its name in the list of what can be fetched."""

HD_BET_FOLDER: Final = ".hd-bet-2"
"""Where its parameters lie in the first folder of bundles."""


class Installed(BaseModel):
    """What checksums.json says. archive: its checksum. files: path -> SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str
    licence: str
    archive: str
    files: dict[str, str]


def install_parameters(archive: Path, upstream: Upstream, checksum: str, destination: Path) -> Path:
    """Unpack an archive of parameters below destination and return their folder.

    checksum: of the archive. An older folder of the same name is replaced. Raises
    BundleInvalid when the archive is another one, is hostile or lacks a file; nothing is
    changed then.
    """
    (file,) = (file for file in upstream.files if file.unpacks)
    if not archive.is_file():
        raise BundleInvalid(f"{archive.name} absent")
    _check(archive, checksum)

    def fill(made: Path) -> None:
        # What is unpacked is a copy that nobody else writes to, and that is what counts.
        copy = made.parent / "carried" / archive.name
        copy.parent.mkdir()
        shutil.copyfile(archive, copy)
        _check(copy, checksum)
        _fill(made, copy, file, upstream, checksum)

    return place(folder_name(upstream.name), destination, fill, archive.name)


def folder_name(name: str) -> str:
    """Return how the folder of some parameters is called."""
    return HD_BET_FOLDER if name == HD_BET else f".{name}"


def verify_parameters(folder: Path) -> Installed:
    """Check every file of parameters against what was installed.

    To be called before they are loaded. Raises BundleMissing when there is no such folder,
    BundleInvalid when a file is absent or altered.
    """
    if not folder.is_dir():
        raise BundleMissing(f"there are no parameters {folder.name}")
    try:
        installed = Installed.model_validate_json((folder / CHECKSUMS).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleInvalid(f"{folder.name}: {CHECKSUMS} cannot be read") from error
    for name, digest in installed.files.items():
        if not (folder / name).is_file():
            raise BundleInvalid(f"{folder.name}: {name} absent")
        if not is_file_of(folder / name, digest):
            raise BundleInvalid(f"{folder.name}: {name} is not what was installed")
    return installed


def _check(archive: Path, checksum: str) -> None:
    if not is_file_of(archive, checksum):
        raise BundleInvalid(f"{archive.name} has not the checksum {checksum}")


def _fill(made: Path, archive: Path, file: UpstreamFile, upstream: Upstream, checksum: str) -> None:
    """Write the wanted files of an archive, and what they are."""
    everything = made / "unpacked"
    unpack(archive, everything)
    for name in file.unpacks:
        if not (everything / name).is_file():
            raise BundleInvalid(f"{archive.name}: {name} is not in it")
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (everything / name).rename(made / name)
    shutil.rmtree(everything)
    installed = Installed(
        name=upstream.name,
        source=upstream.source,
        licence=f"{upstream.licence.name}. {upstream.licence.notice}",
        archive=checksum,
        files={name: file_sha256(made / name) for name in file.unpacks},
    )
    (made / CHECKSUMS).write_text(json.dumps(installed.model_dump(), indent=2) + "\n")
