"""The brain of the phantom: ICBM152 as nilearn ships it, made into one person's brain.

Grey, white and fluid are read from the T1 template alone, because there they fit each other at
every border. Source: Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from node.imaging.bridges import lps_affine
from node.imaging.volume import Array, Grid, Volume
from node.phantom.fields import Floats, displacement, sample, smooth_noise, smooth_warp
from node.phantom.space import BRAIN_GRID
from node.phantom.tumour import Tumour, push

WARP_MM: Final = 1.6
"""How far two persons' brains differ locally."""

FLUID_T1: Final = 0.33
TISSUE_T1: Final = 0.58
GREY_T1: Final = 0.66
WHITE_T1: Final = 0.84
"""Template values between which fluid turns into tissue and grey into white matter."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Brain:
    """Fractions of fluid and white matter in the voxels of the brain; the rest is grey.

    mask: bool, the brain with its ventricles and sulci. fluid, white: float32, one value for
    each voxel of the mask in array order.
    """

    mask: Volume
    fluid: Floats
    white: Floats

    def spread(self, values: Floats) -> Array:
        """Values of the voxels of the mask in an array of its grid, zero elsewhere."""
        array = np.zeros(self.mask.grid.shape, dtype=np.float32)
        array[self.mask.array] = values
        return array


@lru_cache(maxsize=1)
def _template() -> Volume:
    """Brain of ICBM152, T1, values from 0 to 1, 1 mm."""
    image = load_mni152_template(resolution=1)
    array = np.asarray(image.dataobj, dtype=np.float32)
    sharper = array + 0.9 * (array - ndimage.gaussian_filter(array, 1.6))
    sharper = np.where(array > 0, np.clip(sharper, 0.05, 1.0), 0.0).astype(np.float32)
    affine = lps_affine(image.affine)[:, [2, 1, 0, 3]]
    values = np.ascontiguousarray(sharper.transpose(2, 1, 0))
    return Volume(array=values, grid=Grid(shape=values.shape, affine=affine))


def make_brain(rng: np.random.Generator, tumour: Tumour | None) -> Brain:
    """Brain of one person on BRAIN_GRID, displaced by the tumour."""
    grid = BRAIN_GRID
    field_grid, vectors = smooth_warp(rng, grid, 28.0, WARP_MM)
    if tumour is not None:
        vectors = vectors + push(tumour, field_grid)
    transform = displacement(field_grid, vectors)
    array = sample(_template(), grid, transform=transform).array
    mask = _solid(array > 0.2)
    t1 = array[mask] + np.float32(0.012) * smooth_noise(rng, grid, 2.5)[mask]
    fluid = np.clip((TISSUE_T1 - t1) / (TISSUE_T1 - FLUID_T1), 0.0, 1.0)
    white = np.clip((t1 - GREY_T1) / (WHITE_T1 - GREY_T1), 0.0, 1.0)
    return Brain(mask=Volume(array=mask, grid=grid), fluid=fluid, white=white)


def _solid(mask: Array) -> Array:
    """Fill what is enclosed on all sides."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    filled: Array = sitk.GetArrayFromImage(sitk.BinaryFillhole(image)).astype(bool)
    return filled
