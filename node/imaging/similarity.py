"""How well two series fit at a given position: mutual information at points of the head.

Viola & Wells 1997, Maes et al. 1997 (doi:10.1109/42.563664). It asks only that one value
predicts the other, so T1 may be compared with FLAIR.
"""

from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.domain.errors import RegistrationFailed
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


def head_mask(image: sitk.Image) -> sitk.Image:
    """Return the head and a margin of air as uint8 of 1, without neck and jaw.

    By Otsu's threshold, down to BRAIN_HEIGHT_MM below the top; what lies lower bends and
    chews, and does not move with the brain.
    """
    head = sitk.OtsuThreshold(image, 0, 1, 128)
    volume = from_sitk(head)
    voxels = np.argwhere(volume.array)
    if len(voxels):
        heights_mm = volume.grid.positions_mm(voxels)[:, 2]
        low = voxels[heights_mm < np.percentile(heights_mm, TOP) - BRAIN_HEIGHT_MM]
        volume.array[tuple(low.T)] = 0
        head = to_sitk(volume)
    radius = [max(1, round(MARGIN_MM / mm)) for mm in image.GetSpacing()]
    return sitk.BinaryDilate(head, radius)


def points_in(mask: sitk.Image, number: int, seed: int) -> Affine:
    """Return (number, 3) random LPS positions, mm, spread evenly over the voxels of a mask.

    Points lie beside the voxel centres, because values at the centres are sharper than
    between them, which would favour positions where two grids coincide.
    Raises RegistrationFailed when the mask is empty.
    """
    volume = from_sitk(mask)
    voxels = np.argwhere(volume.array)
    if len(voxels) == 0:
        raise RegistrationFailed("A series shows no head, only one value.")
    random = np.random.default_rng(seed)
    chosen = voxels[random.integers(0, len(voxels), number)]
    return volume.grid.positions_mm(chosen + random.uniform(-0.5, 0.5, (number, 3)))


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
