import numpy as np
import pytest

from node.domain.regions import Role
from node.imaging.brain import StrippedBrain
from node.imaging.prepare import NOT_PLACED, ModelInput, Preprocessing, prepare
from node.imaging.register import Registration
from node.imaging.resample import resample
from node.imaging.space import Placement
from node.imaging.volume import Affine, Grid, Volume
from tests.support.mr_series import SAGITTAL, a_grid
from tests.unit.imaging.cases import a_head, moved, scanned, tissues

CENTRE = (4.0, -10.0, 20.0)
FINE = a_grid((80, 90, 80), axes=SAGITTAL, spacing_mm=(2.0, 2.0, 2.0), centre_mm=CENTRE)
THICK = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=CENTRE)
SPACING = (2.0, 2.0, 2.0)


def by(matrix: Affine) -> Registration:
    return Registration(matrix=matrix, metric=1.0, gate="aligned", seconds=0.0)


def the_brain(grid: Grid) -> Volume:
    found = tissues()
    return resample(found.with_array(found.array >= 3), grid)


def prepared(spec: Preprocessing, reference: Grid = FINE) -> ModelInput:
    matrix = moved((5, -4, 3), (6, -8, 5))
    volumes = {
        Role.T1C: scanned(a_head("T1C"), reference, noise=0.0),
        Role.FLAIR: scanned(a_head("FLAIR"), THICK, matrix, noise=0.0),
    }
    return prepare(volumes, {Role.FLAIR: by(matrix)}, the_brain(reference), spec)


def test_all_roles_lie_on_one_grid_under_one_brain() -> None:
    found = prepared(Preprocessing(spacing_mm=SPACING, normalisation="none"))
    assert set(found.channels) == {Role.T1C, Role.FLAIR}
    for channel in found.channels.values():
        assert channel.grid is found.grid
        assert channel.array.dtype == np.float32
        assert not channel.array[~found.brain.array].any()
    assert found.brain.array.dtype == np.bool_
    assert found.grid.spacing_mm == pytest.approx(SPACING)
    truth = the_brain(found.grid).array
    assert np.mean(found.brain.array == truth) > 0.99


def test_a_moved_series_is_put_where_the_reference_is() -> None:
    found = prepared(Preprocessing(spacing_mm=SPACING, brain="keep"))
    flair = resample(a_head("FLAIR"), found.grid).array
    brain = found.brain.array
    apart = np.corrcoef(found.channels[Role.FLAIR].array[brain], flair[brain])[0, 1]
    assert apart > 0.8


def test_zscore_is_taken_inside_the_brain_and_the_background_stays_0() -> None:
    found = prepared(Preprocessing(spacing_mm=SPACING, normalisation="zscore-brain"))
    for channel in found.channels.values():
        assert channel.array[found.brain.array].std() == pytest.approx(1.0, abs=1e-4)
        assert not channel.array[~found.brain.array].any()


def test_the_head_is_kept_when_the_model_wants_it() -> None:
    found = prepared(Preprocessing(spacing_mm=SPACING, brain="keep"))
    assert found.channels[Role.T1C].array[~found.brain.array].max() > 100


def test_registered_series_on_the_model_s_grid_pass_through_untouched() -> None:
    """BraTS cases: nothing may blur what needs no interpolation."""
    reference, other = a_head("T1C", stripped=True), a_head("T2", stripped=True)
    found = prepare(
        {Role.T1C: reference, Role.T2: other},
        {Role.T2: by(np.eye(4))},
        StrippedBrain()(reference),
        Preprocessing(spacing_mm=(1.5, 1.5, 1.5)),
    )
    assert found.grid.matches(reference.grid)
    assert np.array_equal(found.channels[Role.T1C].array, reference.array)
    assert np.array_equal(found.channels[Role.T2].array, other.array)


def test_the_tumour_on_the_left_stays_on_the_left() -> None:
    found = prepared(Preprocessing(spacing_mm=SPACING))
    bright = found.channels[Role.T1C].array > 850
    assert found.grid.positions_mm(np.argwhere(bright)).mean(axis=0)[0] > 25.0


