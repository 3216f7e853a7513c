import numpy as np
import pytest

from node.domain.regions import Role
from node.imaging.brain import StrippedBrain
from node.imaging.prepare import ModelInput, Preprocessing, prepare
from node.imaging.register import Registration
from node.imaging.resample import resample
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
