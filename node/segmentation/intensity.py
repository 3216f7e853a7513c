"""A segmentation that a person can follow: thresholds on robust z-scores, no learned weights.

It rests on what radiologists look at: a glioma is brighter on FLAIR than the rest of the brain
and than the mirrored place of the other side; contrast agent shows as T1C above T1; necrosis
lies inside the enhancing rim or is dark on T1 and bright on T2. Each number is an option of the
manifest. Arrays are (slice, row, column) in LPS, so left and right lie along the columns.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from node.domain.regions import Role
from node.segmentation import postprocess
from node.segmentation.effort import Effort
from node.segmentation.found import Found, Progress
from node.segmentation.options import IntensityOptions
from node.segmentation.postprocess import Labels, Mask

Image = NDArray[np.float32]
Spacing = tuple[float, float, float]

MAD_TO_SIGMA: Final = 1.4826
"""Median absolute deviation to standard deviation, for normal values."""

RAMP_STEP: Final = 3
"""Every so many voxels along each axis enter the fit of the shading."""

RAMP_LIMIT: Final = 2.0
"""Deviations beyond which a voxel is left out of that fit."""

RAMP_ROUNDS: Final = 4
"""How often that fit is made, each time without what the last one showed to be far off."""

SHELL_MM: Final = 4.0
"""Lesions do not begin this near to the brain's surface: remains of the skull are bright."""

EDGE_MM: Final = 2.0
"""Lesions do not reach into this outermost layer."""

NEAR_MM: Final = 3.0
"""How far outside the FLAIR lesion enhancement may lie."""

GAP_MM: Final = 2.0
"""A gap in the enhancing rim up to twice this is closed when the hole is looked for."""

MIDPLANE_SEARCH: Final = 8
"""Columns by which the plane of symmetry may be off the middle of the brain, twice."""

ENHANCING_T1C_Z: Final = 1.0
"""Enhancing tissue is at least this bright on T1C itself."""


class IntensityEngine:
    """The thresholds with their options. roles: order of the channels that it will be given."""

    def __init__(self, roles: tuple[Role, ...], options: IntensityOptions) -> None:
        self._roles = roles
        self._options = options

    def __call__(
        self,
        channels: Image,
        brain: Mask,
        spacing_mm: Spacing,
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        """Find labels 0, 1 NCR, 2 ED, 3 ET; see node.segmentation.found.Segmenter.

        The effort is not looked at: one core and some ten times the input are enough.
        """
        del effort
        labels = np.zeros(brain.shape, dtype=np.uint8)
        if not brain.any():
            return Found(labels=labels)
        box = postprocess.bounding_box(brain, 4)
        head = _head(dict(zip(self._roles, channels[:, *box], strict=True)), brain[box], spacing_mm)
        on_progress(0.2)
        whole = lesion(head, self._options)
        on_progress(0.6)
        if whole.any():
            labels[box] = _parts(head, whole, self._options)
        on_progress(1.0)
        return Found(labels=labels)


@dataclass(frozen=True, slots=True)
class Head:
    """Robust z-scores of the four roles, the brain, and each voxel's depth in it in mm."""

    z: dict[Role, Image]
    brain: Mask
    depth_mm: Image
    spacing_mm: Spacing

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return float(np.prod(self.spacing_mm)) / 1000.0


def _head(channels: dict[Role, Image], brain: Mask, spacing_mm: Spacing) -> Head:
    depth = ndimage.distance_transform_edt(brain, sampling=spacing_mm).astype(np.float32)
    scores = {role: robust_z(image, brain) for role, image in channels.items()}
    return Head(scores, brain, depth, spacing_mm)


def robust_z(image: Image, brain: Mask) -> Image:
    """Return how many deviations image is above the brain's median, without shading; 0 outside.

    Median and MAD instead of mean and deviation: a lesion of a tenth of the brain hardly moves
    them. The receive coils' shading is taken as a ramp in each direction.
    """
    scored = _scored(image, brain)
    return _scored(scored - _ramp(scored, brain), brain)


def _scored(image: Image, brain: Mask) -> Image:
    """Return (image - median) / (1.4826 MAD), both of the brain; 0 outside it."""
    values = image[brain]
    median = float(np.median(values))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(values - median)))
    if spread <= 0:
        return np.zeros(image.shape, dtype=np.float32)
    return np.where(brain, (image - median) / spread, 0.0).astype(np.float32)


def _ramp(scored: Image, brain: Mask) -> Image:
    """Fit a plane to the scores in the brain, leaving out what is far from it, as lesions are."""
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in scored.shape]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    thinned = (slice(None, None, RAMP_STEP),) * 3
    kept = brain[thinned]
    columns = [np.broadcast_to(axis, scored.shape)[thinned][kept] for axis in grid]
    terms = np.stack([np.ones_like(columns[0]), *columns], axis=1)
    values = scored[thinned][kept]
    use = np.abs(values) < RAMP_LIMIT
    slopes = np.zeros(4, dtype=np.float32)
    for _ in range(RAMP_ROUNDS):
        if np.count_nonzero(use) <= slopes.size:
            break
        slopes = np.linalg.lstsq(terms[use], values[use], rcond=None)[0]
        rest = values - terms @ slopes
        rest -= np.median(rest)
        use = np.abs(rest) < RAMP_LIMIT * MAD_TO_SIGMA * np.median(np.abs(rest))
    fit = slopes[0] + sum(slope * axis for slope, axis in zip(slopes[1:], grid, strict=True))
    return np.asarray(fit, dtype=np.float32)


