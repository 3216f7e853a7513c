import numpy as np
import pytest
from scipy import ndimage

from node.domain.errors import BrainNotFound
from node.imaging.brain import StrippedBrain, check_brain, is_stripped
from node.imaging.volume import Volume
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import CONTRASTS, a_head, a_sphere, scanned, tissues

THICK = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(4.0, -10.0, 20.0))


@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_a_brain_on_a_constant_background_is_stripped(contrast: str) -> None:
    assert is_stripped(a_head(contrast, stripped=True))
    assert is_stripped(scanned(a_head(contrast, stripped=True), THICK, noise=0.0))


def test_a_background_of_another_value_than_zero_is_one_too() -> None:
    head = a_head("T1C", stripped=True)
    assert is_stripped(head.with_array(np.where(head.array == 0, -3.5, head.array)))


@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_a_head_on_a_constant_background_is_not_stripped(contrast: str) -> None:
    assert not is_stripped(a_head(contrast))
    assert not is_stripped(scanned(a_head(contrast), THICK, noise=0.0))


def test_a_head_in_noisy_air_is_not_stripped() -> None:
    assert not is_stripped(scanned(a_head("T1C"), THICK))


def test_an_empty_volume_and_a_small_thing_are_not_stripped_brains() -> None:
    grid = a_grid((40, 40, 40), spacing_mm=(4, 4, 4))
    assert not is_stripped(Volume(array=np.zeros(grid.shape, np.float32), grid=grid))
    ball = a_sphere(grid, (3.0, -12.0, 20.0), 30.0)
    assert not is_stripped(Volume(array=ball.astype(np.float32), grid=grid))


def test_the_brain_of_a_stripped_volume_is_all_but_its_background() -> None:
    head = a_head("T1", stripped=True)
    truth = tissues().array >= 3
    holes = head.with_array(np.where(ndimage.binary_erosion(truth, iterations=30), 0, head.array))
    brain = StrippedBrain()(holes)
    assert brain.array.dtype == np.bool_
    assert brain.array[truth].all()
    assert np.count_nonzero(brain.array) < 1.02 * np.count_nonzero(truth)


def test_a_brain_that_is_too_small_too_large_or_in_pieces_is_refused() -> None:
    grid = a_grid((50, 60, 60), spacing_mm=(4, 4, 4), centre_mm=(0, 0, 0))

    def balls(*radii: float) -> Volume:
        places = [(-60.0, 0.0, 0.0), (60.0, 0.0, 0.0)]
        parts = [a_sphere(grid, c, r) for c, r in zip(places, radii, strict=False)]
        return Volume(array=np.any(parts, axis=0), grid=grid)

    check_brain(balls(68.0))
    with pytest.raises(BrainNotFound, match="mL"):
        check_brain(balls(40.0))
    with pytest.raises(BrainNotFound, match="mL"):
        check_brain(balls(85.0))
    with pytest.raises(BrainNotFound, match="falls apart"):
        check_brain(balls(55.0, 50.0))
    with pytest.raises(BrainNotFound):
        check_brain(Volume(array=np.zeros(grid.shape, dtype=bool), grid=grid))