def test_exactly_one_role_is_the_reference() -> None:
    head = a_head("T1C")
    with pytest.raises(ValueError, match="2 roles"):
        prepare({Role.T1: head, Role.T1C: head}, {}, the_brain(head.grid), Preprocessing())
    with pytest.raises(ValueError, match="0 roles"):
        prepare({Role.T1: head}, {Role.T1: by(np.eye(4))}, the_brain(head.grid), Preprocessing())


def test_a_crop_keeps_the_brain_its_margin_and_every_value() -> None:
    whole = prepared(Preprocessing(spacing_mm=SPACING, normalisation="zscore-brain"))
    found = prepared(
        Preprocessing(spacing_mm=SPACING, normalisation="zscore-brain", crop_margin_mm=6.0)
    )
    assert np.count_nonzero(found.brain.array) == np.count_nonzero(whole.brain.array)
    assert np.prod(found.grid.shape) < 0.8 * np.prod(whole.grid.shape)
    at = np.argwhere(found.brain.array)
    for axis in range(3):
        assert at[:, axis].min() <= 3
        assert at[:, axis].max() >= found.grid.shape[axis] - 4
    there = np.rint(whole.grid.indices_of(found.grid.positions_mm(at))).astype(int)
    for role, channel in found.channels.items():
        same = whole.channels[role].array[tuple(there.T)]
        assert channel.array[found.brain.array] == pytest.approx(same, abs=1e-4)


def test_the_number_of_threads_changes_nothing() -> None:
    matrix = moved((5, -4, 3), (6, -8, 5))
    volumes = {
        Role.T1C: scanned(a_head("T1C"), FINE),
        Role.FLAIR: scanned(a_head("FLAIR"), THICK, matrix),
    }
    spec = Preprocessing(spacing_mm=SPACING, normalisation="zscore-brain")
    one, two = (
        prepare(volumes, {Role.FLAIR: by(matrix)}, the_brain(FINE), spec, threads=threads)
        for threads in (1, 2)
    )
    for role, channel in one.channels.items():
        assert np.array_equal(channel.array, two.channels[role].array)


def test_a_head_that_is_given_its_pose_is_seen_in_it_and_knows_the_way_home() -> None:
    pose = moved((10, -6, 8), (-110, 110, -60), CENTRE)
    placement = Placement(matrix=pose, similarity=1.0, scale=1.0)
    head = scanned(a_head("T1C"), FINE, noise=0.0)
    spec = Preprocessing(space="brats", crop_margin_mm=5.0)
    found = prepare({Role.T1C: head}, {}, the_brain(FINE), spec, placement=placement)
    assert found.matrix is not None
    assert found.way_home is not None
    assert np.allclose(found.matrix @ found.way_home, np.eye(4))
    assert found.grid.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    bright = found.grid.positions_mm(np.argwhere(found.channels[Role.T1C].array > 850))
    at = found.matrix @ np.append(bright.mean(axis=0), 1.0)
    assert at[:3] == pytest.approx([36.0, 8.0, 32.0], abs=3.0)


def test_a_head_that_cannot_be_placed_stays_as_it_lay_with_a_finding() -> None:
    head = scanned(a_head("T1C"), FINE, noise=0.0)
    nothing = head.with_array(np.zeros(head.grid.shape, dtype=bool))
    found = prepare({Role.T1C: head}, {}, nothing, Preprocessing(space="brats"))
    assert found.matrix is None
    assert [finding.code for finding in found.findings] == [NOT_PLACED]
    assert not found.channels[Role.T1C].array.any()


@pytest.mark.parametrize("bad", [np.nan, 0.0, 5.0])
def test_volumes_without_content_give_zeros_and_never_nan(bad: float) -> None:
    head = scanned(a_head("T1C"), FINE, noise=0.0)
    flat = head.with_array(np.full(head.grid.shape, bad, dtype=np.float32))
    spec = Preprocessing(
        spacing_mm=SPACING, normalisation="zscore-brain", bias_correction=True, crop_margin_mm=0.0
    )
    found = prepare(
        {Role.T1C: head, Role.T1: flat}, {Role.T1: by(np.eye(4))}, the_brain(FINE), spec
    )
    assert not found.channels[Role.T1].array.any()
    assert np.isfinite(found.channels[Role.T1C].array).all()
