"""Bring a bundle into a folder of bundles: whole, checked and in one step, or not at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.adopting import Draft, draft_bundle, is_ours, refusal
from node.segmentation.bundle import check_manifest, verify
from node.segmentation.published import add_published, recognise
from node.segmentation.upstream import Offer, find_offers

WORK_PREFIX: Final = ".work-"
REPLACED: Final = "replaced"
"""Where in a workplace an older folder waits, under its own name."""

LEFT_BEHIND_S: Final = 86_400.0


def import_bundle(source: Path, destination: Path, *, manifest: Path | None = None) -> Path:
    """Copy the bundle in source into the folder destination and return its new folder.

    source: a bundle folder, or published files of a bundle that this installation knows (see
    `segnode models list`), such as the checkpoints of the CA-CNN; with manifest, a
    metadata.json with our key, also a MONAI bundle or an nnU-Net model folder. An older
    bundle of the same name is replaced. Raises BundleInvalid when anything is incomplete,
    altered or not understood (destination is then untouched), BundleMissing when source is
    no folder or lacks the weights.
    """
    if not source.is_dir():
        raise BundleMissing(f"there is no folder {source.name}")
    if manifest is not None:
        _refuse_links(source)
        draft = draft_bundle(source, manifest)
        return install(
            draft.manifest.name, destination, lambda made: _write(draft, made), source.name
        )
    if is_ours(source):
        _refuse_links(source)
        name = verify(source).name
        return install(name, destination, lambda made: _copy(source, made), source.name)
    offer = recognise(source, find_offers())
    if offer is None:
        raise BundleInvalid(refusal(source))
    return import_published(offer, source, destination)


def import_published(offer: Offer, source: Path, destination: Path) -> Path:
    """Make a bundle of its published files in source; errors as `import_bundle`."""
    name = check_manifest(offer.folder).name

    def fill(made: Path) -> None:
        _copy(offer.folder, made)
        add_published(source, offer, made)

    return install(name, destination, fill, source.name)


def install(name: str, destination: Path, fill: Callable[[Path], None], came_from: str) -> Path:
    """Have a bundle made in destination beside the others, check it and give it its name.

    fill: writes the bundle into the folder that it is told, which is not there yet.
    came_from: what to call the source in an error.
    """

    def fill_and_check(made: Path) -> None:
        fill(made)
        verify(made)  # what lies here now, not what was read

    return place(name, destination, fill_and_check, came_from)


def place(name: str, destination: Path, fill: Callable[[Path], None], came_from: str) -> Path:
    """Have a folder made and put it to destination/name in one step, or not at all.

    Whatever is there before stays until then. Raises BundleInvalid when it cannot be written.
    """
    try:
        with workplace(destination) as work:
            fill(work / name)
            return _put(work / name, destination / name, work / REPLACED / name)
    except OSError as error:
        raise BundleInvalid(f"{came_from} cannot be copied: {error.strerror}") from error


@contextmanager
def workplace(destination: Path) -> Iterator[Path]:
    """Give a folder for work in progress on destination's disk; it is gone in the end.

    Those that a killed process left behind a day ago or longer go with it; what it had put
    aside and not replaced comes back.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for left in destination.glob(f"{WORK_PREFIX}*"):
        with suppress(OSError):  # another process is done with it meanwhile
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_S:
                _bring_back(left, destination)
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=WORK_PREFIX) as name:
        yield Path(name)


def _bring_back(left: Path, destination: Path) -> None:
    """Give a folder that was put aside its place again, if nothing took it."""
    for old in (left / REPLACED).glob("*"):
        if not (destination / old.name).exists():
            old.rename(destination / old.name)


def _write(draft: Draft, made: Path) -> None:
    for name, content in draft.files.items():
        target = made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)


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
        aside.parent.mkdir()
        final.rename(aside)
    try:
        made.rename(final)
    except OSError:
        if aside.exists():
            aside.rename(final)
        raise
    _sync(final.parent)
    return final


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
