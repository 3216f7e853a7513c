"""NIfTI files as volumes, through ITK, which also thinks in LPS."""

from pathlib import Path

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
from node.imaging.assemble import MOST_VOXELS
from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.volume import Volume


def read_nifti(path: Path) -> Volume:
    """Return a volume, float32 after the file's slope and intercept; axes as the file has them.

    Values that are no numbers are 0, as the NIfTI library reads them. Raises UndecodablePixels
    when it is no NIfTI, NoSignal, MultipleVolumes, TooFewSlices, NoGeometry, VolumeTooLarge.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        _check_size(size)
        reader.SetExtractSize([*size[:3], *([0] * (len(size) - 3))])
        image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise NoGeometry(f"The axes of {path.name} are not at right angles.") from error
        raise UndecodablePixels(f"{path.name} cannot be read as NIfTI.") from error
    volume = from_sitk(image)
    if volume.array.min() == volume.array.max():
        raise NoSignal(f"{path.name} holds one value only.")
    return volume


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume; bool becomes uint8. Raises SpoolUnwritable."""
    try:
        sitk.WriteImage(to_sitk(volume), str(path), useCompression=True)
    except RuntimeError as error:
        raise SpoolUnwritable(f"{path.name} cannot be written.") from error


def _check_size(size: tuple[int, ...]) -> None:
    if len(size) < 3:
        raise TooFewSlices("The file holds a picture, no volume.")
    if any(n != 1 for n in size[3:]):
        raise MultipleVolumes(f"The file holds {int(np.prod(size[3:]))} volumes.")
    if np.prod(size, dtype=np.float64) > MOST_VOXELS:
        raise VolumeTooLarge(f"A volume of {' x '.join(map(str, size))} voxels.")
