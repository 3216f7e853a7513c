"""Volumes on disk between the steps of an analysis: safetensors, so no pickle.

A file is written under a temporary name, fsynced and renamed, so that a reader after a power
cut finds the whole volume or none.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from node.domain.errors import SpoolDamaged, SpoolUnwritable
from node.domain.ids import Sha256
from node.imaging.volume import Grid, Volume

ARRAY = "array"
MASK = "mask"
"""Name of the array when it is bool, which is written as uint8."""
AFFINE = "affine"
FRAME = "frame_of_reference_uid"
HEADER_LENGTH_BYTES = 8


def save_volume(volume: Volume, path: Path) -> Sha256:
    """Write a volume durably and return the SHA-256 of the file.

    The same volume always gives the same bytes. Raises SpoolUnwritable.
    """
    is_mask = volume.array.dtype == np.bool_
    array = volume.array.view(np.uint8) if is_mask else volume.array
    content = save(
        {
            MASK if is_mask else ARRAY: np.ascontiguousarray(array),
            AFFINE: np.ascontiguousarray(volume.grid.affine),
        },
        metadata={FRAME: volume.grid.frame_of_reference_uid},
    )
    write_durably(path, content)
    return Sha256(hashlib.sha256(content).hexdigest())


def write_durably(path: Path, content: bytes) -> None:
    """Write, fsync and rename into place. Raises SpoolUnwritable."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SpoolUnwritable(f"An artefact could not be written: {error.strerror}.") from error


def load_volume(path: Path, *, sha256: Sha256 | None = None) -> Volume:
    """Read a volume.

    Raises SpoolDamaged when the file is gone, is none, or has not the expected hash.
    """
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise SpoolDamaged("A volume in the spool is not what was written.")
        return _parse(content)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise SpoolDamaged("A volume in the spool is gone or damaged.") from error


def _parse(content: bytes) -> Volume:
    tensors = load(content)
    length = int.from_bytes(content[:HEADER_LENGTH_BYTES], "little")
    header = json.loads(content[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    array = tensors[MASK].astype(np.bool_) if MASK in tensors else tensors[ARRAY]
    grid = Grid(
        shape=array.shape,
        affine=tensors[AFFINE],
        frame_of_reference_uid=header["__metadata__"][FRAME],
    )
    return Volume(array=array, grid=grid)
