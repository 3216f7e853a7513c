"""The head: known truth, known motion, left is left, the same from the same seed."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from node.domain.regions import Region, Role
from node.imaging.assemble import assemble
from node.imaging.measure import region_volumes
from node.imaging.volume import Affine, Grid, Volume
from node.phantom.head import Head, make_head, motion
from node.phantom.sequences import SEQUENCES, signal
from node.phantom.study import StudyFiles, phantom_identity, write_study
from node.phantom.tissues import Tissue
from node.phantom.tumour import ENHANCING, OEDEMA, Side, Tumour

pytestmark = pytest.mark.slow


def centre_mm(volume: Volume) -> Affine:
    centre: Affine = volume.grid.positions_mm(np.argwhere(volume.array)).mean(axis=0)
    return centre


def test_the_same_seed_gives_the_same_head(head: Head) -> None:
    again = make_head(0)
    assert np.array_equal(again.truth.array, head.truth.array)
    for role in Role:
        assert np.array_equal(again.series[role].array, head.series[role].array)
        assert np.array_equal(again.motions[role], head.motions[role])


def test_another_seed_gives_another_head_with_the_tumour_on_the_side_asked_for() -> None:
    other = make_head(5, Tumour(side=Side.RIGHT))
    assert centre_mm(other.truth)[0] < -20.0
    assert not np.array_equal(other.motions[Role.FLAIR], motion(0, Role.FLAIR))


def test_the_stated_volumes_are_counts_of_the_truth(head: Head) -> None:
    stated = {volume.region: volume.millilitres for volume in head.region_volumes()}
    labels = head.truth.array
    assert stated[Region.WT] == pytest.approx(np.count_nonzero(labels) / 1000.0)
    assert stated[Region.TC] == pytest.approx(np.isin(labels, (1, 3)).sum() / 1000.0)
    assert stated[Region.ET] == pytest.approx((labels == ENHANCING).sum() / 1000.0)
    assert 30.0 < stated[Region.WT] < 120.0


def test_the_truth_keeps_its_volume_on_the_grid_of_the_reference(head: Head) -> None:
    native = head.truth_on(head.series[Role.T1C].grid)
    assert native.grid.matches(head.series[Role.T1C].grid)
    for stated, found in zip(head.region_volumes(), region_volumes(native), strict=True):
        assert found.millilitres == pytest.approx(stated.millilitres, rel=0.03)


def test_the_truth_on_a_grid_beside_the_tumour_is_empty(head: Head) -> None:
    far = Grid(shape=(4, 4, 4), affine=np.diag([1.0, 1.0, 1.0, 1.0]) + _shift(500.0))
    assert not head.truth_on(far).array.any()


def _shift(mm: float) -> Affine:
    shift = np.zeros((4, 4))
    shift[:3, 3] = mm
    return shift


@pytest.mark.parametrize("role", [Role.T2, Role.FLAIR])
def test_the_patient_moved_as_stated(head: Head, role: Role) -> None:
    """The bright tumour of the series lies where the stated motion puts the truth."""
    volume, sequence = head.series[role], SEQUENCES[role]
    moved = head.truth_on(volume.grid, role=role)
    oedema = signal(Tissue.OEDEMA, sequence)
    limit = sequence.white_level * (1.0 + oedema) / 2.0
    inside = moved.array == OEDEMA
    still = head.truth_on(volume.grid).array == OEDEMA
    bright = volume.array > limit
    assert bright[inside].mean() > 0.85
    assert bright[inside].mean() > bright[still].mean() + 0.02


def test_motion_is_some_degrees_and_millimetres_and_rigid(head: Head) -> None:
    assert np.array_equal(head.motions[Role.T1C], np.eye(4))
    for role in (Role.T1, Role.T2, Role.FLAIR):
        matrix = head.motions[role]
        turn = matrix[:3, :3]
        assert np.allclose(turn @ turn.T, np.eye(3))
        degrees = np.degrees(np.arccos((np.trace(turn) - 1.0) / 2.0))
        assert 0.3 < degrees < 6.0


def test_left_is_left_in_every_series(head: Head) -> None:
    """The enhancing rim is bright on the patient's left of the T1C, and not on the right."""
    volume = head.series[Role.T1C]
    rim = np.argwhere(head.truth_on(volume.grid).array == ENHANCING)
    places = volume.grid.positions_mm(rim)
    assert (places[:, 0] > 0).all()
    mirrored = np.rint(volume.grid.indices_of(places * [-1.0, 1.0, 1.0])).astype(int)
    there, opposite = (volume.array[tuple(index.T)].mean() for index in (rim, mirrored))
    assert there > 1.3 * opposite


