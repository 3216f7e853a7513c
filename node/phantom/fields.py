"""Random smooth fields and resampling for the phantom."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.volume import Affine, Array, Grid, Volume

Floats = NDArray[np.float32]


def axis_grid(lower_mm: Sequence[float], upper_mm: Sequence[float], spacing_mm: float) -> Grid:
    """Grid along the LPS axes from corner to corner, bounds as (x, y, z); indexed (z, y, x)."""
    size = [
        round((high - low) / spacing_mm) + 1 for low, high in zip(lower_mm, upper_mm, strict=True)
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * spacing_mm
    affine[:3, 3] = lower_mm
    return Grid(shape=(size[2], size[1], size[0]), affine=affine)


def bounds_mm(grid: Grid) -> tuple[Affine, Affine]:
    """Lowest and highest LPS coordinates of the voxel centres, (3,) each."""
    corners = np.array(np.meshgrid(*((0, n - 1) for n in grid.shape), indexing="ij"))
    positions = grid.positions_mm(corners.reshape(3, -1).T)
    return positions.min(axis=0), positions.max(axis=0)


def sample(
    volume: Volume, grid: Grid, *, transform: sitk.Transform | None = None, nearest: bool = False
) -> Volume:
    """Values of the volume at the voxel centres of a grid, zero outside, float32 or its type.

    transform: maps LPS points of the grid to LPS points of the volume.
    """
    target = sitk.Image([int(n) for n in grid.shape[::-1]], sitk.sitkUInt8)
    target.SetSpacing([float(mm) for mm in grid.spacing_mm[::-1]])
    target.SetOrigin([float(mm) for mm in grid.origin_mm])
    target.SetDirection([float(c) for c in grid.directions[:, ::-1].flatten()])
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    image = sitk.Resample(to_sitk(volume), target, transform or sitk.Transform(), interpolator, 0.0)
    return Volume(array=from_sitk(image).array, grid=grid)


def undone(matrix: Affine) -> sitk.Transform:
    """SimpleITK transform of the inverse of a (4, 4) LPS matrix."""
    matrix = np.linalg.inv(matrix).astype(np.float64)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(value) for value in matrix[:3, :3].flatten()])
    transform.SetTranslation([float(value) for value in matrix[:3, 3]])
    return transform


def smooth_noise(rng: np.random.Generator, grid: Grid, scale_mm: float) -> Floats:
    """Random field of unit variance whose bumps are about scale_mm wide, on the grid.

    Drawn on a grid along the LPS axes of half that spacing, so the same generator state and
    place give the same field at every resolution.
    """
    lower, upper = bounds_mm(grid)
    margin = 2.0 * scale_mm
    coarse = axis_grid(list(lower - margin), list(upper + margin), scale_mm / 2.0)
    return sample(Volume(array=_noise(rng, coarse.shape), grid=coarse), grid).array


def _noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth: Floats = ndimage.gaussian_filter(white, 1.5, mode="wrap")
    return smooth / np.float32(smooth.std())


def smooth_warp(
    rng: np.random.Generator, grid: Grid, scale_mm: float, amplitude_mm: float
) -> tuple[Grid, Floats]:
    """Random smooth displacement on a coarse grid around the grid: (grid, (z, y, x, 3) in mm)."""
    lower, upper = bounds_mm(grid)
    coarse = axis_grid(list(lower - 8.0), list(upper + 8.0), 4.0)
    axes = [smooth_noise(rng, coarse, scale_mm) * amplitude_mm for _ in range(3)]
    return coarse, np.stack(axes, axis=-1).astype(np.float32)


def displacement(grid: Grid, vectors_mm: Array) -> sitk.Transform:
    """SimpleITK transform that adds the vector found at a point, (z, y, x, 3) on the grid."""
    image = sitk.GetImageFromArray(vectors_mm.astype(np.float64), isVector=True)
    image.SetSpacing([float(mm) for mm in grid.spacing_mm[::-1]])
    image.SetOrigin([float(mm) for mm in grid.origin_mm])
    image.SetDirection([float(c) for c in grid.directions[:, ::-1].flatten()])
    return sitk.DisplacementFieldTransform(image)


def coordinates(grid: Grid) -> tuple[Any, Any, Any]:
    """LPS x, y and z of an axis-aligned grid, shaped to broadcast to (slice, row, column)."""
    z, y, x = (
        np.arange(n, dtype=np.float32) * np.float32(grid.affine[2 - axis, axis])
        + np.float32(grid.affine[2 - axis, 3])
        for axis, n in enumerate(grid.shape)
    )
    return x[None, None, :], y[None, :, None], z[:, None, None]
