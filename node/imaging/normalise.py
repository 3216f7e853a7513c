"""Intensity normalisation, as a bundle's manifest names it.

A value that is no number counts as 0, and nothing here ever makes one: what has no spread
(a constant channel, an empty brain) becomes 0 throughout.
"""

from typing import Final, Literal, get_args

import numpy as np

from node.domain.errors import BundleInvalid
from node.imaging.volume import Array, Volume

Normalisation = Literal["zscore-brain", "zscore-positive", "percentile", "none"]

LEAST_SPREAD: Final = 1e-5
"""Spread below this share of the largest value is rounding of float32: a constant channel."""


def normalise(
    volume: Volume,
    brain: Volume,
    method: Normalisation,
    percentiles: tuple[float, float] | None = None,
) -> Volume:
    """Return float32 values normalised by a method.

    zscore-brain: mean 0 and standard deviation 1 inside the brain, 0 outside.
    zscore-positive: the same over the voxels above 0 inside the brain, 0 outside.
    percentile: values inside the brain are clipped to its two percentiles (numpy's linear
    rule), which become 0 and 1; 0 outside. none: the values as they are.
    Raises BundleInvalid for an unknown method, or for percentile without percentiles.
    """
    known = get_args(Normalisation)
    if method not in known:
        raise BundleInvalid(f"Normalisation {method!r} is not known; known are {', '.join(known)}.")
    values = np.nan_to_num(volume.array.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    if method == "zscore-brain":
        values = _zscore(values, brain.array)
    elif method == "zscore-positive":
        values = _zscore(values, brain.array & (values > 0))
    elif method == "percentile":
        if percentiles is None:
            raise BundleInvalid("Normalisation 'percentile' needs its two percentiles.")
        values = _between(values, brain.array, percentiles)
    return volume.with_array(values)


def _zscore(values: Array, where: Array) -> Array:
    inside = values[where]
    if inside.size == 0:
        return np.zeros_like(values)
    # float32 sums of millions of values lose digits, float64 copies of them cost memory
    mean = float(inside.mean(dtype=np.float64))
    inside -= np.float32(mean)
    spread = float(np.sqrt(np.square(inside).mean(dtype=np.float64)))
    if spread <= LEAST_SPREAD * abs(mean):
        return np.zeros_like(values)
    return _outside_zero(values, where, inside / np.float32(spread))


def _between(values: Array, where: Array, percentiles: tuple[float, float]) -> Array:
    inside = values[where]
    if inside.size == 0:
        return np.zeros_like(values)
    low, high = (float(value) for value in np.percentile(inside, percentiles))
    if high - low <= LEAST_SPREAD * max(abs(low), abs(high)):
        return np.zeros_like(values)
    scaled = (inside.clip(low, high) - np.float32(low)) / np.float32(high - low)
    return _outside_zero(values, where, scaled.clip(0.0, 1.0))


def _outside_zero(like: Array, where: Array, inside: Array) -> Array:
    result = np.zeros_like(like)
    result[where] = inside
    return result
