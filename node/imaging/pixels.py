"""Grey values of the frames of one data set (PS3.3 C.7.6.3, C.11.1, C.7.6.16.2.9)."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array

from node.domain.errors import UndecodablePixels
from node.imaging.volume import Array

GREY = ("MONOCHROME1", "MONOCHROME2")


def stored_frames(dataset: Dataset) -> Iterator[Array]:
    """Yield the frames, (rows, columns) float32, after rescale slope and intercept.

    MONOCHROME1 is turned round, so that bright is always high. Raises UndecodablePixels.
    """
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in GREY:
        raise UndecodablePixels("The images are in colour or screenshots, not grey values.")
    frames = _decode(dataset)
    turned = photometric == "MONOCHROME1"
    padding = _padding(dataset)
    for number, frame in enumerate(frames):
        slope, intercept = _rescale(dataset, number)
        stored = np.where(frame == padding, 0, frame) if padding is not None else frame
        values = _turn_round(dataset, stored) if turned else stored
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (values * slope + intercept).astype(np.float32)
        if not np.isfinite(scaled).all():
            raise UndecodablePixels("Rescale Slope or Intercept give no values that there can be.")
        yield scaled


def _decode(dataset: Dataset) -> Array:
    """(frames, rows, columns), stored values; a broken image may fail in any way."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = pixel_array(dataset, raw=True)
    except MemoryError:
        raise
    except Exception as error:
        syntax = dataset.file_meta.get("TransferSyntaxUID", "unknown")
        raise UndecodablePixels(
            f"The pixel data of transfer syntax {syntax} cannot be decoded."
        ) from error
    return stored if stored.ndim == 3 else stored[np.newaxis]


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
