"""A series at several resolutions, coarse to fine, and points in the head that it shows."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.domain.errors import RegistrationFailed
from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.similarity import head_mask, with_even_range
from node.imaging.volume import Affine, Array, Grid, Volume

SEED: Final = 20_301
"""Of every random choice, so that the same input gives the same answer."""

LEVELS_MM: Final = (8.0, 4.0, 2.0)
"""Working spacings; an axis that is coarser stays as it is."""

HEAD_LEVEL: Final = 1
"""The head is found at 4 mm, which is as good as at 2 mm and ten times faster."""

ROUND_UP_FROM: Final = 0.65
"""A part of a voxel from which on one more goes into a bin: 1.2 mm becomes 2.4, 5 stays 5."""

FEWEST_PLANES: Final = 4
"""Binning leaves at least so many voxels along an axis."""

INNER_MM: Final = 6.0
"""Below the surface of the mask, which has a margin of air: the head alone.

Deeper points tell left from right better in most series and not at all in some (decision 17).
"""

THICK: Final = 1.5
"""An axis whose spacing is so much larger than the finest is that of thick slices."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pyramid:
    """A series prepared for comparisons, at best once for many.

    grid: its own. levels: float32, coarse to fine, as LEVELS_MM. head: bool, at HEAD_LEVEL;
    head_voxels, inner_voxels: (n, 3), indices of all of its voxels, and of those without its
    margin of air.
    """

    grid: Grid
    levels: tuple[Volume, ...]
    head: Volume
    head_voxels: Array
    inner_voxels: Array

    @classmethod
    def of(cls, volume: Volume, *, name: str = "A series") -> "Pyramid":
        """Prepare a series. Raises RegistrationFailed, with its name, when it shows one value."""
        image = to_sitk(with_even_range(volume))
        levels: list[Volume] = []
        for spacing_mm in reversed(LEVELS_MM):
            image = _binned(image, spacing_mm)
            levels.insert(0, from_sitk(image))
        head = head_mask(levels[HEAD_LEVEL])
        if not head.array.any():
            raise RegistrationFailed(f"{name} shows no head, only one value.")
        return cls(
            grid=volume.grid,
            levels=tuple(levels),
            head=head,
            head_voxels=np.argwhere(head.array),
            inner_voxels=np.argwhere(_depth_mm(head) > INNER_MM),
        )

    def points_in_head(self, number: int, *, inner: bool = False) -> Affine:
        """Return (number, 3) random LPS positions, mm, spread evenly over the head."""
        voxels = self.inner_voxels if inner else self.head_voxels
        random = np.random.default_rng(SEED)
        chosen = voxels[random.integers(0, len(voxels), number)]
        return self.head.grid.positions_mm(chosen + random.uniform(-0.5, 0.5, (number, 3)))

    def on_slices(self, positions_mm: Affine, level: int) -> Affine:
        """Move positions along the normal of thick slices to the nearest slice.

        There the values of a level are measured, not interpolated over some millimetres.
        Along the other axes positions stay beside the voxel centres, because values at the
        centres are sharper than between them, which would favour positions where two grids
        coincide.
        """
        grid = self.levels[level].grid
        indices = grid.indices_of(positions_mm)
        thick = np.array(grid.spacing_mm) > THICK * min(grid.spacing_mm)
        nearest = np.clip(np.rint(indices), 0, np.array(grid.shape) - 1)
        return grid.positions_mm(np.where(thick, nearest, indices))


def _depth_mm(head: Volume) -> Array:
    """Distance of each voxel from what is not head; what is not seen counts as that."""
    padded = np.pad(head.array, 1)
    depth: Array = ndimage.distance_transform_edt(padded, sampling=head.grid.spacing_mm)
    return depth[1:-1, 1:-1, 1:-1]


def _binned(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Average over whole numbers of voxels, up to about the spacing; one thread, same bits."""
    factors = [
        min(max(1, int(spacing_mm / mm + 1.0 - ROUND_UP_FROM)), max(1, size // FEWEST_PLANES))
        for mm, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    shrink = sitk.BinShrinkImageFilter()
    shrink.SetShrinkFactors(factors)
    shrink.SetNumberOfThreads(1)
    return sitk.Cast(shrink.Execute(image), sitk.sitkFloat32)