def test_the_series_differ_in_geometry_but_share_the_frame_of_reference(head: Head) -> None:
    grids = [volume.grid for volume in head.series.values()]
    assert len({grid.frame_of_reference_uid for grid in grids}) == 1
    for index, grid in enumerate(grids):
        assert not any(grid.matches(other) for other in grids[index + 1 :])
    assert {volume.array.dtype for volume in head.series.values()} == {np.dtype(np.uint16)}


def test_air_is_dark_noise_and_scalp_fat_is_bright(head: Head) -> None:
    t1 = head.series[Role.T1].array.astype(float)
    corner = t1[:, :10, :10]
    assert 0.0 < corner.mean() < 0.1 * SEQUENCES[Role.T1].white_level
    assert np.percentile(t1, 99.5) > 1.3 * SEQUENCES[Role.T1].white_level


def test_a_healthy_head_has_no_labels() -> None:
    healthy = make_head(1, None)
    assert not healthy.truth.array.any()
    assert not healthy.truth_on(healthy.series[Role.T1C].grid).array.any()
    assert all(volume.voxels == 0 for volume in healthy.region_volumes())
    assert 1_300_000 < healthy.brain.array.sum() < 2_200_000


def test_the_brain_is_where_the_brain_is(head: Head) -> None:
    grid = head.series[Role.T1C].grid
    brain = head.brain_on(grid).array
    assert brain.sum() == pytest.approx(head.brain.array.sum(), rel=0.01)
    assert brain[head.truth_on(grid).array > 0].mean() > 0.999


def test_the_written_study_is_the_head(head: Head, study: StudyFiles) -> None:
    for role, volume in head.series.items():
        found = assemble(study.series[role].paths)
        assert sorted(found.grid.shape) == sorted(volume.grid.shape)
        assert found.array.sum(dtype=np.float64) == volume.array.sum(dtype=np.float64)
    assert [path.parent.name for path in study.files[::208]] == ["S1", "S3"]


def test_another_salt_makes_another_study_of_the_same_patient(
    head: Head, study: StudyFiles, tmp_path: Path
) -> None:
    again = write_study(head, tmp_path, salt="second run")
    first, second = (pydicom.dcmread(files.files[0]) for files in (study, again))
    assert first.PatientID == second.PatientID == "SEGNODE-PHANTOM-0"
    assert str(first.PatientName) == "Phantom^Segnode"
    for keyword in (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "FrameOfReferenceUID",
    ):
        assert first[keyword].value != second[keyword].value
    assert first.PixelData == second.PixelData


def test_all_series_of_a_study_share_the_frame_and_the_uids_are_those_of_the_seed(
    study: StudyFiles,
) -> None:
    identity = phantom_identity(0)
    assert study.study_instance_uid == identity.study_instance_uid
    for role in Role:
        image = pydicom.dcmread(study.series[role].paths[0], stop_before_pixels=True)
        assert image.FrameOfReferenceUID == identity.frame_of_reference_uid
        assert image.SeriesInstanceUID == study.series[role].series_instance_uid
        assert image.SliceThickness == SEQUENCES[role].plan.thickness_mm
