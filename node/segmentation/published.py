"""Make the weights of a bundle of the files that its authors published.

They are copied as they are, or converted from TensorFlow's checkpoints; every file is held
against the checksum of our list before, and what comes of it against our manifest after.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid
from node.segmentation.bundle import check_manifest
from node.segmentation.checkpoint_tf import read_checkpoint
from node.segmentation.manifest import Manifest
from node.segmentation.upstream import (
    Conversion,
    Offer,
    Upstream,
    UpstreamFile,
    is_file_of,
)

ALIGNMENT: Final = 8
"""Of the arrays in a safetensors file: its header is filled up with spaces."""

OUR_PART: Final = (
    "The manifest, the card and the list of sources in this folder are Copyright The Segnode\n"
    "authors, Apache-2.0.\n"
)


def recognise(source: Path, offers: Mapping[str, Offer]) -> Offer | None:
    """Return the bundle whose published files lie in a folder.

    One file with a right checksum is enough; else files by the names of checkpoints or
    arrays that only one bundle has, so that an altered one is named and not overlooked.
    """
    likely: Offer | None = None
    for offer in offers.values():
        if not offer.is_bundle:
            continue
        known = _known(offer.upstream, check_manifest(offer.folder))
        there = {path: found for path in known if (found := locate(source, path))}
        if any(is_file_of(found, known[path]) for path, found in there.items()):
            return offer
        if there and offer.upstream.conversions and likely is None:
            likely = offer
    return likely


def add_published(source: Path, offer: Offer, made: Path) -> None:
    """Put weights and licence of an offer's files in source into the bundle folder made.

    source: holds the published files, or the arrays that were converted of them. Raises
    BundleInvalid when one is absent or is not the published one.
    """
    upstream, weights = offer.upstream, check_manifest(offer.folder).weights
    arrays = {
        conversion.becomes: weights[conversion.becomes] for conversion in upstream.conversions
    }
    if any(locate(source, name) for name in arrays):
        for name, digest in arrays.items():
            _copy(_published(source, name, digest), made / name)
    else:
        for file in upstream.files:
            if file != upstream.licence_file:
                _add_file(source, file, made)
        for conversion in upstream.conversions:
            _convert(source, conversion, made)
    _add_licence(source, upstream, made)


def locate(source: Path, path: str) -> Path | None:
    """Return a published file in a folder: where its publisher has it, or at the top."""
    for candidate in (source / path, source / PurePosixPath(path).name):
        if candidate.is_file():
            return candidate
    return None


def to_safetensors(arrays: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]) -> bytes:
    """Return arrays as a safetensors file, the same bytes for the same input.

    The package's own writer puts metadata into an order that differs from run to run.
    Source: the format's description at github.com/huggingface/safetensors.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    contents = (np.ascontiguousarray(array, dtype="<f4").tobytes() for array in arrays.values())
    return len(text).to_bytes(8, "little") + text + b"".join(contents)


def _known(upstream: Upstream, manifest: Manifest) -> dict[str, str]:
    """Files by which a bundle is known, with their checksums."""
    files = (file for file in upstream.files if file != upstream.licence_file and file.checksum)
    return {**{file.path: file.checksum or "" for file in files}, **manifest.weights}


def _published(source: Path, path: str, digest: str) -> Path:
    found = locate(source, path)
    if found is None:
        raise BundleInvalid(f"{source.name}: {PurePosixPath(path).name} absent")
    if not is_file_of(found, digest):
        raise BundleInvalid(f"{source.name}: {found.name} is not the published file")
    return found


def _add_file(source: Path, file: UpstreamFile, made: Path) -> None:
    found = _published(source, file.path, file.checksum or "")
    if file.becomes:
        _copy(found, made / file.becomes)


def _convert(source: Path, conversion: Conversion, made: Path) -> None:
    """Read a checkpoint and write its arrays, without the state of its training."""
    index = locate(source, f"{conversion.checkpoint}.index")
    if index is None:
        raise BundleInvalid(f"{source.name}: {conversion.checkpoint}.index absent")
    arrays = read_checkpoint(
        index.with_suffix(""), lambda name: name.rpartition("/")[2] in conversion.keep
    )
    target = made / conversion.becomes
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(to_safetensors(arrays, conversion.metadata))


def _add_licence(source: Path, upstream: Upstream, made: Path) -> None:
    """Put the authors' licence in the place of ours, or at least say which it is."""
    file, licence = upstream.licence_file, upstream.licence
    if file is None:
        return
    names = [name for name in (file.path, *licence.also) if locate(source, name)]
    if names:
        _copy(_published(source, names[0], file.checksum or ""), made / "LICENSE")
    else:
        text = f"SPDX-License-Identifier: {licence.name}\n\n{licence.notice}\n\n{OUR_PART}"
        (made / "LICENSE").write_text(text, encoding="utf-8")


def _copy(found: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, target)
