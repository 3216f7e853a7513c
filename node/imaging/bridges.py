"""The only place where Volume meets the conventions of other libraries.

ITK stores (x, y, z) = (column, row, slice) and also thinks in LPS, so axes are reversed and
nothing is negated. NIfTI thinks in RAS, so x and y change sign.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813

from node.imaging.volume import Affine, Array, Grid, Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_sitk(volume: Volume) -> sitk.Image:
    """Convert to SimpleITK; bool becomes uint8."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    return place(sitk.GetImageFromArray(np.ascontiguousarray(array)), volume.grid)


def place(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Give an image of the grid's shape the grid's place in space; return the same image."""
    image.SetSpacing([float(mm) for mm in grid.spacing_mm[::-1]])
    image.SetOrigin([float(mm) for mm in grid.origin_mm])
    image.SetDirection([float(c) for c in grid.directions[:, ::-1].flatten()])
    return image


def from_sitk(image: sitk.Image, *, frame_of_reference_uid: str = "") -> Volume:
    """Convert from SimpleITK."""
    directions = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(image.GetSpacing())[::-1]
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    shape = (array.shape[0], array.shape[1], array.shape[2])
    return Volume(
        array=array,
        grid=Grid(shape=shape, affine=affine, frame_of_reference_uid=frame_of_reference_uid),
    )


def to_sitk_transform(matrix: Affine) -> sitk.AffineTransform:
    """Convert a (4, 4) LPS matrix, point to point in mm, to a SimpleITK transform."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(c) for c in matrix[:3, :3].flatten()])
    transform.SetTranslation([float(mm) for mm in matrix[:3, 3]])
    return transform


def from_sitk_transform(transform: sitk.Transform) -> Affine:
    """(4, 4) LPS matrix of any affine SimpleITK transform, by what it does to four points."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint([float(c) for c in corner]) for corner in corners])
    matrix = np.eye(4)
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    matrix[:3, 3] = moved[0]
    return matrix


def ras_affine(grid: Grid) -> Affine:
    """NIfTI affine of an array in the order (slice, row, column)."""
    affine: Affine = LPS_TO_RAS @ grid.affine
    return affine


def lps_affine(ras: Affine) -> Affine:
    """LPS affine of an array whose NIfTI affine is ras (same axis order)."""
    affine: Affine = LPS_TO_RAS @ ras
    return affine


def from_nifti(array: Array, ras: Affine, *, frame_of_reference_uid: str = "") -> Volume:
    """Volume of a NIfTI array (i, j, k) with its RAS affine; axes become (k, j, i)."""
    reversed_axes = np.eye(4)[[2, 1, 0, 3]]
    turned = np.ascontiguousarray(array.transpose(2, 1, 0))
    shape = (turned.shape[0], turned.shape[1], turned.shape[2])
    affine = lps_affine(np.asarray(ras, dtype=np.float64)) @ reversed_axes
    return Volume(
        array=turned,
        grid=Grid(shape=shape, affine=affine, frame_of_reference_uid=frame_of_reference_uid),
    )
