import numpy as np
import pytest

from node.domain.errors import RegistrationFailed
from node.imaging.pyramid import LEVELS_MM, Pyramid
from node.imaging.volume import Affine, Volume
from tests.support.mr_series import CORONAL, a_grid
from tests.unit.imaging.cases import a_head, scanned

CENTRE = (4.0, -10.0, 20.0)
CORONAL_20 = a_grid((20, 180, 160), axes=CORONAL, spacing_mm=(7.0, 1.0, 1.0), centre_mm=CENTRE)


def test_levels_get_finer_and_stay_in_place() -> None:
    head = a_head("T1")
    levels = Pyramid.of(head).levels
    assert len(levels) == len(LEVELS_MM)
    assert [round(max(level.grid.spacing_mm), 1) for level in levels] == [9.0, 4.5, 1.5]
    for level in levels:
        weights = level.array / level.array.sum()
        middle = np.einsum("n,ni->i", weights.ravel(), positions(level))
        own = np.einsum("n,ni->i", head.array.ravel() / head.array.sum(), positions(head))
        assert np.abs(middle - own).max() < 1.0


def positions(volume: Volume) -> Affine:
    return volume.grid.positions_mm(np.indices(volume.grid.shape).reshape(3, -1).T)


@pytest.mark.parametrize("spacing", [0.999, 1.0, 1.001])
def test_a_hair_of_spacing_changes_no_level(spacing: float) -> None:
    grid = a_grid((40, 40, 40), spacing_mm=(spacing, spacing, spacing))
    array = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    levels = Pyramid.of(Volume(array=array, grid=grid)).levels
    assert [level.grid.shape for level in levels] == [(5, 5, 5), (10, 10, 10), (20, 20, 20)]


def test_thick_slices_are_never_merged() -> None:
    levels = Pyramid.of(scanned(a_head("T2"), CORONAL_20)).levels
    assert [level.grid.shape[0] for level in levels] == [20, 20, 20]


def test_points_lie_in_the_head_and_inner_ones_not_in_its_margin() -> None:
    head = a_head("T1", stripped=True)
    pyramid = Pyramid.of(head)
    everywhere, inner = pyramid.points_in_head(2000), pyramid.points_in_head(2000, inner=True)
    assert np.array_equal(everywhere, pyramid.points_in_head(2000))
    of_all, of_inner = (
        head.array[tuple(np.rint(head.grid.indices_of(points)).astype(int).T)]
        for points in (everywhere, inner)
    )
    assert 0.7 < np.mean(of_all > 0) < 1.0
    assert np.mean(of_inner > 0) > 0.95


def test_points_are_moved_to_thick_slices_and_nowhere_else() -> None:
    pyramid = Pyramid.of(scanned(a_head("T2"), CORONAL_20))
    points = pyramid.points_in_head(500)
    before = CORONAL_20.indices_of(points)
    after = CORONAL_20.indices_of(pyramid.on_slices(points, 2))
    assert np.allclose(after[:, 0], np.rint(before[:, 0]))
    assert np.allclose(after[:, 1:], before[:, 1:])
    even = Pyramid.of(a_head("T2"))
    assert np.allclose(even.on_slices(points, 2), points)


def test_one_value_is_no_head() -> None:
    grid = a_grid((30, 30, 30), spacing_mm=(5.0, 5.0, 5.0))
    with pytest.raises(RegistrationFailed, match="no head"):
        Pyramid.of(Volume(array=np.full(grid.shape, 3.0), grid=grid))
