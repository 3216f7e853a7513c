"""Pixels that are absent, of a wrong length, no numbers, or all the same."""

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from node.dicom.part10 import file_meta_of
from node.domain.errors import NoGeometry, NoSignal, SpoolDamaged, UndecodablePixels
from node.imaging.assemble import assemble
from node.imaging.codestreams import coded_pixels
from node.imaging.volume import Array, Volume
from tests.support.mr_series import a_grid, write_mr_series

GRID = a_grid((6, 16, 16))
HOW_MANY = 16 * 16


def a_series(folder: Path, how: Callable[[Dataset], None] | None = None) -> list[Path]:
    """Write six slices and change all of them."""
    array = np.random.default_rng(5).integers(1, 4000, GRID.shape).astype(np.float32)
    paths = write_mr_series(folder, Volume(array=array, grid=GRID))
    for path in paths if how else ():
        dataset = dcmread(path)
        assert how is not None
        how(dataset)
        dataset.save_as(path)
    return paths


def stored(values: Array) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.PixelData = values.tobytes()

    return change


@pytest.mark.parametrize("value", [0, 812])
def test_a_series_of_one_value_shows_nothing(tmp_path: Path, value: int) -> None:
    paths = a_series(tmp_path, stored(np.full(HOW_MANY, value, dtype="<u2")))
    with pytest.raises(NoSignal, match=f"All 6 slices hold the value {value} only"):
        assemble(paths)


def test_one_empty_slice_is_no_reason_to_refuse(tmp_path: Path) -> None:
    paths = a_series(tmp_path)
    dataset = dcmread(paths[0])
    dataset.PixelData = bytes(2 * HOW_MANY)
    dataset.save_as(paths[0])
    assert assemble(paths).array[0].max() == 0


def with_float_pixels(values: Array) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        del dataset.PixelData
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
        dataset.FloatPixelData = values.astype("<f4").tobytes()

    return change


def test_float_pixels_are_taken(tmp_path: Path) -> None:
    values = np.linspace(-3.5, 8.0, HOW_MANY)
    found = assemble(a_series(tmp_path, with_float_pixels(values)))
    assert np.array_equal(found.array[3].ravel(), values.astype(np.float32))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_float_pixels_that_are_no_numbers_are_refused(tmp_path: Path, odd: float) -> None:
    values = np.linspace(0.0, 8.0, HOW_MANY)
    values[17] = odd
    with pytest.raises(UndecodablePixels, match="NaN or infinite"):
        assemble(a_series(tmp_path, with_float_pixels(values)))


def test_a_rescale_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    def enlarged(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "1e38", "0"

    with pytest.raises(UndecodablePixels, match="NaN or infinite"):
        assemble(a_series(tmp_path, enlarged))


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (2 * HOW_MANY - 2, "cannot be decoded"),
        (2 * HOW_MANY + 2 * 16, "longer than the matrix"),
        (4 * HOW_MANY, "hold 2 frames, not 1"),
        (0, "cannot be decoded"),
    ],
)
def test_pixels_of_a_wrong_length_are_refused(tmp_path: Path, length: int, words: str) -> None:
    paths = a_series(tmp_path, stored(np.ones(length, dtype=np.uint8)))
    with pytest.raises(UndecodablePixels, match=words):
        assemble(paths)


def test_a_few_bytes_behind_the_pixels_are_padding(tmp_path: Path) -> None:
    random = np.random.default_rng(2).integers(0, 255, 2 * HOW_MANY + 6).astype(np.uint8)
    assert assemble(a_series(tmp_path, stored(random))).array.shape == GRID.shape


def test_a_file_that_ends_in_its_pixels_is_refused(tmp_path: Path) -> None:
    paths = a_series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    with pytest.raises(UndecodablePixels, match="damaged"):
        assemble(paths)


def test_a_folder_in_place_of_a_file_is_damage_of_the_spool(tmp_path: Path) -> None:
    with pytest.raises(SpoolDamaged):
        assemble([*a_series(tmp_path / "series"), tmp_path])


def coded(syntax: UID, frame: bytes) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax

    return change


