import numpy as np
import pytest

from node.domain.errors import MirroredSeries
from node.imaging.chirality import CLEAR, check_sides, sidedness
from node.imaging.pyramid import Pyramid
from node.imaging.scene import Scene
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import a_head, moved, scanned

CENTRE = (4.0, -10.0, 20.0)
FINE = a_grid((108, 132, 124), axes=SAGITTAL, spacing_mm=(1.5, 1.5, 1.5), centre_mm=CENTRE)
THICK = a_grid(
    (30, 180, 160), axes=tilted(AXIAL, 8.0), spacing_mm=(5.0, 1.1, 1.1), centre_mm=CENTRE
)
CORONAL_20 = a_grid((20, 180, 160), axes=CORONAL, spacing_mm=(7.0, 1.0, 1.0), centre_mm=CENTRE)
MOVE = moved((5.0, -4.0, 12.0), (6.0, -8.0, 5.0))


def mirrored(volume: Volume) -> Volume:
    """Exchange left and right of the content: the axis nearest to the patient's x is reversed."""
    axis = int(np.abs(volume.grid.directions[0]).argmax())
    return volume.with_array(np.ascontiguousarray(np.flip(volume.array, axis)))


def side(moving: Volume, fixed: Volume) -> float | None:
    scene = Scene.of(moving=Pyramid.of(moving), fixed=Pyramid.of(fixed))
    return sidedness(scene, scene.align((np.eye(4),)).matrix)


@pytest.mark.parametrize("grid", [FINE, THICK, CORONAL_20], ids=["sagittal", "axial", "coronal"])
@pytest.mark.parametrize("contrast", ["T1", "FLAIR"])
def test_a_head_and_its_mirror_image_are_told_apart(contrast: str, grid: Grid) -> None:
    fixed, moving = scanned(a_head("T1C"), FINE), scanned(a_head(contrast), grid, MOVE)
    own, other = side(moving, fixed), side(mirrored(moving), fixed)
    assert own is not None
    assert other is not None
    assert own > 1.5 * CLEAR
    assert other < -1.5 * CLEAR


def test_a_head_without_sides_has_none() -> None:
    grid = a_grid((100, 120, 100), spacing_mm=(2.0, 2.0, 2.0))
    places = grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T) - (3.0, -12.0, 20.0)
    radius = np.linalg.norm(places / (70.0, 85.0, 75.0), axis=1).reshape(grid.shape)
    head = Volume(array=np.where(radius < 1, 100 * np.cos(9 * radius) + 200, 0), grid=grid)
    found = side(head, head)
    assert found is not None
    assert abs(found) < 0.5 * CLEAR


def test_a_thin_slab_is_not_judged() -> None:
    slab = a_grid((3, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(4.0, -10.0, 30.0))
    assert side(scanned(a_head("T2"), slab), scanned(a_head("T1C"), FINE)) is None


def test_sides_that_agree_or_are_unsure_raise_nothing() -> None:
    check_sides({"T1": 0.5, "T2": 0.0, "FLAIR": -0.9 * CLEAR})
    check_sides({"T1": None})
    check_sides({})


def test_the_mirrored_series_is_named() -> None:
    with pytest.raises(MirroredSeries, match="exchanged in the T2 series"):
        check_sides({"the T1 series": 0.5, "the T2 series": -0.5})


def test_when_all_are_mirrored_the_reference_is_suspected() -> None:
    with pytest.raises(MirroredSeries, match="reference itself"):
        check_sides({"the T1 series": -0.4, "the T2 series": -0.5, "the FLAIR series": None})


def test_of_two_series_neither_is_blamed() -> None:
    with pytest.raises(MirroredSeries, match="which one is not known"):
        check_sides({"the T2 series": -0.5})
