"""Headers and geometry of real scanners' objects, read as a test of all that is odd in them."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydicom import dcmread

from node.dicom.headers import project, read_header
from node.dicom.part10 import read_file_meta
from node.dicom.stack import describe_stack
from node.domain.header import Header
from node.domain.study import StackFacts
from tests.support.shared import shared_path

pytestmark = pytest.mark.system


def headers_in(folder: str) -> list[Header]:
    return [header_of(path) for path in sorted(shared_path(f"data/dicom/{folder}").rglob("*.dcm"))]


def header_of(path: Path) -> Header:
    content = path.read_bytes()
    meta = read_file_meta(io.BytesIO(content))
    return read_header(content[meta.offset :], meta.transfer_syntax_uid)


def stack_of(folder: str) -> StackFacts:
    return describe_stack([plane for header in headers_in(folder) for plane in header.planes])


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("fnndsc_t2_ax_tse", "slice-gap"),
        ("ge_3plane_localizer", "mixed-orientation"),
        ("siemens_scout_mpr_tra", "mixed-orientation"),
        ("ts_mosaic_9syntaxes", "doubled-slice"),
        ("philips_dualecho_gre", "doubled-slice"),
        ("canon_enh_dti", "doubled-slice"),
        ("philips_enh_t2star", "doubled-slice"),
        ("trio_flair3d_jpegls", "too-few-slices"),
        ("uih_dti_vframe", "no-geometry"),
        ("philips_enh_t1", None),
        ("philips_enh_t2", None),
        ("xa30_t1_mprage_norm_enh", None),
        ("xa30_fieldmap_phase_enh", None),
        ("xa30_dwi_adc_enh", None),
    ],
)
def test_the_stacks_of_real_series_are_judged(folder: str, code: str | None) -> None:
    problem = stack_of(folder).problem
    assert (problem.code if problem else None) == code


def test_the_missing_slice_of_a_real_series_is_named() -> None:
    facts = stack_of("fnndsc_t2_ax_tse")
    assert facts.problem is not None
    assert "1 slice missing between slice 34 and 35" in facts.problem.text
    assert "step of 5.0 mm against 2.5 mm" in facts.problem.text


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (
            "philips_enh_t1",
            {"repetition_time_ms": 4.364, "echo_time_ms": 2.081, "slice_thickness": 10.0},
        ),
        (
            "xa30_t1_mprage_norm_enh",
            {"repetition_time_ms": 1800.0, "echo_time_ms": 2.41, "inversion_time_ms": 900.0},
        ),
        (
            "canon_enh_dti",
            {"repetition_time_ms": 10000.0, "echo_time_ms": 79.0, "diffusion_b_value": 1500.0},
        ),
        ("trio_flair3d_jpegll", {"inversion_time_ms": 2200.0, "echo_time_ms": 394.0}),
    ],
)
def test_the_physics_of_every_vendor_is_found(folder: str, expected: Mapping[str, float]) -> None:
    header = headers_in(folder)[0]
    assert {name: getattr(header, name) for name in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("folder", ["siemens_mosaic_cor", "fnndsc_asl_relcbf"])
def test_mosaics_say_that_they_are_mosaics(folder: str) -> None:
    assert all("MOSAIC" in header.image_type for header in headers_in(folder))


@pytest.mark.filterwarnings("ignore")  # of pydicom, which is the reference here
def test_bytes_and_pydicom_give_the_same_header_for_every_file() -> None:
    paths = sorted(shared_path("data/dicom").rglob("*.dcm"))
    assert len(paths) > 250
    for path in paths:
        dataset = dcmread(path, stop_before_pixels=True)
        header = header_of(path)
        assert project(dataset, header.transfer_syntax_uid) == header, path.name
        assert header.sop_instance_uid == dataset.SOPInstanceUID
        assert header.rows == dataset.Rows
        assert header.series_description == dataset.get("SeriesDescription", "")


def test_the_header_has_what_the_table_of_real_series_decides_by() -> None:
    with shared_path("data/headers/headers.csv").open(encoding="utf-8") as source:
        columns = next(csv.reader(source))
    ours = {name.replace("_", "").removesuffix("ms").removesuffix("deg") for name in NAMES}
    physics = columns[columns.index("Manufacturer") : columns.index("EnhancedMultiframe")]
    missing = {c for c in physics if c.lower() not in ours}
    assert missing == {"ManufacturersModelName", "NumberOfSlices"}  # spelt or counted otherwise


NAMES = [name for name in Header.__slots__ if name != "planes"]
