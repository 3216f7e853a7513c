"""The images that benchmarks send: classic MR of about 200 kB, the same ones for everybody."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset

from tests.support.dicom_objects import encode, mr_dataset, write_file

SIDE: Final = 316
"""Rows and columns: 316 x 316 x 2 bytes are 199,712."""

STUDY: Final = "1.2.826.0.1.3680043.10.9.77.1"
CALLING: Final = "BENCH"

PLACEHOLDER: Final = "1.2.826.0.1.3680043.10.9.77.3.10000000000000000000"
"""A SOP Instance UID that `Template` replaces by others of the same length."""


def write_corpus(folder: Path, *, images: int, parts: int) -> tuple[Path, ...]:
    """Write one study of so many images in `parts` series; return the folder of each series."""
    folders = tuple(folder / f"part{number}" for number in range(parts))
    for number, part in enumerate(folders):
        part.mkdir(parents=True)
        series = f"{STUDY}.{number + 1}"
        for index in range(images // parts):
            write_file(part / f"IM{index:05d}.dcm", an_image(index + 1, series, number + 1))
    return folders


def an_image(number: int, series: str, series_number: int) -> Dataset:
    """Return the data set of one slice with noise as pixels."""
    made = mr_dataset(
        number,
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=series,
        SOPInstanceUID=f"{series}.{number}",
        SeriesNumber=series_number,
        Rows=SIDE,
        Columns=SIDE,
        PixelData=noise(SIDE * SIDE * 2, seed=number),
    )
    made["PixelData"].VR = "OW"
    return made


def noise(size: int, *, seed: int) -> bytes:
    """Return bytes that no file system can compress; the same ones for a seed."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An encoded data set that becomes many by another SOP Instance UID, its bytes foreseeable."""

    encoded: bytes

    def data_set(self, uid: str) -> bytes:
        """Return the bytes of the instance with this UID."""
        if len(uid) != len(PLACEHOLDER):
            raise ValueError("the UID must be as long as the placeholder")
        return self.encoded.replace(PLACEHOLDER.encode(), uid.encode())


def templates(sides: Sequence[int], *, study: str = STUDY) -> tuple[Template, ...]:
    """Return templates of square images with these numbers of rows, each a series of its own."""
    made = []
    for number, side in enumerate(sides):
        image = mr_dataset(
            1,
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.{number + 1}",
            SOPInstanceUID=PLACEHOLDER,
            SeriesNumber=number + 1,
            Rows=side,
            Columns=side,
            PixelData=noise(side * side * 2, seed=number),
        )
        image["PixelData"].VR = "OW"
        made.append(Template(encoded=encode(image)))
    return tuple(made)


def uid_of(number: int) -> str:
    """Return the SOP Instance UID of the number-th instance of a template; 0 <= number < 10^18."""
    root = PLACEHOLDER.rpartition(".")[0]
    return f"{root}.{20_000_000_000_000_000_000 + number}"
