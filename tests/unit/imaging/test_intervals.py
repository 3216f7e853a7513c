"""Intervals of volumes."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.measurement import Interval
from node.imaging.intervals import START_ML, disagreement, interval

volumes = st.floats(0, 500)
opinions = st.lists(volumes, min_size=2, max_size=6)


@dataclass(frozen=True)
class Spread:
    floor: float
    gain: float


def found(volume_ml: float, seen: list[float], spread: Spread) -> Interval:
    made = interval(volume_ml, seen, spread, "tried on nine cases")
    assert made is not None
    return made


def test_an_interval_is_the_volume_times_and_divided_by_a_factor() -> None:
    made = found(100.0, [90.0, 110.0], Spread(0.05, 0.0))
    assert made.low_ml == pytest.approx(100 / math.exp(1.96 * 0.05), rel=1e-3)
    assert made.high_ml == pytest.approx(100 * math.exp(1.96 * 0.05), rel=1e-3)


def test_the_disagreement_of_opinions_counts_with_its_gain() -> None:
    seen = [80.0, 100.0, 120.0]
    apart = float(np.log(seen).std(ddof=1))
    made = found(100.0, seen, Spread(0.03, 2.0))
    expected = math.exp(1.96 * math.hypot(0.03, 2.0 * apart))
    assert made.high_ml == pytest.approx(100 * expected, rel=2e-3)


@given(volumes, opinions, st.floats(0, 1), st.floats(0, 3))
def test_an_interval_holds_its_volume_and_no_negative_ones(
    volume: float, seen: list[float], floor: float, gain: float
) -> None:
    made = found(volume, seen, Spread(floor, gain))
    assert 0.0 <= made.low_ml <= volume + 1e-4
    assert volume <= made.high_ml + 1e-4


@given(volumes, opinions, st.floats(0, 1), st.floats(0, 3), st.floats(1, 2))
def test_more_doubt_never_makes_an_interval_narrower(
    volume: float, seen: list[float], floor: float, gain: float, more: float
) -> None:
    narrow = found(volume, seen, Spread(floor, gain))
    wide = found(volume, seen, Spread(floor * more, gain * more))
    assert wide.low_ml <= narrow.low_ml
    assert wide.high_ml >= narrow.high_ml


def test_an_empty_region_that_one_view_sees_reaches_further_than_one_that_none_sees() -> None:
    spread = Spread(0.1, 1.0)
    none, one = found(0.0, [0.0, 0.0, 0.0], spread), found(0.0, [0.0, 0.0, 1.0], spread)
    assert none.low_ml == one.low_ml == 0.0
    assert 0.0 < none.high_ml < START_ML
    assert one.high_ml > 10 * none.high_ml


def test_a_volume_in_the_last_drops_may_be_nothing_at_all() -> None:
    assert found(0.01, [0.01, 0.01], Spread(0.2, 1.0)).low_ml == 0.0
    assert found(1.0, [1.0, 1.0], Spread(0.2, 1.0)).low_ml > 0.5


def test_without_opinions_there_is_an_interval_only_where_none_are_needed() -> None:
    assert disagreement([3.0]) is None
    assert interval(5.0, [], Spread(0.1, 1.0), "method") is None
    assert interval(5.0, [5.0], Spread(0.1, 1.0), "method") is None
    assert found(5.0, [], Spread(0.1, 0.0)).low_ml < 5.0


@given(st.floats(1, 300), st.floats(0.02, 0.5))
def test_19_of_20_volumes_with_the_stated_error_lie_inside(truth: float, deviation: float) -> None:
    random = np.random.default_rng(1)
    guesses = np.exp(np.log(truth + START_ML) + deviation * random.standard_normal(2000)) - START_ML
    made = [found(max(float(guess), 0.0), [], Spread(deviation, 0.0)) for guess in guesses[:400]]
    inside = sum(one.low_ml <= truth <= one.high_ml for one in made)
    assert inside / len(made) == pytest.approx(0.95, abs=0.025)


def test_the_method_says_what_was_done_and_what_it_does_not_cover() -> None:
    method = found(10.0, [9.0, 10.0, 12.0], Spread(0.1, 1.0)).method
    assert method.startswith("tried on nine cases; ")
    assert "from 3 opinions" in method
    assert "not covered" in method
