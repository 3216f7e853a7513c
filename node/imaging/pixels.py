"""Grey values of the frames of one data set (PS3.3 C.7.6.3, C.11.1, C.7.6.16.2.9)."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from pydicom import Dataset
from pydicom.encaps import generate_fragments
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from node.domain.errors import UndecodablePixels
from node.domain.header import Header
from node.imaging.codestreams import coded_pixels
from node.imaging.volume import Array

PLUGINS: Final[Mapping[str, str]] = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    RLELossless: "pydicom",
}
"""Decoders of the syntaxes that pylibjpeg is not for."""

GREY: Final = ("MONOCHROME1", "MONOCHROME2")


def check_grey(header: Header) -> None:
    """Raise UndecodablePixels for images in colour; what is not said counts as one sample."""
    if header.samples_per_pixel not in (1, None) or header.photometric_interpretation not in GREY:
        raise UndecodablePixels("The images are in colour or screenshots, not grey values.")


def grey_frames(dataset: Dataset) -> Iterator[Array]:
    """Yield the frames, (rows, columns) float32, after rescale slope and intercept.

    MONOCHROME1 is turned round, so that bright is always high. Raises UndecodablePixels.
    """
    turned = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    padding = _padding(dataset)
    for number, frame in enumerate(stored_frames(dataset)):
        values = _turn_round(dataset, frame) if turned else frame
        if padding is not None:
            values = _without_padding(values, frame == padding, turned=turned)
        yield _scaled(values, *_rescale(dataset, number))


def stored_frames(dataset: Dataset) -> Array:
    """Decode to (frames, rows, columns), values as stored; not to be written to.

    Raises UndecodablePixels when there are no pixels, when they are not of the length that the
    header says, and whatever else is wrong with them: a broken image may fail in any way.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_codestreams(dataset)
            plugin = _plugin(dataset.file_meta.TransferSyntaxUID)
            stored = pixel_array(dataset, raw=True, view_only=True, decoding_plugin=plugin)
            expected, spare = int(dataset.get("NumberOfFrames") or 1), _spare_bytes(dataset)
    except (MemoryError, UndecodablePixels):
        raise
    except Exception as error:
        syntax = dataset.file_meta.get("TransferSyntaxUID", "unknown")
        raise UndecodablePixels(
            f"The pixel data of transfer syntax {syntax} cannot be decoded."
        ) from error
    frames = stored if stored.ndim == 3 else stored[np.newaxis]
    if len(frames) != expected:  # pydicom takes more frames where there are more bytes
        raise UndecodablePixels(f"The pixel data hold {len(frames)} frames, not {expected}.")
    if spare >= frames.shape[2] * frames.itemsize:  # a row: Rows or Columns are not right
        raise UndecodablePixels("The pixel data are longer than the matrix that the header says.")
    return frames


def _plugin(syntax: UID) -> str:
    """Return the decoder of a transfer syntax; "" for what is not compressed.

    Named, because pydicom else goes on to whatever is installed, and GDCM ends the process on
    some images that the others refuse.
    """
    if not syntax.is_encapsulated:
        return ""
    return PLUGINS.get(syntax, "pylibjpeg")


def _without_padding(values: Array, padded: Array, *, turned: bool) -> Array:
    """Give padding the value of air: 0, and where black was white the least that there is."""
    rest = values[~padded]
    air = rest.min() if turned and rest.size else 0
    return np.where(padded, air, values)


def _check_codestreams(dataset: Dataset) -> None:
    """Raise UndecodablePixels for a compressed frame that would decode to more than it should."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    expected = int(dataset.Rows) * int(dataset.Columns)
    for fragment in generate_fragments(dataset.PixelData):
        if coded_pixels(fragment) > expected:
            raise UndecodablePixels("A compressed image is larger than its Rows and Columns.")


def _spare_bytes(dataset: Dataset) -> int:
    """How much longer native pixel data are than the frames in them; a pad byte is usual."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in dataset:
        return 0
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated)
    return len(dataset.PixelData) - int(dataset.get("NumberOfFrames") or 1) * bits // 8


def _scaled(values: Array, slope: float, intercept: float) -> Array:
    """Apply the rescale, float32. Raises UndecodablePixels for NaN and infinite values."""
    if slope == 1.0 and intercept == 0.0 and values.dtype.kind in "iu":
        return values.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values * slope + intercept).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise UndecodablePixels("The images hold values that are no numbers (NaN or infinite).")
    return scaled


def _padding(dataset: Dataset) -> int | None:
    """Return the stored value of "no image here" when it is below all signal; it counts as 0.

    Other padding values cannot be told from signal in MR, where nothing is 0 as well.
    """
    try:
        value = int(dataset["PixelPaddingValue"].value)
    except (KeyError, TypeError, ValueError):
        return None
    return value if value < 0 else None


def _turn_round(dataset: Dataset, stored: Array) -> Array:
    """Exchange black and white within the range that Bits Stored allows."""
    if stored.dtype.kind == "f":
        return -stored
    span = (1 << int(dataset.BitsStored)) - 1
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    return (-1 if signed else span) - stored.astype(np.int64)


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    """Rescale slope and intercept of a frame; its functional group, the shared one, or the top."""
    source = _transformation(dataset, frame)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            slope = _number(source.get("RescaleSlope"), 1.0)
            intercept = _number(source.get("RescaleIntercept"), 0.0)
    except (TypeError, ValueError) as error:
        raise UndecodablePixels("Rescale Slope or Intercept is not a number.") from error
    if not np.isfinite([slope, intercept]).all() or slope == 0.0:
        raise UndecodablePixels("Rescale Slope or Intercept has no meaning.")
    return slope, intercept


def _number(value: Any, absent: float) -> float:
    return absent if value in (None, "") else float(value)


def _transformation(dataset: Dataset, frame: int) -> Dataset:
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *shared[:1]):
        found = groups.get("PixelValueTransformationSequence")
        if found:
            item: Dataset = found[0]
            return item
    return dataset
