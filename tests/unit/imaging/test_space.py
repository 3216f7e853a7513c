import numpy as np
import pytest

from node.domain.errors import RegistrationFailed
from node.imaging.resample import resample, to_native
from node.imaging.space import (
    BRATS_CENTRE_MM,
    BRATS_GRID,
    TEMPLATE_CENTRE_MM,
    _template,
    place_in_brats,
)
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import AXIAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import a_sphere, inverse, moved

BRAIN = _template()
SIZE = 0.93
"""The template itself, in a patient's size, is the patient here: where it belongs is known."""


def scanned_at(
    degrees: tuple[float, float, float], millimetres: tuple[float, float, float], grid: Grid
) -> Volume:
    smaller = np.diag([SIZE, SIZE, SIZE, 1.0])
    smaller[:3, 3] = (1.0 - SIZE) * np.array(TEMPLATE_CENTRE_MM)
    matrix = moved(degrees, millimetres, TEMPLATE_CENTRE_MM) @ smaller
    return resample(BRAIN, grid, matrix=inverse(matrix))


def a_scan() -> Volume:
    grid = a_grid((70, 90, 90), axes=SAGITTAL, spacing_mm=(2.5, 2.5, 2.5), centre_mm=(0, 20, 10))
    return scanned_at((0, 0, 0), (0, 0, 0), grid)


def test_brats_grid_is_the_one_of_its_files() -> None:
    """NIfTI affine of the cases: diag(-1, -1, 1) with offset (0, 239, 0), columns first."""
    last = BRATS_GRID.positions_mm(np.array([[0, 0, 0], [154, 239, 239]]))
    assert last.tolist() == [[0.0, -239.0, 0.0], [239.0, 0.0, 154.0]]
    assert BRATS_GRID.shape == (155, 240, 240)


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (18.0, -8.0, 12.0), (-25.0, 5.0, 0.0)])
def test_a_brain_gets_the_same_pose_however_it_lay(degrees: tuple[float, float, float]) -> None:
    shift = (12.0, -20.0, 15.0)
    middle = np.array(TEMPLATE_CENTRE_MM) + shift
    grid = a_grid(
        (48, 110, 110),
        axes=tilted(AXIAL, 7.0),
        spacing_mm=(5.0, 2.0, 2.0),
        centre_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
    )
    scan = scanned_at(degrees, shift, grid)
    found = place_in_brats(scan, scan.with_array(scan.array > 20))
    straight = a_scan()
    expected = place_in_brats(straight, straight.with_array(straight.array > 20))
    movement = moved(degrees, shift, TEMPLATE_CENTRE_MM)
    there = np.array(BRATS_CENTRE_MM) + 50.0 * np.vstack([np.eye(3), -np.eye(3)])
    for point in there:
        at = np.append(point, 1.0)
        assert found.matrix @ at == pytest.approx(movement @ expected.matrix @ at, abs=2.0)
    assert np.allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-8)
    assert found.scale == pytest.approx(SIZE, abs=0.04)


def test_labels_go_there_and_come_home_by_one_resampling() -> None:
    scan = a_scan()
    placed = place_in_brats(scan, scan.with_array(scan.array > 20))
    native = a_grid((150, 160, 160), axes=tilted(SAGITTAL, 9.0), centre_mm=(0, 20, 10))
    markers = ((30.0, 10.0, 20.0), (-25.0, 40.0, 0.0), (5.0, -20.0, 45.0))
    array = np.zeros(native.shape, dtype=np.uint8)
    for label, marker in enumerate(markers, start=1):
        array[a_sphere(native, marker, 9.0)] = label
    labels = Volume(array=array, grid=native)
    seen = to_native(labels, BRATS_GRID, matrix=placed.matrix)
    home = to_native(seen, native, matrix=inverse(placed.matrix))
    for label, marker in enumerate(markers, start=1):
        mine, theirs = array == label, home.array == label
        assert 2 * np.count_nonzero(mine & theirs) / (mine.sum() + theirs.sum()) > 0.97
        centre = native.positions_mm(np.argwhere(theirs)).mean(axis=0)
        assert centre == pytest.approx(marker, abs=0.1)


def test_the_same_head_is_placed_the_same_twice() -> None:
    scan = a_scan()
    brain = scan.with_array(scan.array > 20)
    first, second = place_in_brats(scan, brain), place_in_brats(scan, brain)
    assert np.array_equal(first.matrix, second.matrix)


def test_what_is_no_brain_is_refused() -> None:
    grid = a_grid((40, 60, 60), spacing_mm=(4.0, 3.0, 3.0), centre_mm=(0, 20, 10))
    noise = np.random.default_rng(0).normal(300, 60, grid.shape).astype(np.float32)
    everything = Volume(array=np.ones(grid.shape, dtype=bool), grid=grid)
    speck = Volume(array=a_sphere(grid, (0, 20, 10), 25.0), grid=grid)
    nothing = Volume(array=np.zeros(grid.shape, dtype=bool), grid=grid)
    for brain in (everything, speck, nothing):
        with pytest.raises(RegistrationFailed):
            place_in_brats(Volume(array=noise, grid=grid), brain)
