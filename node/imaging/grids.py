"""Grids made of other grids: what a model wants, turned, cut and divided ones."""

from itertools import permutations
from typing import Final

import numpy as np

from node.domain.errors import BundleInvalid
from node.imaging.volume import Affine, Array, Grid

Box = tuple[slice, slice, slice]

ALONG_AXES: Final = 0.9998
"""Cosine from which on a reference counts as lying along the patient's axes (1 degree)."""

SAME_SPACING: Final = 5e-3
"""Relative difference of spacing up to which a reference keeps its own voxels."""

LPS_AXES: Final = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Directions of slice (to S), row (to P) and column (to L), as columns."""


def model_grid(
    reference: Grid, spacing_mm: tuple[float, float, float], orientation: str = "LPS"
) -> Grid:
    """Return the grid that a model wants over the field of view of a reference.

    spacing_mm along (slice, row, column); orientation "LPS": slices to S, rows to P, columns
    to L. A reference that lies along the patient's axes with that spacing keeps its own
    voxel centres, only turned, so that its values need no interpolation. An oblique one gets
    the box along the axes that holds all of its voxels.
    Raises BundleInvalid for another orientation.
    """
    if orientation != "LPS":
        raise BundleInvalid(f"Orientation {orientation!r} is not known; known is LPS.")
    turned = turn(reference, LPS_AXES)
    if _fits(turned, spacing_mm):
        return turned
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in reference.shape), indexing="ij"))
    along_axes = reference.positions_mm(corners.reshape(3, -1).T) @ LPS_AXES
    low, high = along_axes.min(axis=0), along_axes.max(axis=0)
    spacing = np.array(spacing_mm)
    counts = np.ceil((high - low) / spacing - 1e-3).astype(int)
    first = (low + high) / 2 - (counts - 1) / 2 * spacing
    affine = np.eye(4)
    affine[:3, :3] = LPS_AXES * spacing
    affine[:3, 3] = LPS_AXES @ first
    return Grid(
        shape=(int(counts[0]), int(counts[1]), int(counts[2])),
        affine=affine,
        frame_of_reference_uid=reference.frame_of_reference_uid,
    )


def turn(grid: Grid, axes: Affine) -> Grid:
    """Return the same voxel centres, indexed along the given directions as well as may be.

    axes: (3, 3), the wanted direction of slice, row and column as columns, LPS.
    """
    cosines = axes.T @ grid.directions  # rows: wanted axis, columns: axis of the grid
    best = max(permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3)))
    signs = np.array([1.0 if cosines[i, best[i]] >= 0 else -1.0 for i in range(3)])
    first = np.zeros(3)
    for sign, axis in zip(signs, best, strict=True):
        first[axis] = 0 if sign > 0 else grid.shape[axis] - 1
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, list(best)] * signs
    affine[:3, 3] = grid.positions_mm(first)
    return Grid(
        shape=(grid.shape[best[0]], grid.shape[best[1]], grid.shape[best[2]]),
        affine=affine,
        frame_of_reference_uid=grid.frame_of_reference_uid,
    )


def _fits(turned: Grid, spacing_mm: tuple[float, float, float]) -> bool:
    along = float(np.diag(LPS_AXES.T @ turned.directions).min()) >= ALONG_AXES
    return along and bool(np.allclose(turned.spacing_mm, spacing_mm, rtol=SAME_SPACING, atol=0.0))


def cut(grid: Grid, box: Box) -> Grid:
    """Return the part of a grid that three slices name."""
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.positions_mm(np.array([part.start for part in box]))
    shape = (
        box[0].stop - box[0].start,
        box[1].stop - box[1].start,
        box[2].stop - box[2].start,
    )
    return Grid(shape=shape, affine=affine, frame_of_reference_uid=grid.frame_of_reference_uid)


def merged(grid: Grid, parts: tuple[int, int, int]) -> Grid:
    """Return a grid with so many voxels joined to one along its axes; the last may reach out."""
    affine = np.array(grid.affine)
    affine[:3, :3] = grid.affine[:3, :3] * np.array(parts)
    affine[:3, 3] = grid.positions_mm((np.array(parts) - 1.0) / 2.0)
    counts = [-(-n // part) for n, part in zip(grid.shape, parts, strict=True)]
    return Grid(
        shape=(counts[0], counts[1], counts[2]),
        affine=affine,
        frame_of_reference_uid=grid.frame_of_reference_uid,
    )


def box_around(mask: Array, margin: tuple[int, int, int] = (0, 0, 0)) -> Box | None:
    """Return the box of a mask, so many voxels wider, cut at the array; None if it is empty."""
    sides = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if found.size == 0:
            return None
        first, last = int(found[0]) - margin[axis], int(found[-1]) + 1 + margin[axis]
        sides.append(slice(max(first, 0), min(last, mask.shape[axis])))
    return (sides[0], sides[1], sides[2])


def box_seen(grid: Grid, other: Grid, matrix: Affine, margin: tuple[int, int, int]) -> Box | None:
    """Return the voxels of a grid that another grid lies over; None if it lies beside it.

    matrix: (4, 4) LPS mm, point of the other grid -> point of the grid. margin: in voxels.
    """
    corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in other.shape), indexing="ij"))
    there = other.positions_mm(corners.reshape(3, -1).T) @ matrix[:3, :3].T + matrix[:3, 3]
    indices = grid.indices_of(there)
    first = np.floor(indices.min(axis=0)) - margin
    last = np.ceil(indices.max(axis=0)) + margin + 1
    low = np.clip(first, 0, grid.shape).astype(int)
    high = np.clip(last, 0, grid.shape).astype(int)
    if np.any(low >= high):
        return None
    sides = [slice(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    return (sides[0], sides[1], sides[2])


def divided(grid: Grid, parts: tuple[int, int, int]) -> Grid:
    """Return a grid with each voxel divided into parts along its axes."""
    affine = np.array(grid.affine)
    affine[:3, :3] = grid.affine[:3, :3] / np.array(parts)
    affine[:3, 3] = grid.positions_mm((1.0 / np.array(parts) - 1.0) / 2.0)
    shape = (grid.shape[0] * parts[0], grid.shape[1] * parts[1], grid.shape[2] * parts[2])
    return Grid(shape=shape, affine=affine, frame_of_reference_uid=grid.frame_of_reference_uid)
