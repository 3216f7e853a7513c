"""Any right-angled volume becomes a classic MR series with its values and its place."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.headers import project
from node.dicom.ours import is_ours
from node.dicom.uids import derived_uid, is_uid
from node.domain.regions import Role
from node.imaging.assemble import assemble
from node.imaging.volume import Array, Grid, Volume
from node.phantom.scan import planned_grid, rotation
from node.phantom.sequences import SEQUENCES
from node.phantom.series import (
    SeriesTemplate,
    StudyTemplate,
    decimal_string,
    stored_values,
    write_series,
)

STUDY = StudyTemplate(
    study_instance_uid=derived_uid("test", "study"),
    frame_of_reference_uid=derived_uid("test", "frame"),
)


def a_template(role: Role = Role.T1C) -> SeriesTemplate:
    return SeriesTemplate(
        study=STUDY,
        series_instance_uid=derived_uid("test", role),
        series_number=4,
        series_description=SEQUENCES[role].description,
        physics=SEQUENCES[role].physics,
    )


def a_volume(angles_deg: tuple[float, float, float] = (7.0, -3.0, 12.0)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles_deg) @ np.diag([1.0, -1.0, 1.0])[:, ::-1] * [2.5, 0.9, 0.7]
    affine[:3, 3] = (-31.4, 15.9, -26.5)
    array = np.random.default_rng(7).integers(0, 4000, (6, 8, 10), dtype=np.int16)
    return Volume(array=array, grid=Grid(shape=(6, 8, 10), affine=affine))


def test_values_and_place_survive_the_way_through_dicom(tmp_path: Path) -> None:
    volume = a_volume()
    found = assemble(write_series(volume, a_template(), tmp_path))
    voxels = np.argwhere(volume.array >= 0)
    indices = np.rint(found.grid.indices_of(volume.grid.positions_mm(voxels))).astype(int)
    assert np.array_equal(found.array[tuple(indices.T)], volume.array[tuple(voxels.T)])
    assert np.abs(found.grid.positions_mm(indices) - volume.grid.positions_mm(voxels)).max() < 1e-3


def test_slices_that_go_against_the_normal_keep_their_place(tmp_path: Path) -> None:
    volume = a_volume()
    affine = np.array(volume.grid.affine)
    affine[:3, 0] *= -1.0
    backwards = Volume(array=volume.array, grid=Grid(shape=(6, 8, 10), affine=affine))
    for index, path in enumerate(write_series(backwards, a_template(), tmp_path)):
        image = pydicom.dcmread(path)
        place = backwards.grid.positions_mm(np.array([[index, 0, 0]]))[0]
        assert np.allclose(np.array(image.ImagePositionPatient, dtype=float), place, atol=1e-6)
        assert np.array_equal(image.pixel_array, volume.array[index])


def test_the_headers_state_the_sequence(tmp_path: Path) -> None:
    image = pydicom.dcmread(write_series(a_volume(), a_template(), tmp_path)[0])
    assert image.ScanningSequence == ["GR", "IR"]
    assert (image.EchoTime, image.RepetitionTime, image.InversionTime) == (4.0, 2200.0, 900.0)
    assert image.ContrastBolusAgent == "GADOTERATE MEGLUMINE (SYNTHETIC)"
    assert image.SeriesDescription == "t1_mprage_sag_p2_iso +Gd"
    assert image.FrameOfReferenceUID == STUDY.frame_of_reference_uid


def test_a_series_without_contrast_agent_names_none(tmp_path: Path) -> None:
    image = pydicom.dcmread(write_series(a_volume(), a_template(Role.FLAIR), tmp_path)[0])
    assert "ContrastBolusAgent" not in image


def test_every_image_says_that_it_is_synthetic_and_is_not_taken_for_a_result(
    tmp_path: Path,
) -> None:
    for path in write_series(a_volume(), a_template(), tmp_path):
        image = pydicom.dcmread(path)
        assert image.ImageComments.startswith("SYNTHETIC")
        assert "synthetic" in image.ManufacturerModelName
        assert image.QualityControlSubject == "YES"
        assert not is_ours(project(image, str(image.file_meta.TransferSyntaxUID)))


def test_file_names_and_uids_are_neutral_and_repeatable(tmp_path: Path) -> None:
    first = write_series(a_volume(), a_template(), tmp_path / "a")
    second = write_series(a_volume(), a_template(), tmp_path / "b")
    assert [path.name for path in first] == [f"IM{n:04d}.dcm" for n in range(1, 7)]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in first}
    assert len(uids) == 6
    assert all(is_uid(uid) for uid in uids)


def test_a_sheared_grid_is_refused(tmp_path: Path) -> None:
    volume = a_volume()
    affine = np.array(volume.grid.affine)
    affine[:3, 0] += 0.2 * affine[:3, 1]
    sheared = Volume(array=volume.array, grid=Grid(shape=(6, 8, 10), affine=affine))
    with pytest.raises(ValueError, match="right-angled"):
        write_series(sheared, a_template(), tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[[0, 12343]]], dtype=np.int16),
        np.array([[[-1024, 3071]]], dtype=np.int16),
        np.array([[[70000, 70003]]], dtype=np.int64),
        np.array([[[5, 5]]], dtype=np.uint8),
    ],
)
def test_integers_are_stored_exactly(array: Array) -> None:
    stored = stored_values(array)
    assert stored.array.dtype == np.uint16
    assert np.array_equal(stored.array * stored.slope + stored.intercept, array)


def test_floats_come_back_within_a_step(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(0.0, 2.5, (6, 8, 10)).astype(np.float32)
    found = assemble(
        write_series(a_volume((0.0, 0.0, 0.0)).with_array(values), a_template(), tmp_path)
    )
    step = float(np.ptp(values)) / 65535.0
    assert np.abs(np.sort(found.array.ravel()) - np.sort(values.ravel())).max() <= step


def test_an_image_of_one_value_can_be_written() -> None:
    stored = stored_values(np.full((1, 2, 2), 0.25, dtype=np.float32))
    assert np.array_equal(stored.array * stored.slope + stored.intercept, np.full((1, 2, 2), 0.25))


@given(st.floats(-1e5, 1e5))
def test_decimal_strings_fit_and_are_near(value: float) -> None:
    text = decimal_string(value)
    assert len(text) <= 16
    assert text != "-0"
    assert float(text) == pytest.approx(value, abs=1e-8, rel=1e-9)


@pytest.mark.system
@pytest.mark.parametrize("role", list(Role))
def test_dciodvfy_finds_no_error(role: Role, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is absent (Debian package dicom3tools)")
    paths = write_series(a_volume(), a_template(role), tmp_path)
    for path in paths[::3]:
        found = subprocess.run([program, path], capture_output=True, text=True, check=False)
        assert "MRImage" in found.stderr + found.stdout
        assert "Error" not in found.stderr + found.stdout


def test_planned_slices_have_their_centre_and_thickness_where_the_plan_says() -> None:
    plan = SEQUENCES[Role.T2].plan
    grid = planned_grid(plan, "1.2")
    middle = (np.array([plan.shape]) - 1) / 2.0
    assert np.allclose(grid.positions_mm(middle)[0], plan.centre_mm)
    assert grid.is_right_angled()
    assert grid.spacing_mm == pytest.approx(plan.spacing_mm)
    assert grid.directions[2, 0] > 0.98  # slices go upwards, tilted by some degrees
    assert grid.directions[2, 0] < 0.995
