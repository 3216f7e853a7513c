import numpy as np
import pytest

from node.imaging.bias import correct_bias
from node.imaging.volume import Array, Volume
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import tissues

SPACING = (3.0, 3.0, 3.0)


def a_shaded_brain() -> tuple[Volume, Volume, Array]:
    """Return a brain under a coil, its mask, and the field that shades it (1 in the mean)."""
    found = tissues()
    codes = found.array[::2, ::2, ::2]
    grid = a_grid(codes.shape, spacing_mm=SPACING, centre_mm=(0, 0, 0))
    values = np.array([0, 0, 0, 160, 450, 620, 1000], dtype=np.float32)[codes]
    random = np.random.default_rng(1).standard_normal(grid.shape).astype(np.float32)
    mask = codes >= 3
    z, y, x = (np.linspace(-1, 1, n) for n in grid.shape)
    curve = 0.35 * x[None, None] + 0.25 * (y[None, :, None] ** 2) - 0.2 * z[:, None, None]
    field = np.exp(curve)
    field /= field[mask].mean()
    clean = np.where(mask, values + 15 * random, 0)
    shaded = np.where(mask, clean * field, clean).astype(np.float32)
    return Volume(array=shaded, grid=grid), Volume(array=mask, grid=grid), field


def test_a_known_shading_is_flattened() -> None:
    shaded, mask, field = a_shaded_brain()
    found = correct_bias(shaded, mask)
    inside = mask.array & (shaded.array > 50)
    left = (found.array[inside] / shaded.array[inside]) * field[inside]
    assert left.std() < 0.4 * field[inside].std()
    assert found.array.dtype == np.float32


def test_brightness_as_a_whole_and_what_lies_outside_stay() -> None:
    shaded, mask, _ = a_shaded_brain()
    around = shaded.with_array(np.where(mask.array, shaded.array, 77).astype(np.float32))
    found = correct_bias(around, mask).array
    assert np.all(found[~mask.array] == 77)
    assert found[mask.array].mean() == pytest.approx(shaded.array[mask.array].mean(), rel=0.1)


@pytest.mark.parametrize("value", [0.0, np.nan, -5.0])
def test_a_channel_without_signal_comes_back_without_a_failure(value: float) -> None:
    shaded, mask, _ = a_shaded_brain()
    nothing = shaded.with_array(np.full(shaded.grid.shape, value, dtype=np.float32))
    assert np.array_equal(correct_bias(nothing, mask).array, np.nan_to_num(nothing.array))
