"""The pose and grid of BraTS, for models that know heads only in that pose.

BraTS turns every head onto the SRI24 atlas. That atlas cannot be shipped; ICBM152 (Fonov et al.
2011, doi:10.1016/j.neuroimage.2010.07.033) comes inside nilearn's wheel. So a brain is laid on
ICBM152 with one scale, and from there goes to where BraTS brains lie, by constants measured on
them. What results is rigid: sizes stay the patient's own.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.domain.errors import RegistrationFailed
from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.grids import LPS_AXES, box_around, cut, model_grid
from node.imaging.resample import resample
from node.imaging.volume import Affine, Grid, Volume

_AFFINE: Final = np.eye(4)
_AFFINE[:3, :3] = LPS_AXES
_AFFINE[:3, 3] = (0.0, -239.0, 0.0)

BRATS_GRID: Final = Grid(shape=(155, 240, 240), affine=_AFFINE)
"""Grid of every BraTS case: 1 mm, LPS, first voxel at (0, -239, 0) in its NIfTI's space."""

TEMPLATE_CENTRE_MM: Final = (0.0, 22.1, 9.5)
BRATS_CENTRE_MM: Final = (118.5, -103.7, 73.8)
"""Centre of the brain of ICBM152, and where it lies in BraTS.

Median of eight BraTS cases, T1C; a case lies 3.5 mm (median; at most 8.1) from it.
"""

BRATS_TURN_DEG: Final = (-13.3, 0.7, 1.4)
"""Turns about x, then y, then z from ICBM152 to BraTS.

Of the same median; a case lies 2.1 degrees (median; at most 7.9) from it, nearly all of it
nodding, which BraTS cases do among each other.
"""

COARSE_MM: Final = 3.0
SIGNAL: Final = 0.1
BINS: Final = 32
STEP_MM: Final = 2.0
LEAST_STEP_MM: Final = 0.02
ROUNDS: Final = 60
RIM: Final = 2
"""How a brain is laid on the template: voxels, share of the brightest value from which on it is
brain, bins, optimiser, and voxels around it."""

LEAST_SIMILARITY: Final = 0.2
"""Mutual information, nats, with the template; measured on brains 0.42 to 0.48."""

SCALES: Final = (0.75, 1.15)
"""Size against the template between which a brain is one; measured 0.90 to 0.98."""

LEAST_INSIDE: Final = 0.995
"""Share of the brain that BraTS' grid must hold, or labels would be lost."""

DECIMALS: Final = 9
"""Of a placement: ITK's sums differ in the last digits from run to run."""

_TEMPLATE: Final = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """A rigid pose for the model.

    matrix: (4, 4), LPS mm, point of the model's grid -> point of the reference series.
    similarity: mutual information with the template, nats. scale: size against the template.
    """

    matrix: Affine
    similarity: float
    scale: float


def place_in_brats(reference: Volume, brain: Volume) -> Placement:
    """Find the pose of a head that BraTS would give it.

    brain: bool, on any grid in the reference's patient coordinates. Deterministic, on one
    thread. Raises RegistrationFailed when there is no brain, when it does not look like the
    template's, or when it would reach out of BraTS' grid.
    """
    head = _coarse(reference)
    inside = resample(brain, head.grid).array
    if not inside.any():
        raise RegistrationFailed("There is no brain to be laid on the template.")
    subject = head.with_array(np.where(inside, head.array, 0).astype(np.float32))
    transform, similarity = _align(_template(), subject)
    scale = float(transform.GetScale())
    matrix = np.eye(4)
    turn = np.array(transform.GetMatrix()).reshape(3, 3) / scale @ _turn(BRATS_TURN_DEG).T
    centre = np.array(transform.TransformPoint(TEMPLATE_CENTRE_MM))
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre - turn @ np.array(BRATS_CENTRE_MM)
    _check(similarity, scale, _share_inside(head.grid.positions_mm(np.argwhere(inside)), matrix))
    matrix = matrix.round(DECIMALS)
    return Placement(matrix=matrix, similarity=similarity, scale=scale)


def _check(similarity: float, scale: float, inside: float) -> None:
    if similarity < LEAST_SIMILARITY or not SCALES[0] <= scale <= SCALES[1]:
        raise RegistrationFailed(
            f"The brain does not look like the template's: similarity {similarity:.2f} nats, "
            f"scale {scale:.2f}."
        )
    if inside < LEAST_INSIDE:
        raise RegistrationFailed(f"The grid of BraTS would hold only {inside:.1%} of the brain.")


def _share_inside(positions_mm: Affine, matrix: Affine) -> float:
    back = np.linalg.inv(matrix)
    return float(BRATS_GRID.holds(positions_mm @ back[:3, :3].T + back[:3, 3]).mean())


@lru_cache(maxsize=1)
def _template() -> Volume:
    """Brain of ICBM152 in T1, coarse; the file is read without importing nilearn."""
    found = importlib.util.find_spec("nilearn")
    folders = (found.submodule_search_locations if found else None) or []
    for folder in folders:
        path = Path(folder) / _TEMPLATE
        if path.is_file():
            head = _coarse(from_sitk(sitk.ReadImage(str(path), sitk.sitkFloat32)))
            signal = head.array > SIGNAL * head.array.max()
            return head.with_array(np.where(signal, head.array, 0))
    raise RegistrationFailed("The template ICBM152 is not installed with nilearn.")


def _coarse(volume: Volume) -> Volume:
    """Return a volume in voxels of COARSE_MM along the patient's axes, cut to its signal."""
    grid = model_grid(volume.grid, (COARSE_MM, COARSE_MM, COARSE_MM))
    found = resample(volume, grid, order="anisotropic", threads=1)
    box = box_around(found.array > 0, (RIM, RIM, RIM))
    return found if box is None else Volume(array=found.array[box], grid=cut(found.grid, box))


def _align(template: Volume, subject: Volume) -> tuple[sitk.Similarity3DTransform, float]:
    """Lay the template on a brain: (template point -> point of the brain, similarity in nats).

    One scale is free, because the template is larger than most brains; without it the rigid
    answer nods by up to 20 degrees.
    """
    masks = [volume.array > 0 for volume in (template, subject)]
    centre = subject.grid.positions_mm(np.argwhere(masks[1])).mean(axis=0)
    size = [np.count_nonzero(mask) for mask in masks]
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(TEMPLATE_CENTRE_MM)
    transform.SetTranslation([float(mm) for mm in centre - TEMPLATE_CENTRE_MM])
    transform.SetScale(float(np.cbrt(size[1] / size[0])))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    around = ndimage.binary_dilation(masks[0], iterations=RIM)
    method.SetMetricFixedMask(to_sitk(template.with_array(around)))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        STEP_MM, LEAST_STEP_MM, ROUNDS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1.0, 0.0])
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(to_sitk(template), to_sitk(subject))
    except RuntimeError as error:  # ITK: the volumes do not overlap
        raise RegistrationFailed("The brain could not be laid on the template.") from error
    return transform, -float(method.GetMetricValue())


def _turn(degrees: tuple[float, float, float]) -> Affine:
    """(3, 3) of turns about x, then y, then z."""
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix: Affine = about_z @ about_y @ about_x
    return matrix
