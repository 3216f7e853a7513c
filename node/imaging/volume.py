"""The one geometry type: a right-angled grid of voxels in DICOM patient coordinates.

Arrays are indexed (slice, row, column); positions are LPS millimetres at voxel centres.
The affine travels with the array. ITK and highdicom conversions are in `bridges`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Affine = NDArray[np.float64]

RIGHT_ANGLE_TOLERANCE = 1e-4
"""Largest cosine between two grid axes that still counts as a right angle."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Shape and place of a volume.

    shape: voxels along (slice, row, column).
    affine: (4, 4) float64, maps (slice, row, column, 1) to LPS mm.
    frame_of_reference_uid: "" when the source had none.
    """

    shape: tuple[int, int, int]
    affine: Affine
    frame_of_reference_uid: str = ""

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine of shape {affine.shape}, not (4, 4)")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (slice, row, column)."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def directions(self) -> Affine:
        """Unit vectors of the three axes as columns, (3, 3)."""
        axes: Affine = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return axes

    @property
    def origin_mm(self) -> Affine:
        """Centre of voxel (0, 0, 0), LPS mm, (3,)."""
        return self.affine[:3, 3]

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def is_right_angled(self) -> bool:
        """Whether the axes are orthogonal within RIGHT_ANGLE_TOLERANCE."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return bool(np.abs(cosines).max() <= RIGHT_ANGLE_TOLERANCE)

    def matches(self, other: "Grid", *, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and voxel centres within tolerance_mm."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*((0, n - 1) for n in self.shape), indexing="ij"))
        indices = np.vstack([corners.reshape(3, -1), np.ones(8)])
        return bool(np.abs((self.affine - other.affine) @ indices).max() <= tolerance_mm)

    def positions_mm(self, indices: Array) -> Affine:
        """LPS positions, (n, 3), of voxel indices, (n, 3) as (slice, row, column)."""
        positions: Affine = indices @ self.affine[:3, :3].T + self.affine[:3, 3]
        return positions

    def indices_of(self, positions_mm: Array) -> Affine:
        """Fractional voxel indices, (n, 3), of LPS positions, (n, 3)."""
        inverse = np.linalg.inv(self.affine)
        indices: Affine = positions_mm @ inverse[:3, :3].T + inverse[:3, 3]
        return indices

    def holds(self, positions_mm: Array) -> Array:
        """Whether LPS positions, (n, 3), lie inside the voxels (not only their centres), (n,)."""
        indices = self.indices_of(positions_mm)
        inside: Array = np.all((indices > -0.5) & (indices < np.array(self.shape) - 0.5), axis=1)
        return inside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """Voxel values on a grid. array: (slice, row, column), of the grid's shape."""

    array: Array
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise ValueError(f"array {self.array.shape} on a grid of {self.grid.shape}")

    def with_array(self, array: Array) -> "Volume":
        """Return other values on the same grid."""
        return Volume(array=array, grid=self.grid)