def smoothed(image: Image, head: Head, sigma_mm: float) -> Image:
    """Blur within the brain: what lies outside has no weight. 0 outside."""
    sigma = [sigma_mm / mm for mm in head.spacing_mm]
    weight = ndimage.gaussian_filter(head.brain.astype(np.float32), sigma)
    blurred = ndimage.gaussian_filter(np.where(head.brain, image, 0.0).astype(np.float32), sigma)
    return np.where(head.brain, blurred / np.maximum(weight, 1e-3), 0.0).astype(np.float32)


def mirrored(image: Image, brain: Mask) -> Image:
    """Return image flipped left to right at the plane in which brain is most symmetric.

    0 where the mirrored place is outside the brain.
    """
    found = np.flatnonzero(brain.any(axis=(0, 1)))
    middle = int(found[0] + found[-1])  # twice the column of the plane
    best_overlap, flipped = -1, np.zeros_like(image)
    for twice in range(middle - MIDPLANE_SEARCH, middle + MIDPLANE_SEARCH + 1):
        source = twice - np.arange(image.shape[2])
        valid = (source >= 0) & (source < image.shape[2])
        other = np.zeros_like(brain)
        other[:, :, valid] = brain[:, :, source[valid]]
        overlap = int(np.count_nonzero(other & brain))
        if overlap > best_overlap:
            best_overlap, flipped = overlap, np.zeros_like(image)
            flipped[:, :, valid] = image[:, :, source[valid]]
    return flipped


def lesion(head: Head, options: IntensityOptions) -> Mask:
    """Find the whole tumour on FLAIR; empty where nothing is bright and one-sided enough."""
    flair = smoothed(head.z[Role.FLAIR], head, 1.5)
    broad = smoothed(head.z[Role.FLAIR], head, 4.0)
    asymmetry = broad - mirrored(broad, head.brain)
    seeds = (flair > options.seed_z) & (head.depth_mm > SHELL_MM)
    seeds &= asymmetry > options.seed_asymmetry_z
    seeds = _large(seeds, options.smallest_lesion_ml / head.voxel_ml)
    if not seeds.any():
        return seeds
    brightness = float(np.median(flair[seeds]))
    edge = max(options.edge_least_z, options.edge_share * brightness)
    grown = (flair > edge) & (head.depth_mm > EDGE_MM)
    grown &= asymmetry > options.seed_asymmetry_z / 2
    grown = postprocess.open_by_one(grown) | seeds
    found = postprocess.keep_above_share(_touched(grown, seeds), 0.1)
    return postprocess.fill_holes(found)


def _large(mask: Mask, voxels: float) -> Mask:
    """Keep components of at least voxels and more than a tenth of the largest."""
    numbers, sizes = postprocess.components(mask)
    if sizes.size == 0:
        return mask
    return postprocess.keep_numbers(numbers, sizes >= max(voxels, 0.1 * float(sizes.max())))


def _touched(mask: Mask, seeds: Mask) -> Mask:
    """Keep the components of mask that hold a seed."""
    numbers, sizes = postprocess.components(mask)
    held = np.bincount(numbers[seeds], minlength=sizes.size + 1)[1:] > 0
    return postprocess.keep_numbers(numbers, held)


def _parts(head: Head, whole: Mask, options: IntensityOptions) -> Labels:
    """Split the lesion into enhancing part, core and oedema."""
    enhancing = _enhancing(head, whole, options)
    core = enhancing | _enclosed(head, enhancing)
    if np.count_nonzero(core) < options.rim_share * np.count_nonzero(whole):
        core |= _dark(head, whole, options)
    core = postprocess.keep_above_share(core, 0.1)
    return postprocess.nested_labels(whole | core, core, enhancing & core)


def _enhancing(head: Head, whole: Mask, options: IntensityOptions) -> Mask:
    """Return where T1C exceeds T1, in or next to the lesion and not at the brain's surface."""
    gain = smoothed(head.z[Role.T1C] - head.z[Role.T1], head, 0.7)
    bright = smoothed(head.z[Role.T1C], head, 0.7) > ENHANCING_T1C_Z
    found = (gain > options.enhancing_z) & bright & (head.depth_mm > NEAR_MM)
    found &= _within(whole, NEAR_MM, head.spacing_mm)
    return _large(found, options.smallest_enhancing_ml / head.voxel_ml)


def _enclosed(head: Head, enhancing: Mask) -> Mask:
    """Return what the enhancing rim encloses, in space or in a slice of any plane."""
    if not enhancing.any():
        return enhancing
    margin = 2 + max(int(np.ceil(GAP_MM / mm)) for mm in head.spacing_mm)
    box = postprocess.bounding_box(enhancing, margin)
    rim = enhancing[box]
    rim = ~_within(~_within(rim, GAP_MM, head.spacing_mm), GAP_MM, head.spacing_mm) | rim
    filled = postprocess.fill_holes(rim)
    for axis in range(3):
        for index in range(rim.shape[axis]):
            plane = (slice(None),) * axis + (index,)
            filled[plane] |= ndimage.binary_fill_holes(rim[plane])
    inside = np.zeros_like(enhancing)
    inside[box] = filled
    return inside & head.brain


def _dark(head: Head, whole: Mask, options: IntensityOptions) -> Mask:
    """Return core without enhancement: dark on T1 and bright on T2, well inside the lesion."""
    t1, t2 = (smoothed(head.z[role], head, 1.5) for role in (Role.T1, Role.T2))
    inner = ~_within(~whole, 1.0, head.spacing_mm)
    found = inner & (t1 < options.dark_t1_z) & (t2 > options.bright_t2_z)
    core = ~_within(~found, GAP_MM, head.spacing_mm)
    return found & _within(core, GAP_MM, head.spacing_mm)


def _within(mask: Mask, distance_mm: float, spacing_mm: Spacing) -> Mask:
    """Return all voxels at most distance_mm from mask."""
    if not mask.any():
        return mask
    near: Mask = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= distance_mm
    return near
