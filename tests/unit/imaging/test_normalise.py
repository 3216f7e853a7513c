from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import BundleInvalid
from node.imaging.normalise import Normalisation, normalise
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


def test_percentiles_inside_the_brain_become_0_and_1() -> None:
    found = normalise(VALUES, BRAIN, "percentile", (10.0, 90.0)).array
    inside = VALUES.array[BRAIN.array]
    low, high = np.percentile(inside, [10, 90])
    assert found.dtype == np.float32
    assert found[BRAIN.array] == pytest.approx(
        np.clip((inside - low) / (high - low), 0, 1), abs=1e-5
    )
    assert np.mean(found[BRAIN.array] == 0) == pytest.approx(0.1, abs=0.02)
    assert np.mean(found[BRAIN.array] == 1) == pytest.approx(0.1, abs=0.02)
    assert not found[~BRAIN.array].any()


def test_what_lies_outside_the_brain_has_no_part_in_the_scale() -> None:
    bright = VALUES.with_array(np.where(BRAIN.array, VALUES.array, 1e6).astype(np.float32))
    for method in ("zscore-brain", "zscore-positive", "percentile"):
        assert np.array_equal(
            normalise(bright, BRAIN, method, (1.0, 99.0)).array,
            normalise(VALUES, BRAIN, method, (1.0, 99.0)).array,
        )


@pytest.mark.parametrize("method", ["zscore-brain", "zscore-positive", "percentile"])
@pytest.mark.parametrize("value", [0.0, 7.0, -3.3, 1e-6, 1e6])
def test_a_constant_channel_becomes_zero(method: Normalisation, value: float) -> None:
    flat = VALUES.with_array(np.full(GRID.shape, value, dtype=np.float32))
    assert not normalise(flat, BRAIN, method, (1.0, 99.0)).array.any()


@pytest.mark.parametrize("method", ["zscore-brain", "zscore-positive", "percentile"])
def test_an_empty_brain_gives_zeros(method: Normalisation) -> None:
    nothing = BRAIN.with_array(np.zeros(GRID.shape, dtype=bool))
    assert not normalise(VALUES, nothing, method, (1.0, 99.0)).array.any()


@pytest.mark.parametrize("method", get_args(Normalisation))
def test_what_is_no_number_counts_as_0(method: Normalisation) -> None:
    holed = VALUES.array.copy()
    holed[::3] = [[np.nan], [np.inf], [-np.inf]] * 4
    found = normalise(VALUES.with_array(holed), BRAIN, method, (1.0, 99.0)).array
    as_zero = VALUES.with_array(np.where(np.isfinite(holed), holed, 0))
    assert np.array_equal(found, normalise(as_zero, BRAIN, method, (1.0, 99.0)).array)
    assert np.isfinite(found).all()
    assert not np.isfinite(holed).all(), "the values handed in are left alone"


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BundleInvalid, match="zscore-brain"):
        normalise(VALUES, BRAIN, "histogram")  # type: ignore[arg-type]


def test_percentile_without_percentiles_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="two percentiles"):
        normalise(VALUES, BRAIN, "percentile")
