"""Bring a bundle into a folder of bundles: whole, checked and in one step, or not at all."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.bundle import check_manifest, file_sha256, verify
from node.segmentation.manifest import METADATA, Manifest
from node.segmentation.options import CASCADE_WEIGHTS

PUBLISHED_LICENCE: Final = "LICENSE.taigw-brats17.txt"
PUBLISHED_LICENCE_SHA256: Final = "57bc27c3d008283a68b6b774332f39da1d1aab052235286cb4796f57f4426f70"
"""Of the licence text of github.com/taigw/brats17, which must go with the weights."""

CASCADE_BUNDLE: Final = "ca-cnn-brats17"

PLACE_TEMPLATES: Final = (
    Path(__file__).parents[1] / "defaults" / "models",  # in the installed package
    Path(__file__).parents[2] / "models",  # in a checkout
)
"""Where our manifests and cards of models with separate weights lie."""


def import_bundle(source: Path, destination: Path) -> Path:
    """Copy the bundle in source into the folder destination and return its new folder.

    source: a bundle folder, or the nine published CA-CNN arrays with their licence, which
    become the bundle `ca-cnn-brats17`. An older bundle of the same name is replaced. Raises
    BundleInvalid when anything is incomplete or altered (destination is then untouched),
    BundleMissing when source is no folder.
    """
    if not source.is_dir():
        raise BundleMissing(f"there is no folder {source.name}")
    published = not (source / METADATA).is_file()
    if published and not any((source / name).is_file() for name in CASCADE_WEIGHTS):
        raise BundleInvalid(f"{source.name}: neither {METADATA} nor the CA-CNN arrays are there")
    if not published:
        _refuse_links(source)
    origin = template_folder(CASCADE_BUNDLE) if published else source
    manifest = check_manifest(origin) if published else verify(origin)
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".import-") as temporary:
        made = Path(temporary) / manifest.name
        try:
            _copy(origin, made)
            if published:
                _add_published(source, made, manifest)
            verify(made)  # what lies here now, not what was read
            return _put(made, destination / manifest.name, Path(temporary) / "replaced")
        except OSError as error:
            raise BundleInvalid(f"{source.name} cannot be copied: {error.strerror}") from error


def template_folder(name: str) -> Path:
    """Return the folder of our manifest and card for a model whose weights come separately."""
    for folder in PLACE_TEMPLATES:
        if (folder / name / METADATA).is_file():
            return folder / name
    raise BundleMissing(f"the manifest of {name} is not part of this installation")


def _add_published(source: Path, made: Path, manifest: Manifest) -> None:
    """Copy the arrays and the licence of their authors; refuse what is not as published."""
    expected = {Path(name).name: digest for name, digest in manifest.weights.items()}
    for name, digest in {**expected, PUBLISHED_LICENCE: PUBLISHED_LICENCE_SHA256}.items():
        if not (source / name).is_file():
            raise BundleInvalid(f"{source.name}: {name} absent")
        if file_sha256(source / name) != digest:
            raise BundleInvalid(f"{source.name}: {name} is not the published file")
    (made / "models").mkdir(exist_ok=True)
    for name in expected:
        shutil.copyfile(source / name, made / "models" / name)
    shutil.copyfile(source / PUBLISHED_LICENCE, made / "LICENSE")


def _copy(origin: Path, made: Path) -> None:
    """Copy files, not their permissions: a read-only source must not stop the import."""
    for path in sorted(p for p in origin.rglob("*") if p.is_file()):
        target = made / path.relative_to(origin)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _refuse_links(folder: Path) -> None:
    """Links would let a bundle name files outside itself, or change after it was checked."""
    if any(path.is_symlink() for path in folder.rglob("*")):
        raise BundleInvalid(f"{folder.name}: a bundle must not hold symbolic links")


def _put(made: Path, final: Path, aside: Path) -> Path:
    """Sync made to disk and rename it to final; an older final goes aside and is deleted."""
    for path in made.rglob("*"):
        _sync(path)
    _sync(made)
    if final.exists():
        final.rename(aside)
    made.rename(final)
    _sync(final.parent)
    return final


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
