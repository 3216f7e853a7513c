"""Correction of the coil's shading: N4, which a manifest may ask for.

Tustison et al. 2010, doi:10.1109/TMI.2010.2046908, as in ITK. The field is found on a coarse
grid and applied on the fine one.
"""

from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813

from node.imaging.bridges import place, to_sitk
from node.imaging.grids import box_around, cut
from node.imaging.normalise import LEAST_SPREAD
from node.imaging.volume import Array, Volume

COARSE_MM: Final = 4.0
"""Voxels on which the field is found; it bends over centimetres."""

ROUNDS: Final = (30, 20, 10)
"""Iterations at each level, at most: a bound on time."""

LEAST_VOXELS: Final = 500
"""Of brain on the coarse grid; with fewer there is no field to be found."""


def correct_bias(volume: Volume, brain: Volume) -> Volume:
    """Return float32 values divided by the smooth field that shades them.

    brain: bool, on the volume's grid; the field is found inside it, its mean there is 1, and
    values outside of it stay as they are. Where too little brain is above 0, or all of it is
    equal, nothing changes.
    """
    values = np.nan_to_num(volume.array.astype(np.float32), posinf=0.0, neginf=0.0)
    inside = brain.array & (values > 0)
    factors = [int(np.ceil(COARSE_MM / mm - 0.01)) for mm in volume.grid.spacing_mm]
    box = box_around(inside)
    if box is None or np.count_nonzero(inside) < LEAST_VOXELS * np.prod(factors):
        return volume.with_array(values)
    if np.ptp(values[inside]) <= LEAST_SPREAD * values[inside].max():
        return volume.with_array(values)  # a constant must not get a texture
    part = Volume(array=values[box], grid=cut(volume.grid, box))
    field = _field(part, inside[box], factors[::-1])
    field /= np.float32(field[inside[box]].mean(dtype=np.float64))
    values[box] = np.where(inside[box], part.array / field, part.array)
    return volume.with_array(values)


def _field(volume: Volume, inside: Array, factors: list[int]) -> Array:
    """Shading at each voxel; factors: voxels to one of the coarse grid, (column, row, slice)."""
    image = to_sitk(volume)
    mask = to_sitk(volume.with_array(inside))
    # Shrinking by picking would alias noise into the field: means of what is inside.
    weight = sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), factors)
    held = sitk.BinShrink(sitk.Mask(image, mask), factors)
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(1)  # its sums depend on them
    method.SetMaximumNumberOfIterations(ROUNDS)
    method.Execute(sitk.Divide(held, sitk.Maximum(weight, 1e-3)), weight > 0.5)
    like = place(sitk.Image(image.GetSize(), sitk.sitkFloat32), volume.grid)
    field: Array = np.exp(sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(like)))
    return field
