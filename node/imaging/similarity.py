"""How well two series fit at a given position: mutual information at points of the head.

Viola & Wells 1997, Maes et al. 1997 (doi:10.1109/42.563664). It asks only that one value
predicts the other, so T1 may be compared with FLAIR.
"""

from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.volume import Affine, Array, Volume

BINS: Final = 48
"""Grey levels of the joint histogram along each axis."""

BRIGHTEST: Final = 99.5
"""Percentile of the signal above which all is equally bright: vessels, fat, artefacts."""

BRAIN_HEIGHT_MM: Final = 160.0
TOP: Final = 99.9
"""From the top of the head (this percentile of heights) the brain reaches down so far."""

MARGIN_MM: Final = 6.0
"""Air around the head that still belongs to the points, so that its outline counts."""


def with_even_range(volume: Volume) -> Volume:
    """Return float32 values from the minimum up to the brightest that matter."""
    array = volume.array.astype(np.float32)
    lowest = array.min()
    signal = array[array > lowest]
    if signal.size == 0:
        return volume.with_array(array)
    brightest = np.percentile(signal[:: max(1, signal.size // 200_000)], BRIGHTEST)
    return volume.with_array(np.minimum(array, np.float32(brightest)))


def head_mask(volume: Volume) -> Volume:
    """Return where the head and a margin of air are, bool, without neck and jaw.

    By Otsu's threshold, down to BRAIN_HEIGHT_MM below the top; what lies lower bends and
    chews, and does not move with the brain.
    """
    head = from_sitk(sitk.OtsuThreshold(to_sitk(volume), 0, 1, 128))
    voxels = np.argwhere(head.array)
    if len(voxels):
        heights_mm = head.grid.positions_mm(voxels)[:, 2]
        low = voxels[heights_mm < np.percentile(heights_mm, TOP) - BRAIN_HEIGHT_MM]
        head.array[tuple(low.T)] = 0
    reach = [max(1, round(MARGIN_MM / mm)) for mm in volume.grid.spacing_mm[::-1]]
    wide = from_sitk(sitk.BinaryDilate(to_sitk(head), reach))
    return volume.with_array(wide.array > 0)


def values_at(volume: Volume, positions_mm: Affine) -> tuple[Array, Array]:
    """Linear values at (n, 3) positions, and which of them lie inside the field of view."""
    indices = volume.grid.indices_of(positions_mm)
    values = ndimage.map_coordinates(volume.array, indices.T, order=1, mode="nearest")
    return values, volume.grid.holds(positions_mm)


def mutual_information(a: Array, b: Array) -> float:
    """Mutual information of paired values in nats; 0 when one of them is constant."""
    if a.size == 0:
        return 0.0
    cells = _levels(a) * BINS + _levels(b)
    counts = np.bincount(cells, minlength=BINS * BINS).reshape(BINS, BINS).astype(np.float64)
    joint = ndimage.gaussian_filter(counts, 1.0, mode="constant")
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    present = joint > 0.0
    return float((joint[present] * np.log(joint[present] / independent[present])).sum())


def _levels(values: Array) -> Array:
    lowest, highest = float(values.min()), float(values.max())
    scaled = (values - lowest) / max(highest - lowest, 1e-12) * BINS
    return np.clip(scaled.astype(np.int64), 0, BINS - 1)
