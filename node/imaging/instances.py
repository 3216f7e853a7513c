"""The files of a series: their headers, checked for what slices of one volume share."""

import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, dcmread

from node.dicom.attributes import from_bytes, layout
from node.dicom.elements import DEFLATED, MAX_INFLATED
from node.dicom.frames import PER_FRAME
from node.dicom.headers import read_header
from node.dicom.part10 import FileMeta, read_file_meta
from node.dicom.stack import is_tiled
from node.domain.errors import (
    MixedGeometry,
    NoGeometry,
    NotDicom,
    SpoolDamaged,
    TiledImages,
    UndecodablePixels,
)
from node.domain.header import Header
from node.imaging.marks import number_of_tiles
from node.imaging.pixels import check_grey

SPACING_RATIO: Final = 1e-4
"""Largest relative difference of Pixel Spacing within one volume."""

_MEASURES: Final = layout(
    "", {PER_FRAME: layout("", {"PixelMeasuresSequence": layout("PixelSpacing")})}
)
_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One file of a series and its header."""

    path: Path
    header: Header


def read_instances(paths: Sequence[Path]) -> tuple[Instance, ...]:
    """Read headers and check that they are of single slices and agree in what a volume shares.

    Raises TiledImages, UndecodablePixels, NoGeometry, MixedGeometry, MissingIdentifier,
    SpoolDamaged.
    """
    instances = tuple(Instance(path=path, header=header_of(path)) for path in paths)
    for instance in instances:
        _check_tiles(instance)
        check_grey(instance.header)
        _check_geometry(instance.header, instances[0].header)
    return instances


def header_of(path: Path) -> Header:
    """Read the header of a file. Raises UndecodablePixels, MissingIdentifier, SpoolDamaged."""
    with opened(path) as (content, meta):
        header = read_header(content, meta.transfer_syntax_uid, start=meta.offset)
        if header.number_of_frames > 1:
            top = from_bytes(content, meta.transfer_syntax_uid, _MEASURES, start=meta.offset)
            for frame in top.items.get(PER_FRAME, ()):
                _check_spacing(frame.item("PixelMeasuresSequence").numbers("PixelSpacing"), header)
        return header


@contextmanager
def opened(path: Path) -> Iterator[tuple[mmap, FileMeta]]:
    """Map a file and read its meta group. Raises SpoolDamaged, UndecodablePixels.

    Mapped, so that no more of it is read than is looked at.
    """
    try:
        with path.open("rb") as source:
            meta = read_file_meta(source)
            with mmap(source.fileno(), 0, access=ACCESS_READ) as content:
                yield content, meta
    except OSError as error:
        raise SpoolDamaged("A file of the series cannot be read from the spool.") from error
    except NotDicom as error:
        raise UndecodablePixels(f"A file of the series is damaged: {error.what}.") from error


def data_set_of(instance: Instance) -> Dataset:
    """Read the whole file. Raises UndecodablePixels, SpoolDamaged."""
    _check_length(instance)
    try:
        with warnings.catch_warnings():
            # Every second scanner writes values that are longer than they may be.
            warnings.simplefilter("ignore")
            return dcmread(instance.path)
    except OSError as error:
        raise SpoolDamaged("A file of the series cannot be read from the spool.") from error
    except MemoryError:
        raise
    except Exception as error:
        raise UndecodablePixels("A file of the series is not in the DICOM format.") from error


def _check_length(instance: Instance) -> None:
    """Refuse a file that is much longer than its images, before it is in memory."""
    header = instance.header
    pixels = (header.rows or 0) * (header.columns or 0) * header.number_of_frames
    limit = pixels * (header.bits_allocated or 0) // 8 + MAX_INFLATED
    with opened(instance.path) as (content, meta):
        deflated = header.transfer_syntax_uid in DEFLATED
        length = _inflated_length(content, meta.offset, limit) if deflated else len(content)
    if length > limit:
        raise UndecodablePixels("A file holds much more than the images of its header.")


def _inflated_length(content: mmap, start: int, limit: int) -> int:
    """Count inflated bytes until they are over a limit, keeping none of them."""
    inflater, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with suppress(zlib.error):  # whoever reads the file will say so
        for position in range(start, len(content), _PIECE):
            piece = content[position : position + _PIECE]
            while piece and length <= limit:
                length += len(inflater.decompress(piece, _PIECE))
                piece = inflater.unconsumed_tail
    return length


def _check_tiles(instance: Instance) -> None:
    if not is_tiled(instance.header):
        return
    with opened(instance.path) as (content, meta):
        tiles = number_of_tiles(content, meta.transfer_syntax_uid, start=meta.offset)
    many = "many" if tiles is None else str(tiles)
    raise TiledImages(f"The series is no volume: {many} slices as tiles in each image.")


def _check_geometry(header: Header, first: Header) -> None:
    if not header.rows or not header.columns or not header.pixel_spacing:
        raise NoGeometry("Rows, Columns or Pixel Spacing is absent.")
    if min(header.pixel_spacing) <= 0.0:
        raise NoGeometry("Pixel Spacing is not positive.")
    if len(header.planes) != header.number_of_frames:
        raise NoGeometry(
            f"{len(header.planes)} of {header.number_of_frames} frames say where they lie."
        )
    if (header.rows, header.columns) != (first.rows, first.columns):
        raise MixedGeometry(
            f"Slices of {first.rows}x{first.columns} and of {header.rows}x{header.columns} pixels."
        )
    _check_spacing(header.pixel_spacing, first)
    if header.frame_of_reference_uid != first.frame_of_reference_uid:
        raise MixedGeometry("Slices of different Frame of Reference UID.")


def _check_spacing(spacing: Sequence[float], first: Header) -> None:
    expected = first.pixel_spacing or ()
    if len(spacing) == len(expected) and not np.allclose(
        spacing, expected, rtol=SPACING_RATIO, atol=0.0
    ):
        raise MixedGeometry("Slices of different Pixel Spacing.")
