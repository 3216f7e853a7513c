"""Which bundles are installed, and in what state."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.domain.errors import BundleInvalid, BundleMissing
from node.domain.ids import BundleName, Sha256
from node.segmentation.bundle import bundle_sha256, check_manifest, verify
from node.segmentation.manifest import METADATA


class BundleStatus(StrEnum):
    """Whether a bundle can be used."""

    READY = "ready"
    WEIGHTS_NOT_INSTALLED = "weights not installed"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSummary:
    """One bundle folder. problem: why it is not READY, else "".

    One whose manifest cannot be used is named after its folder and has no version; sha256 is
    empty where a file cannot be read.
    """

    name: BundleName
    version: str
    sha256: Sha256
    status: BundleStatus
    problem: str
    description: str
    licence: str
    folder: Path


def find_bundles(folders: Iterable[Path]) -> tuple[BundleSummary, ...]:
    """Describe every bundle in folders, in their order; a folder that is not there has none.

    A folder counts as a bundle when it has a configs/metadata.json.
    """
    return tuple(
        _summary(path)
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if _is_bundle(path)
    )


def find(name: str, folders: Iterable[Path]) -> Path:
    """Return the folder of the first usable bundle called name.

    Raises BundleMissing if there is none (or only one without weights), BundleInvalid if all
    that bear the name are damaged.
    """
    named = [bundle for bundle in find_bundles(folders) if bundle.name == name]
    for status in BundleStatus:
        for bundle in named:
            if bundle.status is not status:
                continue
            if status is BundleStatus.READY:
                return bundle.folder
            if status is BundleStatus.INVALID:
                raise BundleInvalid(bundle.problem)
            raise BundleMissing(bundle.problem)
    raise BundleMissing(f"no bundle is called {name}")


def _is_bundle(path: Path) -> bool:
    try:
        return (path / METADATA).is_file()
    except OSError:  # we may not look into it, which its summary says
        return True


def _summary(folder: Path) -> BundleSummary:
    """Verify one folder and say what came of it; a damaged one never hides the others."""
    status, problem = BundleStatus.READY, ""
    manifest, digest = None, Sha256("")
    try:
        manifest = check_manifest(folder)
        digest = bundle_sha256(folder)
        verify(folder)
    except BundleMissing as error:
        status, problem = BundleStatus.WEIGHTS_NOT_INSTALLED, error.what
    except BundleInvalid as error:
        status, problem = BundleStatus.INVALID, error.what
    except OSError as error:
        status, problem = BundleStatus.INVALID, f"{folder.name} cannot be read: {error.strerror}"
    return BundleSummary(
        name=manifest.name if manifest else BundleName(folder.name),
        version=manifest.version if manifest else "",
        sha256=digest,
        status=status,
        problem=problem,
        description=manifest.description if manifest else "",
        licence=manifest.licence if manifest else "",
        folder=folder,
    )
