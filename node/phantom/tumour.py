"""A glioma of known shape: necrotic core, enhancing rim, oedema that follows white matter."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from scipy import ndimage

from node.imaging.volume import Affine, Array, Grid, Volume
from node.phantom.fields import Floats, coordinates, smooth_noise
from node.phantom.tissues import Tissue

NECROSIS: Final = 1
OEDEMA: Final = 2
ENHANCING: Final = 3

TISSUE_OF_LABEL: Final[Mapping[int, Tissue]] = MappingProxyType(
    {NECROSIS: Tissue.NECROSIS, OEDEMA: Tissue.OEDEMA, ENHANCING: Tissue.ENHANCING}
)
"""The labels of Segnode and what they are made of."""

PUSH_MM: Final = 4.0
"""How far the tumour moves the tissue next to it."""

BORDER_MM: Final = 0.7
"""Standard deviation of the blur between tissues."""


class Side(StrEnum):
    """Hemisphere, of the patient."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tumour:
    """What grows, and where.

    from_midline_mm, back_mm, up_mm: centre of the core, LPS without its sign of side.
    radii_mm: of the core (necrosis and rim) along x, y and z before irregularity.
    irregularity_mm: standard deviation of the surface. rim_mm: mean thickness of the enhancing
    rim, +-1 mm. oedema_mm: reach of the oedema in white matter, +-4 mm; less in cortex.
    """

    side: Side = Side.LEFT
    from_midline_mm: float = 34.0
    back_mm: float = 4.0
    up_mm: float = 29.0
    radii_mm: tuple[float, float, float] = (14.0, 18.0, 16.0)
    irregularity_mm: float = 2.6
    rim_mm: float = 4.0
    oedema_mm: float = 12.0

    @property
    def centre_mm(self) -> Affine:
        """Centre of the core in head space, LPS mm, (3,); the patient's left is +x."""
        sign = 1.0 if self.side is Side.LEFT else -1.0
        return np.array([sign * self.from_midline_mm, self.back_mm, self.up_mm])

    @property
    def mean_radius_mm(self) -> float:
        """Radius of the ball of the core's volume."""
        return float(np.prod(self.radii_mm) ** (1.0 / 3.0))


DEFAULT_TUMOUR: Final = Tumour()


def push(tumour: Tumour, grid: Grid) -> Floats:
    """Displacement to where tissue comes from when the tumour has made room: (z, y, x, 3), mm."""
    x, y, z = coordinates(grid)
    centre = tumour.centre_mm
    away = np.stack(np.broadcast_arrays(x - centre[0], y - centre[1], z - centre[2]), axis=-1)
    reach = np.linalg.norm(away, axis=-1, keepdims=True) / tumour.mean_radius_mm
    push_mm = min(PUSH_MM, 0.25 * tumour.mean_radius_mm)  # more would fold the tissue
    strength = push_mm * np.exp(0.5 - 0.5 * reach**2) / tumour.mean_radius_mm
    vectors: Floats = (-away * strength).astype(np.float32)
    return vectors


def grow(
    rng: np.random.Generator, tumour: Tumour, brain: Volume, tissue: Array, white: Array
) -> Volume:
    """Labels of the tumour, uint8, on the grid of the brain.

    brain: bool, with its fluid; tissue: bool, without; white: fraction of white matter. The
    core displaces anything inside the brain; oedema stays in tissue, reaches farthest in white
    matter and hangs together with the core.
    Raises ValueError when no part of the core lies in the brain.
    """
    grid = brain.grid
    window = _window(tumour, grid)
    part = Grid(shape=_shape(window), affine=_moved(grid, window))
    level = _core_level(rng, tumour, part)
    level[~brain.array[window]] = np.inf
    if not np.any(level <= 0):
        raise ValueError("the tumour lies outside the brain")
    rim = tumour.rim_mm + np.clip(smooth_noise(rng, part, 5.0), -1.0, 1.0)
    reach = tumour.oedema_mm + 4.0 * np.clip(smooth_noise(rng, part, 8.0), -1.0, 1.0)
    smooth_white = ndimage.gaussian_filter(white[window], 1.2)
    outside = ndimage.distance_transform_edt(level > 0)
    swollen = (outside < reach * (0.25 + 0.75 * smooth_white)) & tissue[window]
    labels = np.zeros(part.shape, dtype=np.uint8)
    labels[_connected(swollen | (level <= 0), level)] = OEDEMA
    labels[level <= 0] = ENHANCING
    labels[level <= -rim] = NECROSIS
    whole = np.zeros(grid.shape, dtype=np.uint8)
    whole[window] = labels
    return brain.with_array(whole)


def fractions(labels: Array) -> dict[Tissue, Floats]:
    """How much of each voxel is which tumour tissue; borders are some voxels wide.

    One width for all, so that nothing healthy shows between two of them.
    """
    return {
        tissue: ndimage.gaussian_filter((labels == label).astype(np.float32), BORDER_MM)
        for label, tissue in TISSUE_OF_LABEL.items()
    }


def _core_level(rng: np.random.Generator, tumour: Tumour, grid: Grid) -> Floats:
    x, y, z = coordinates(grid)
    centre, radii = tumour.centre_mm, tumour.radii_mm
    scaled = np.sqrt(
        ((x - centre[0]) / radii[0]) ** 2
        + ((y - centre[1]) / radii[1]) ** 2
        + ((z - centre[2]) / radii[2]) ** 2
    )
    bumps = tumour.irregularity_mm * np.clip(smooth_noise(rng, grid, 7.0), -2.0, 2.0)
    level: Floats = ((scaled - 1.0) * tumour.mean_radius_mm + bumps).astype(np.float32)
    return level


def _connected(mask: Array, level: Floats) -> Array:
    parts, _ = ndimage.label(mask)
    found: Array = parts == parts[np.unravel_index(int(level.argmin()), level.shape)]
    return found


def _window(tumour: Tumour, grid: Grid) -> tuple[slice, slice, slice]:
    reach = np.array(tumour.radii_mm) + tumour.oedema_mm + 2.0 * (4.0 + tumour.irregularity_mm)
    ends = grid.indices_of(np.array([tumour.centre_mm - reach, tumour.centre_mm + reach]))
    low = np.maximum(np.floor(ends.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(ends.max(axis=0)) + 1, grid.shape).astype(int)
    if np.any(low >= high):
        raise ValueError("the tumour lies outside the brain")
    return (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))


def _shape(window: tuple[slice, slice, slice]) -> tuple[int, int, int]:
    sizes = [part.stop - part.start for part in window]
    return (sizes[0], sizes[1], sizes[2])


def _moved(grid: Grid, window: tuple[slice, slice, slice]) -> Affine:
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.positions_mm(np.array([[part.start for part in window]]))[0]
    return affine
