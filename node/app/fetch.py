"""Get the weights of a model: from its publisher, or from files that were carried here."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from node.domain.errors import BundleInvalid, BundleMissing, DownloadFailed
from node.net.download import DEFAULTS, DownloadOptions, download
from node.segmentation.importing import import_published, workplace
from node.segmentation.parameters import install_parameters
from node.segmentation.published import locate
from node.segmentation.upstream import (
    CHECKSUM,
    Offer,
    Upstream,
    UpstreamFile,
    is_file_of,
)

Progress = Callable[[str, int, int | None], None]
"""Told the name of a file, the bytes had and the bytes in all, where they are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an administrator asks for.

    given: a file, or a folder of files, that were carried here; None downloads. checksum: of
    the one file whose checksum our list does not know, as SHA-256 or "md5:" and an MD5.
    """

    offer: Offer
    given: Path | None = None
    checksum: str = ""


def fetch(
    wish: Wish,
    destination: Path,
    options: DownloadOptions = DEFAULTS,
    on_progress: Progress = lambda _name, _done, _total: None,
) -> Path:
    """Fetch, check and install, and return the folder that was made below destination.

    Everything happens in a folder beside the result, which gets its name at the end; what was
    there before stays until then. Raises DownloadFailed when a file cannot be had or is not
    the published one, BundleInvalid when what was carried here is not.
    """
    offer = with_checksum(wish.offer, wish.checksum)
    try:
        with workplace(destination) as work:
            if wish.given is not None:
                return _install(offer, _carried(offer.upstream, wish.given, work), destination)
            for file in offer.upstream.files:
                _download(offer.upstream, file, work, options, on_progress)
            return _install(offer, work, destination)
    except OSError as error:
        raise DownloadFailed(
            f"{offer.upstream.name} cannot be written to {destination.name}: {error.strerror}"
        ) from error


def with_checksum(offer: Offer, checksum: str) -> Offer:
    """Return the offer with the checksum that the administrator names, where one is missing.

    A file is never trusted because it came. Raises DownloadFailed when a checksum is missing,
    malformed, or named although it is known.
    """
    upstream = offer.upstream
    unknown = [file for file in upstream.files if file.checksum is None]
    if not unknown:
        if checksum:
            raise DownloadFailed(f"the checksums of {upstream.name} are known; name none")
        return offer
    if not checksum:
        raise DownloadFailed(
            f"nothing is trusted because it came, and no checksum of {unknown[0].name} is known "
            f"here; read it at {upstream.source} and name it: --checksum md5:… or sha256:…"
        )
    text = checksum.lower().removeprefix("sha256:")
    if not re.fullmatch(CHECKSUM, text):
        raise DownloadFailed(f"{checksum!r} is neither sha256: with 64 nor md5: with 32 digits")
    files = tuple(
        file.model_copy(update={"checksum": text}) if file is unknown[0] else file
        for file in upstream.files
    )
    return replace(offer, upstream=upstream.model_copy(update={"files": files}))


def unusual_files(offer: Offer, folder: Path) -> tuple[str, ...]:
    """Return those installed files that differ from what others saw under their name."""
    seen = [pair for file in offer.upstream.files for pair in file.unpacks.items()]
    return tuple(name for name, digest in seen if digest and not is_file_of(folder / name, digest))


def _download(
    upstream: Upstream,
    file: UpstreamFile,
    folder: Path,
    options: DownloadOptions,
    on_progress: Progress,
) -> None:
    """Fetch one file and check it at once."""
    target = folder / file.name
    download(
        upstream.url(file),
        target,
        most_bytes=file.most_bytes,
        options=options,
        on_progress=lambda done, total: on_progress(file.name, done, total or file.size),
    )
    if not is_file_of(target, file.checksum or ""):
        raise DownloadFailed(f"{file.name} from {upstream.base_url} is not the published file")


def _carried(upstream: Upstream, given: Path, folder: Path) -> Path:
    """Return the folder in which files that were carried here lie under their own names."""
    if given.is_dir():
        return given
    if not given.is_file():
        raise BundleMissing(f"there is no file or folder {given}")
    parts = [file for file in upstream.files if file != upstream.licence_file]
    if len(parts) > 1:
        raise BundleInvalid(f"{upstream.name} is {len(parts)} files; name the folder that has them")
    (folder / parts[0].name).symlink_to(given.resolve())
    return folder


def _install(offer: Offer, files: Path, destination: Path) -> Path:
    """Make a bundle, or a folder of parameters, of files that are at hand."""
    if offer.is_bundle:
        return import_published(offer, files, destination)
    archive = next(file for file in offer.upstream.files if file.unpacks)
    found = locate(files, archive.path) or files / archive.name
    return install_parameters(found, offer.upstream, archive.checksum or "", destination)
