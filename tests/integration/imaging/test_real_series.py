"""The assembler against dcm2niix on every real series (../shared/data/dicom, see its README)."""

from pathlib import Path

import numpy as np
import pytest

from node.domain.errors import SeriesUnusable
from node.imaging.assemble import assemble, assemble_parts
from node.imaging.parts import Mark
from tests.benchmarks.dcm2niix import compare
from tests.support.shared import shared_path

pytestmark = pytest.mark.system

VOLUME = "a volume"
NODE = {
    "philips_enh_t1": VOLUME,
    "philips_enh_t2": VOLUME,
    "xa30_dwi_adc_enh": VOLUME,
    "xa30_fieldmap_phase_enh": VOLUME,
    "xa30_t1_mprage_norm_enh": VOLUME,
    # dcm2niix writes one file for each volume, or one of four dimensions. An analysis wants one
    # volume, and nothing in the header says which.
    "canon_enh_dti": "13 volumes of 40 slices: b-values 0 and 1500 s/mm2, 12 gradient directions",
    "philips_dualecho_gre": "4 volumes of 30 slices: echo times 7 and 10 ms, magnitude and phase",
    "philips_enh_fieldmap": "2 volumes of 10 slices: magnitude and phase",
    "philips_enh_t2star": "2 volumes of 10 slices: time points 1 and 2",
    # dcm2niix cuts the tiles out by private attributes. These are echo-planar series, of which
    # none can take a role.
    "fnndsc_asl_perfusion_weighted": "12 slices as tiles in each image",
    "fnndsc_asl_relcbf": "12 slices as tiles in each image",
    "siemens_mosaic_cor": "35 slices as tiles in each image",
    "ts_mosaic_9syntaxes": "35 slices as tiles in each image",
    "uih_dti_vframe": "20 slices as tiles in each image",
    # dcm2niix warns and writes the slices as if they were even, so that all above the gap are
    # 2.5 mm from where they were.
    "fnndsc_t2_ax_tse": "1 slice missing between slice 34 and 35",
    # dcm2niix writes a file for each orientation; a localizer takes no role.
    "ge_3plane_localizer": "21 slices in 3 different orientations",
    "siemens_scout_mpr_tra": "3 slices in 3 different orientations",
    # One Series Instance UID over two geometries; dcm2niix parts them by Series Number.
    "philips_t2_mixed_orientation": "Slices of different Pixel Spacing",
    # Fragments of four slices are no head.
    **dict.fromkeys(
        (
            "ge_irspgr_sag",
            "trio_flair3d_j2k",
            "trio_flair3d_jpegll",
            "trio_flair3d_jpegls",
            "trio_flair3d_raw",
            "trio_flair3d_rle",
        ),
        "4 slices, a volume needs at least 5",
    ),
    # dcm2niix writes an RGB file; colours are directions here, not a signal.
    "xa30_dwi_colfa_rgb": "in colour",
}
"""What the node makes of each series; of a refusal the words that matter, and why it is right."""

IN_COLOUR = {"xa30_dwi_colfa_rgb"}
WITHOUT_PLACE = {*IN_COLOUR, "fnndsc_t2_ax_tse"} | {n for n in NODE if "as tiles" in NODE[n]}
"""Refused even as parts, so that there is no affine of ours to compare."""


def paths_of(name: str) -> list[Path]:
    return sorted(shared_path(f"data/dicom/{name}").glob("*.dcm"), reverse=True)


def test_every_shared_series_is_compared() -> None:
    folders = {path.parent.name for path in shared_path("data/dicom").glob("*/reference.json")}
    assert folders == set(NODE)


@pytest.mark.parametrize("name", sorted(NODE))
def test_values_and_places_agree_with_dcm2niix(name: str) -> None:
    rows = compare(shared_path(f"data/dicom/{name}"))
    assert rows
    for row in rows:
        assert NODE[name] in row.node
        assert row.identical is (None if name in IN_COLOUR else True)
        assert (row.apart_mm is None) == (name in WITHOUT_PLACE)
        assert (row.apart_mm or 0.0) < 1e-3


@pytest.mark.parametrize("name", sorted(n for n in NODE if NODE[n] == VOLUME))
def test_a_real_volume_is_assembled(name: str) -> None:
    volume = assemble(paths_of(name))
    assert volume.array.dtype == np.float32
    assert volume.grid.is_right_angled()
    assert volume.grid.frame_of_reference_uid


def test_a_real_dual_echo_series_is_parted_by_echo_and_component() -> None:
    parts = assemble_parts(paths_of("philips_dualecho_gre"))
    assert [(part.marks[Mark.ECHO_TIME], part.marks[Mark.COMPONENT]) for part in parts] == [
        (7.0, "magnitude"),
        (10.0, "magnitude"),
        (7.0, "phase"),
        (10.0, "phase"),
    ]
    assert all(part.volume.grid.matches(parts[0].volume.grid) for part in parts)
    assert parts[0].volume.array.min() >= 0 > parts[2].volume.array.min()


def test_a_reason_names_nobody() -> None:
    with pytest.raises(SeriesUnusable) as caught:
        assemble(paths_of("fnndsc_t2_ax_tse"))
    assert caught.value.what == (
        "The series is no volume: 1 slice missing between slice 34 and 35 counted from the feet: "
        "step of 5.0 mm against 2.5 mm."
    )
