"""What a scanner makes of the head: pose, slices, coil, noise."""

from dataclasses import replace
from typing import Final

import numpy as np

from node.imaging.volume import Affine, Grid, Volume
from node.phantom.fields import Floats, axis_grid, bounds_mm, coordinates, sample, undone
from node.phantom.sequences import Plan

PROFILE: Final = (0.14, 0.23, 0.26, 0.23, 0.14)
"""Weights of the parts of a thick slice: a 2D excitation has soft edges."""

PIVOT_MM: Final = (0.0, 25.0, -20.0)
"""Point about which the head turns when the patient moves, LPS."""

AXES: Final = {
    "axial": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "sagittal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
}
"""Directions in which slice, row and column indices grow, LPS, before tilting."""


def rotation(angles_deg: tuple[float, float, float]) -> Affine:
    """Return the (3, 3) rotation about the LPS axes x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(angles_deg)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        matrix = turn @ matrix
    return matrix


def movement(
    angles_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]
) -> Affine:
    """Return the rigid (4, 4) LPS matrix of a turn about PIVOT_MM and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles_deg)
    pivot = np.array(PIVOT_MM)
    matrix[:3, 3] = pivot + np.array(shift_mm) - matrix[:3, :3] @ pivot
    return matrix


def planned_grid(plan: Plan, frame_of_reference_uid: str) -> Grid:
    """Return the grid of the slices."""
    directions = rotation(plan.tilt_deg) @ np.array(AXES[plan.plane]).T
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(plan.spacing_mm)
    middle = (np.array(plan.shape) - 1) / 2.0
    affine[:3, 3] = np.array(plan.centre_mm) - affine[:3, :3] @ middle
    return Grid(shape=plan.shape, affine=affine, frame_of_reference_uid=frame_of_reference_uid)


def observe(head: Volume, grid: Grid, thickness_mm: float, moved: Affine) -> Volume:
    """Noise-free values of the slices of a head that has moved; slices average their thickness."""
    back = undone(moved)
    if thickness_mm <= 2.0:
        return sample(head, grid, transform=back)
    total = np.zeros(grid.shape, dtype=np.float32)
    for part, weight in enumerate(PROFILE):
        offset_mm = ((part + 0.5) / len(PROFILE) - 0.5) * thickness_mm
        affine = np.array(grid.affine)
        affine[:3, 3] += grid.directions[:, 0] * offset_mm
        total += weight * sample(head, replace(grid, affine=affine), transform=back).array
    return Volume(array=total, grid=grid)


def shaded(rng: np.random.Generator, volume: Volume, strength: float) -> Floats:
    """Values under the sensitivity of the coil: smooth, and fading towards the shoulders."""
    lower, upper = bounds_mm(volume.grid)
    coarse = axis_grid(list(lower - 8.0), list(upper + 8.0), 8.0)
    x, y, z = (axis / 100.0 for axis in coordinates(coarse))
    weights = strength * rng.uniform(-1.0, 1.0, 6).astype(np.float32)
    curve = weights[0] * x + weights[1] * y + weights[2] * z
    curve = curve + weights[3] * x * y + weights[4] * y * z + weights[5] * (x * x - y * y)
    fade = 1.0 / (1.0 + np.exp(-(100.0 * z + 125.0) / 14.0))
    field = (np.exp(curve) * (0.08 + 0.92 * fade)).astype(np.float32)
    values: Floats = volume.array * sample(Volume(array=field, grid=coarse), volume.grid).array
    return values


def rician(rng: np.random.Generator, values: Floats, sigma: float) -> Floats:
    """Magnitude of the values with Gaussian noise in both channels."""
    real = values + np.float32(sigma) * rng.standard_normal(values.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(values.shape, dtype=np.float32)
    magnitude: Floats = np.hypot(real, imaginary)
    return magnitude


def softened(array: Floats) -> Floats:
    """Blur that makes hard borders of painted tissue as soft as partial volume does."""
    for axis in range(3):
        along = np.moveaxis(array, axis, 0)
        soft = 0.68 * along
        soft[1:] += 0.16 * along[:-1]
        soft[:-1] += 0.16 * along[1:]
        array = np.moveaxis(soft, 0, axis)
    return array
