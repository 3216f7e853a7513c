"""NIfTI files as volumes, and labels as NIfTI files."""

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813

from node.domain.errors import (
    MultipleVolumes,
    NoGeometry,
    NoSignal,
    SpoolUnwritable,
    TooFewSlices,
    UndecodablePixels,
    VolumeTooLarge,
)
from node.imaging.assemble import MOST_VOXELS, check_extent
from node.imaging.bridges import from_nifti, to_sitk
from node.imaging.volume import Volume

LEAST_VOXEL_MM3: Final = 1e-6
"""A smaller voxel is a matrix without a meaning."""


def read_nifti(path: Path) -> Volume:
    """Return a volume, float32 after the file's slope and intercept; axes reversed to (k, j, i).

    Read by nibabel, because ITK silently makes 0 of what is no number. Raises
    UndecodablePixels when it is no NIfTI or holds what is no number, NoSignal,
    MultipleVolumes, TooFewSlices, NoGeometry, VolumeTooLarge.
    """
    import nibabel  # noqa: PLC0415 - only files of researchers need it
    from nibabel.filebasedimages import ImageFileError  # noqa: PLC0415
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415

    try:
        image: Any = nibabel.load(path)
        _check_size(image.shape)
        _check_header(image, path.name)
        stored = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
        affine = np.asarray(image.affine, dtype=np.float64)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError) as error:
        raise UndecodablePixels(f"{path.name} cannot be read as NIfTI.") from error
    except (TypeError, OverflowError, zlib.error) as error:
        raise UndecodablePixels(f"{path.name} cannot be read as NIfTI.") from error
    if not np.isfinite(stored).all():
        raise UndecodablePixels(f"{path.name} holds values that are no numbers.")
    if stored.min() == stored.max():
        raise NoSignal(f"{path.name} holds one value only.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < LEAST_VOXEL_MM3:
        raise NoGeometry(f"{path.name} does not say where its voxels lie.")
    volume = from_nifti(stored, affine)
    if not volume.grid.is_right_angled():
        raise NoGeometry(f"The axes of {path.name} are not at right angles.")
    check_extent(volume.grid)
    return volume


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume; bool becomes uint8. Raises SpoolUnwritable."""
    try:
        sitk.WriteImage(to_sitk(volume), str(path), useCompression=True)
    except RuntimeError as error:
        raise SpoolUnwritable(f"{path.name} cannot be written.") from error


def _check_header(image: Any, name: str) -> None:
    """Refuse what nibabel would guess or leave out: places, colours, imaginary parts."""
    if image.get_data_dtype().kind not in "iuf":
        raise UndecodablePixels(f"{name} holds no grey values.")
    if not (int(image.header.get("sform_code", 0)) or int(image.header.get("qform_code", 0))):
        raise NoGeometry(f"{name} does not say where its voxels lie, nor which side is left.")


def _check_size(size: tuple[int, ...]) -> None:
    if len(size) < 3 or min(size[:3]) < 2:
        raise TooFewSlices("The file holds a picture, no volume.")
    if any(n != 1 for n in size[3:]):
        raise MultipleVolumes(f"The file holds {int(np.prod(size[3:]))} volumes.")
    if np.prod(size, dtype=np.float64) > MOST_VOXELS:
        raise VolumeTooLarge(f"A volume of {' x '.join(map(str, size))} voxels.")
