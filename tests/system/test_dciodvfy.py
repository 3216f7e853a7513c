"""The objects hold before Debian's dciodvfy and before readers other than their writers."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from node.imaging.assemble import assemble
from node.imaging.volume import Grid, Volume
from node.results.context import EncodedObject
from node.results.gate import check
from node.results.overlay import encode_overlay
from node.results.seg import encode_seg
from tests.support.mr_series import AXIAL, SAGITTAL, SERIES_UID, a_grid, tilted, write_mr_series
from tests.support.shared import shared_path
from tests.unit.results.cases import Case, a_case, a_context, nested_labels

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed"),
]

GRIDS = {
    "sagittal": a_grid((24, 32, 30), axes=SAGITTAL, spacing_mm=(1.2, 1.0, 1.0)),
    "oblique": a_grid((24, 32, 30), axes=tilted(SAGITTAL, 20), spacing_mm=(1.2, 1.0, 1.0)),
    "thick": a_grid((12, 40, 36), axes=AXIAL, spacing_mm=(5.0, 0.9, 0.9)),
}


def errors_of(path: Path) -> set[str]:
    """Return the errors that dciodvfy finds; its warnings are about extensions that we make."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).splitlines()
    assert lines, "dciodvfy said nothing"
    return {line for line in lines if "Error" in line}


def encoded(case: Case, others: tuple[Path, ...] = ()) -> list[EncodedObject]:
    seg = encode_seg(case.labels, case.files, others, case.context)
    return [seg, *encode_overlay(case.labels, case.reference, case.files, case.context)]


def test_the_series_of_our_own_tests_is_without_error(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    assert [errors_of(path) for path in case.files] == [set()] * len(case.files)


@pytest.mark.parametrize("geometry", GRIDS)
@pytest.mark.parametrize("found", ["tumour", "nothing"])
def test_objects_are_without_error(tmp_path: Path, geometry: str, found: str) -> None:
    grid = GRIDS[geometry]
    labels = nested_labels(grid)
    if found == "nothing":
        labels = Volume(array=np.zeros_like(labels.array), grid=grid)
    case = a_case(tmp_path / "t1c", grid, labels)
    other = SERIES_UID + "1"
    others = write_mr_series(tmp_path / "flair", case.reference, SeriesInstanceUID=other)
    seg, *overlay = encoded(case, tuple(others))
    for made in (seg, overlay[0], overlay[-1]):
        path = tmp_path / "made.dcm"
        path.write_bytes(made.data)
        assert errors_of(path) == set()


@pytest.mark.parametrize("name", ["xa30_t1_mprage_norm_enh", "philips_enh_t1"])
def test_an_enhanced_multi_frame_source_gives_objects_without_error(
    tmp_path: Path, name: str
) -> None:
    files = sorted(shared_path(f"data/dicom/{name}").glob("*.dcm"))
    reference = assemble(files)
    labels = nested_labels(reference.grid, (0.7, 0.4, 0.6))
    case = Case(labels=labels, reference=reference, files=tuple(files), context=a_context(labels))
    objects = encoded(case)
    check(objects, labels, files)
    allowed = set().union(*(errors_of(path) for path in files))
    for made in objects[:2]:
        path = tmp_path / "made.dcm"
        path.write_bytes(made.data)
        assert errors_of(path) <= allowed


def test_labels_of_a_real_tumour_come_back_voxel_by_voxel(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = shared_path("data/glioma/BraTS-GLI-00000-000")
    affine = np.eye(4)
    arrays = {}
    for kind in ("t1ce", "seg"):
        image = nibabel.load(folder / f"BraTS-GLI-00000-000_{kind}.nii.gz")
        image = nibabel.as_closest_canonical(image)
        affine[:] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
        arrays[kind] = np.asarray(image.dataobj)
    # RAS (x, y, z) read as slice, row, column: an unusual but right-angled acquisition.
    grid = Grid(
        shape=arrays["seg"].shape,
        affine=affine,
        frame_of_reference_uid=a_grid((1, 1, 1)).frame_of_reference_uid,
    )
    array = arrays["seg"].astype(np.uint8)
    labels = Volume(array=np.where(array == 4, 3, array).astype(np.uint8), grid=grid)
    reference = Volume(array=arrays["t1ce"].astype(np.float32), grid=grid)
    files = write_mr_series(tmp_path, reference, seed=1)
    case = Case(labels=labels, reference=reference, files=tuple(files), context=a_context(labels))
    check(encoded(case), labels, files)
