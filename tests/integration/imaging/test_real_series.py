"""The assembler against dcm2niix on real series (../shared/data/dicom, see its README)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from node.domain.errors import (
    DoubledSlice,
    MixedGeometry,
    MixedOrientation,
    NoGeometry,
    SegnodeError,
    SliceGap,
    TooFewSlices,
    UndecodablePixels,
)
from node.imaging.assemble import Instance, assemble, read_instances, stack
from node.imaging.bridges import ras_affine
from node.imaging.volume import Array, Volume
from tests.support.shared import shared_path

pytestmark = pytest.mark.system

VOLUMES = [
    "philips_enh_t1",
    "philips_enh_t2",
    "xa30_dwi_adc_enh",
    "xa30_fieldmap_phase_enh",
    "xa30_t1_mprage_norm_enh",
]
FRAGMENTS = [
    "ge_irspgr_sag",
    "trio_flair3d_j2k",
    "trio_flair3d_jpegll",
    "trio_flair3d_jpegls",
    "trio_flair3d_raw",
    "trio_flair3d_rle",
]
"""Four slices each: refused as a volume, but their pixels and places can be compared."""

REFUSED: dict[str, type[SegnodeError]] = {
    "canon_enh_dti": DoubledSlice,
    "fnndsc_asl_perfusion_weighted": TooFewSlices,
    "fnndsc_asl_relcbf": TooFewSlices,
    "fnndsc_t2_ax_tse": SliceGap,
    "ge_3plane_localizer": MixedOrientation,
    "philips_dualecho_gre": DoubledSlice,
    "philips_enh_fieldmap": DoubledSlice,
    "philips_enh_t2star": DoubledSlice,
    "philips_t2_mixed_orientation": MixedGeometry,
    "siemens_mosaic_cor": TooFewSlices,
    "siemens_scout_mpr_tra": MixedOrientation,
    "ts_mosaic_9syntaxes": DoubledSlice,
    "uih_dti_vframe": NoGeometry,
    "xa30_dwi_colfa_rgb": UndecodablePixels,
    **dict.fromkeys(FRAGMENTS, TooFewSlices),
}


def paths_of(name: str) -> list[Path]:
    return sorted(shared_path(f"data/dicom/{name}").glob("*.dcm"), reverse=True)


def reference_of(name: str) -> dict[str, Any]:
    content = json.loads((shared_path(f"data/dicom/{name}") / "reference.json").read_text())
    output: dict[str, Any] = content["pypi"]["outputs"][0]
    return output


def stored_values(volume: Volume, instance: Instance) -> Array:
    """Undo the rescale, which is one for all slices of these series."""
    groups = [instance.dataset, *instance.dataset.get("SharedFunctionalGroupsSequence", [])]
    groups += instance.dataset.get("PerFrameFunctionalGroupsSequence", [])[:1]
    for group in groups:
        inner = group.get("PixelValueTransformationSequence")
        source = inner[0] if inner else group
        if "RescaleSlope" in source:
            slope, intercept = float(source.RescaleSlope), float(source.RescaleIntercept)
            return np.rint((volume.array - intercept) / slope)
    return volume.array


def canonical(volume: Volume, values: Array) -> nib.Nifti1Image:
    """Return the values as RAS NIfTI."""
    affine = ras_affine(volume.grid) @ np.eye(4)[[2, 1, 0, 3]]
    return nib.as_closest_canonical(nib.Nifti1Image(values.transpose(2, 1, 0), affine))


@pytest.mark.parametrize("name", [*VOLUMES, *FRAGMENTS])
def test_pixels_and_places_agree_with_dcm2niix(name: str) -> None:
    instances = read_instances(paths_of(name))
    volume = stack(instances)
    expected = reference_of(name)
    found = canonical(volume, stored_values(volume, instances[0]).astype(np.int16))
    array = np.ascontiguousarray(np.asanyarray(found.dataobj), dtype="<i2")
    assert list(array.shape) == expected["canonical_ras"]["shape"]
    assert np.allclose(found.affine, expected["canonical_ras"]["affine"], atol=1e-3)
    assert int(array.sum(dtype=np.int64)) == expected["sum"]
    assert hashlib.sha256(array.tobytes()).hexdigest() == expected["canonical_ras"]["sha256"]


@pytest.mark.parametrize("name", VOLUMES)
def test_a_real_volume_is_assembled(name: str) -> None:
    volume = assemble(paths_of(name))
    assert volume.array.dtype == np.float32
    assert volume.grid.is_right_angled()
    assert volume.grid.frame_of_reference_uid


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_real_series_that_is_no_volume_is_refused_for_the_right_reason(name: str) -> None:
    with pytest.raises(REFUSED[name]):
        assemble(paths_of(name))


@pytest.mark.parametrize("number", range(1, 10))
def test_nine_transfer_syntaxes_give_one_image(number: int) -> None:
    folder = shared_path("data/dicom/ts_mosaic_9syntaxes")
    first = stack(read_instances([folder / "1.dcm"])).array
    assert np.array_equal(stack(read_instances([folder / f"{number}.dcm"])).array, first)
