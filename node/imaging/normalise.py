"""Intensity normalisation, as a bundle's manifest names it."""

from typing import Literal, get_args

import numpy as np

from node.domain.errors import BundleInvalid
from node.imaging.volume import Array, Volume

Normalisation = Literal["zscore-brain", "zscore-positive", "none"]


def normalise(volume: Volume, brain: Volume, method: Normalisation) -> Volume:
    """Return float32 values normalised by a method.

    zscore-brain: mean 0 and standard deviation 1 inside the brain, 0 outside.
    zscore-positive: the same over the voxels above 0 inside the brain, 0 outside.
    none: the values as they are. Raises BundleInvalid for an unknown method.
    """
    known = get_args(Normalisation)
    if method not in known:
        raise BundleInvalid(f"Normalisation {method!r} is not known; known are {', '.join(known)}.")
    values = volume.array.astype(np.float32)
    if method == "zscore-brain":
        values = _zscore(values, brain.array)
    elif method == "zscore-positive":
        values = _zscore(values, brain.array & (values > 0))
    return volume.with_array(values)


def _zscore(values: Array, where: Array) -> Array:
    scaled = np.zeros_like(values)
    inside = values[where].astype(np.float64)
    spread = inside.std() if inside.size else 0.0
    if spread > 0:
        scaled[where] = (inside - inside.mean()) / spread
    return scaled
