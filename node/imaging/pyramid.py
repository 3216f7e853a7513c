"""Optimisation of a rigid movement, coarse to fine, with ITK's registration framework."""

from dataclasses import dataclass
from typing import Final

import SimpleITK as sitk  # noqa: N813

from node.imaging.bridges import from_sitk, from_sitk_transform, to_sitk
from node.imaging.similarity import head_mask, points_in, with_even_range
from node.imaging.volume import Affine, Volume

SEED: Final = 20_301
"""Of every random choice, so that the same input gives the same answer."""

BINS: Final = 40
"""Grey levels of the joint histogram that the optimiser climbs."""

FWHM_PER_SIGMA: Final = 2.355

MOST_ITERATIONS: Final = 100

RELAXATION: Final = 0.7
"""Slower than ITK's 0.5, with which rotations stop 0.3 degrees early (measured)."""

HEAD_RADIUS_MM: Final = 60.0
"""A rotation of 1 rad moves a usual point of the head so far.

With 80 mm, the surface, rotations stop early: errors of 0.4 instead of 0.04 mm (measured).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One step from coarse to fine.

    spacing_mm: working spacing; an axis that is coarser stays as it is.
    points: where values are compared. Steps of the optimiser are in mm at the head's surface.
    """

    spacing_mm: float
    points: int
    first_step_mm: float
    last_step_mm: float


LEVELS: Final = (
    Level(spacing_mm=6.0, points=20_000, first_step_mm=2.0, last_step_mm=0.02),
    Level(spacing_mm=3.0, points=40_000, first_step_mm=1.0, last_step_mm=0.01),
    Level(spacing_mm=1.5, points=50_000, first_step_mm=0.5, last_step_mm=0.005),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelPair:
    """Two series at one level. mask: the head in the sampled one, where points are taken."""

    level: Level
    sampled: sitk.Image
    other: sitk.Image
    mask: sitk.Image

    def align(self, start: Affine) -> Affine:
        """Climb from a position to the nearest best one; matrices map sampled to other.

        Stays at the start when ITK finds nothing to compare there.
        """
        transform = _euler(start, points_in(self.mask, 2_000, SEED).mean(axis=0))
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricFixedMask(self.mask)
        share = self.level.points / max(int(sitk.GetArrayViewFromImage(self.mask).sum()), 1)
        if share < 1.0:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(share, SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=self.level.first_step_mm,
            minStep=self.level.last_step_mm,
            numberOfIterations=MOST_ITERATIONS,
            relaxationFactor=RELAXATION,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScales([HEAD_RADIUS_MM**2] * 3 + [1.0] * 3)
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self.sampled, self.other)
        except RuntimeError:  # too few points lie in both fields of view
            return start
        return from_sitk_transform(transform)


def pyramid(sampled: Volume, other: Volume) -> tuple[LevelPair, ...]:
    """Both series at every level, coarse to fine."""
    fine = [to_sitk(with_even_range(volume)) for volume in (sampled, other)]
    pairs: list[LevelPair] = []
    for level in reversed(LEVELS):
        fine = [_reduced(image, level.spacing_mm) for image in fine]
        pairs.append(
            LevelPair(level=level, sampled=fine[0], other=fine[1], mask=head_mask(fine[0]))
        )
    return tuple(reversed(pairs))


def as_volumes(pair: LevelPair) -> tuple[Volume, Volume]:
    """Return the values of a level, sampled and other."""
    return from_sitk(pair.sampled), from_sitk(pair.other)


def _reduced(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Blur and bin the axes that are finer than wanted."""
    factors = [max(1, round(spacing_mm / mm)) for mm in image.GetSpacing()]
    for axis, factor in enumerate(factors):
        if factor > 1 and image.GetSize()[axis] >= 4:
            blur = sitk.RecursiveGaussianImageFilter()
            blur.SetDirection(axis)
            blur.SetSigma(spacing_mm / FWHM_PER_SIGMA)
            image = blur.Execute(image)
    return sitk.Cast(sitk.BinShrink(image, factors), sitk.sitkFloat32)


def _euler(matrix: Affine, centre_mm: Affine) -> sitk.Euler3DTransform:
    """Rigid transform about a centre, so that rotation and translation are independent."""
    rotation = matrix[:3, :3]
    transform = sitk.Euler3DTransform()
    transform.SetCenter([float(mm) for mm in centre_mm])
    transform.SetMatrix([float(c) for c in rotation.flatten()], 1e-6)
    shift = matrix[:3, 3] - centre_mm + rotation @ centre_mm
    transform.SetTranslation([float(mm) for mm in shift])
    return transform
