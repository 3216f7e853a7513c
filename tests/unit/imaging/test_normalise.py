import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import BundleInvalid
from node.imaging.normalise import normalise
from node.imaging.volume import Volume
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import a_sphere

GRID = a_grid((10, 12, 14), centre_mm=(0, 0, 0))
BRAIN = Volume(array=a_sphere(GRID, (0, 0, 0), 4.5), grid=GRID)
VALUES = Volume(
    array=np.random.default_rng(0).normal(300, 80, GRID.shape).astype(np.float32), grid=GRID
)


def test_zscore_brain_has_mean_0_and_deviation_1_inside_and_0_outside() -> None:
    found = normalise(VALUES, BRAIN, "zscore-brain").array
    assert found.dtype == np.float32
    assert found[BRAIN.array].mean() == pytest.approx(0.0, abs=1e-5)
    assert found[BRAIN.array].std() == pytest.approx(1.0, abs=1e-5)
    assert not found[~BRAIN.array].any()


@given(st.floats(0.01, 500), st.floats(-1000, 1000))
def test_scanner_units_never_matter_after_zscore_brain(slope: float, intercept: float) -> None:
    rescaled = VALUES.with_array(VALUES.array.astype(np.float64) * slope + intercept)
    plain = normalise(VALUES, BRAIN, "zscore-brain").array
    assert np.allclose(normalise(rescaled, BRAIN, "zscore-brain").array, plain, atol=0.01)


def test_zscore_positive_leaves_zeros_alone() -> None:
    holed = VALUES.with_array(np.where(np.indices(GRID.shape)[0] % 2, 0, VALUES.array))
    found = normalise(holed, BRAIN, "zscore-positive").array
    used = BRAIN.array & (holed.array > 0)
    assert found[used].mean() == pytest.approx(0.0, abs=1e-5)
    assert not found[~used].any()


def test_none_changes_nothing_but_the_type() -> None:
    whole = VALUES.with_array(VALUES.array.astype(np.int16))
    found = normalise(whole, BRAIN, "none").array
    assert found.dtype == np.float32
    assert np.array_equal(found, whole.array)


def test_a_constant_channel_becomes_zero() -> None:
    flat = VALUES.with_array(np.full(GRID.shape, 7, dtype=np.float32))
    assert not normalise(flat, BRAIN, "zscore-brain").array.any()


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BundleInvalid, match="zscore-brain"):
        normalise(VALUES, BRAIN, "percentile")  # type: ignore[arg-type]