def a_jpeg(rows: int, columns: int, *, marker: int = 0xC3) -> bytes:
    tables = struct.pack(">BBH", 0xFF, 0xC4, 4) + b"\0\0"
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 11, 16, rows, columns, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff" + tables + frame + b"\xff\xda\0\x08\1\1\0\1\0\0" + b"\xff\xd9"


def a_jpeg_2000(rows: int, columns: int) -> bytes:
    sizes = struct.pack(">8I", columns, rows, 0, 0, columns, rows, 0, 0)
    return b"\xff\x4f\xff\x51\0\x29\0\0" + sizes + struct.pack(">HBBB", 1, 15, 1, 1)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG2000Lossless, a_jpeg_2000(60_000, 60_000)),
        (JPEGLosslessSV1, a_jpeg(60_000, 60_000)),
        (JPEGLSLossless, a_jpeg(17, 16, marker=0xF7)),
    ],
    ids=["JPEG 2000", "JPEG", "JPEG-LS"],
)
def test_a_compressed_image_larger_than_its_header_is_never_decoded(
    tmp_path: Path, syntax: UID, frame: bytes
) -> None:
    with pytest.raises(UndecodablePixels, match="larger than its Rows and Columns"):
        assemble(a_series(tmp_path, coded(syntax, frame)))


def test_the_size_of_a_codestream_is_read_from_its_first_marker_segments() -> None:
    assert coded_pixels(a_jpeg(20, 30)) == 600
    assert coded_pixels(a_jpeg_2000(20, 30)) == 600
    assert coded_pixels(b"\0\0\0\x0cjP  " + a_jpeg_2000(20, 30)) == 600
    assert coded_pixels(a_jpeg_2000(20, 30)[:20]) == 0
    assert coded_pixels(a_jpeg(20, 30)[:9]) == 0
    assert coded_pixels(b"") == 0


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_the_size_of_a_real_codestream_is_that_of_the_image(syntax: UID) -> None:
    dataset = Dataset()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 48, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    values = np.random.default_rng(3).integers(0, 4000, (32, 48)).astype("<u2")
    dataset.compress(syntax, values, encoding_plugin="", generate_instance_uid=False)
    _offsets, frame = generate_fragments(dataset.PixelData)
    assert coded_pixels(frame) == 32 * 48


def test_a_deflated_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    paths = a_series(tmp_path)
    dataset = dcmread(paths[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(paths[0])
    content = paths[0].read_bytes()
    offset = file_meta_of(content).offset
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(zlib.decompress(content[offset:], -zlib.MAX_WBITS))
    bomb += packer.compress(bytes(80 * 2**20)) + packer.flush()
    paths[0].write_bytes(content[:offset] + bomb)
    with pytest.raises(UndecodablePixels, match="holds much more"):
        assemble(paths)


def test_a_file_that_is_much_longer_than_its_images_is_not_read(tmp_path: Path) -> None:
    paths = a_series(tmp_path)
    os.truncate(paths[0], 2**30)  # zeros, of which the file system keeps none
    tracemalloc.start()
    with pytest.raises(UndecodablePixels, match="holds much more"):
        assemble(paths)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_padding_stays_dark_where_black_was_white(tmp_path: Path) -> None:
    values = np.linspace(100, 1000, HOW_MANY).astype("<i2")
    values[:16] = -2000

    def change(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelRepresentation = 1
        dataset.PixelPaddingValue = -2000
        dataset["PixelPaddingValue"].VR = "SS"
        dataset.PixelData = values.tobytes()

    volume = assemble(a_series(tmp_path, change))
    assert (volume.array[:, 0] == volume.array.min()).all()
    assert volume.array[:, 1:].max() > volume.array[:, -1].max()


def test_components_count_for_the_size_of_a_codestream() -> None:
    start = b"\xff\x4f\xff\x51" + struct.pack(">HH", 47, 0)
    sizes = struct.pack(">8I", 16, 16, 0, 0, 16, 16, 0, 0)
    assert coded_pixels(start + sizes + struct.pack(">H", 1) + bytes(8)) == HOW_MANY
    assert coded_pixels(start + sizes + struct.pack(">H", 4000) + bytes(8)) == 4000 * HOW_MANY


def test_a_head_of_metres_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PixelSpacing = [200, 200]
        del dataset.PixelData

    with pytest.raises(NoGeometry, match="has no meaning"):
        assemble(a_series(tmp_path, change))
