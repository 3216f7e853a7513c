"""Grids and a small textured head for the imaging tests; everything seeded, nothing read."""

from functools import cache
from typing import Final

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from node.imaging.grids import divided
from node.imaging.resample import resample
from node.imaging.volume import Affine, Array, Grid, Volume
from tests.support.mr_series import AXIAL, a_grid

CONTRASTS: Final = {
    # air, scalp, bone, fluid, grey, white, tumour
    "T1": (0, 900, 60, 150, 420, 600, 330),
    "T1C": (0, 950, 60, 160, 450, 620, 1000),
    "T2": (0, 500, 50, 1000, 520, 380, 760),
    "FLAIR": (0, 450, 50, 90, 520, 400, 800),
}
HEAD_MM: Final = (72.0, 88.0, 76.0)
"""Half axes of the head along x, y, z."""


@cache
def tissues() -> Volume:
    """Return a head of seven tissues, 1.5 mm, folded like a cortex, with a tumour on the left."""
    grid = a_grid((112, 128, 112), spacing_mm=(1.5, 1.5, 1.5), centre_mm=(4.0, -10.0, 20.0))
    places = grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T) - (4.0, -10.0, 20.0)
    radius = np.linalg.norm(places / HEAD_MM, axis=1).reshape(grid.shape)
    random = np.random.default_rng(5)
    folds = ndimage.gaussian_filter(random.standard_normal(grid.shape), 3.0)
    folds /= folds.std()
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[radius < 1.0] = 1
    array[radius < 0.93] = 2
    array[radius < 0.87] = 3
    array[radius < 0.84 + 0.02 * folds] = 4
    array[(radius < 0.78) & (folds > -0.6)] = 5
    array[(radius < 0.3) & (folds > 0.4)] = 3
    at_tumour = np.linalg.norm(places - (32.0, 18.0, 12.0), axis=1).reshape(grid.shape)
    array[at_tumour < 16.0] = 6
    return Volume(array=array, grid=grid)


@cache
def a_head(contrast: str, *, stripped: bool = False) -> Volume:
    """Return the head in one contrast, float32."""
    found = tissues()
    table = np.array(CONTRASTS[contrast], dtype=np.float32)
    if stripped:
        table = np.where(np.arange(7) < 3, 0, table).astype(np.float32)
    noise = np.random.default_rng(len(contrast)).standard_normal(found.grid.shape)
    smooth = ndimage.gaussian_filter(noise, 1.0).astype(np.float32) * 60
    array = np.where(table[found.array] > 0, table[found.array] + smooth, 0)
    return found.with_array(array.astype(np.float32))


def scanned(
    head: Volume, grid: Grid, matrix: Affine | None = None, *, noise: float = 5.0
) -> Volume:
    """Scan a head that was moved by a matrix; thick slices average over their thickness."""
    parts = tuple(max(1, round(mm / 1.5)) for mm in grid.spacing_mm)
    back = None if matrix is None else inverse(matrix)
    fine = resample(head, divided(grid, (parts[0], parts[1], parts[2])), matrix=back)
    shape = [size for n, part in zip(grid.shape, parts, strict=True) for size in (n, part)]
    array = fine.array.reshape(shape).mean(axis=(1, 3, 5))
    random = np.random.default_rng(9)
    return Volume(
        array=np.abs(array + noise * random.standard_normal(array.shape)).astype(np.float32),
        grid=grid,
    )


def moved(
    degrees: tuple[float, float, float],
    millimetres: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = (4.0, -10.0, 20.0),
) -> Affine:
    """Return a rigid movement about a centre, (4, 4) LPS."""
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_x @ about_y
    centre = np.array(centre_mm)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.array(millimetres)
    return matrix


def inverse(matrix: Affine) -> Affine:
    """Return the movement back."""
    back: Affine = np.linalg.inv(matrix).astype(np.float64)
    return back


def error_mm(found: Affine, truth: Affine) -> float:
    """Return the mean distance between two positions of the brain's surface."""
    corners = np.array(np.meshgrid((-1, 0, 1), (-1, 0, 1), (-1, 0, 1))).reshape(3, -1).T
    places = np.hstack([corners * 45.0 + (4.0, -10.0, 20.0), np.ones((27, 1))])
    return float(np.linalg.norm((places @ (found - truth).T)[:, :3], axis=1).mean())


def a_sphere(grid: Grid, centre_mm: tuple[float, float, float], radius_mm: float) -> Array:
    """Return where a grid's voxel centres lie inside a sphere."""
    places = grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T)
    inside: Array = np.linalg.norm(places - centre_mm, axis=1).reshape(grid.shape) <= radius_mm
    return inside


@st.composite
def grids(draw: st.DrawFn, *, most: int = 9) -> Grid:
    """Draw right-angled grids of any orientation, spacing and place."""
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    turned = moved((angles[0], angles[1], angles[2]), (0, 0, 0))[:3, :3]
    axes = (turned @ np.array(AXIAL, dtype=np.float64).T).T
    spacing = [draw(st.floats(0.4, 7.0)) for _ in range(3)]
    shape = [draw(st.integers(2, most)) for _ in range(3)]
    centre = [draw(st.floats(-120, 120)) for _ in range(3)]
    return a_grid(
        (shape[0], shape[1], shape[2]),
        axes=axes,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        centre_mm=(centre[0], centre[1], centre[2]),
    )
