"""Real brains with real tumours in other skulls: heads whose tumour an expert has outlined.

The public cases come without their skulls. Here such a brain is scaled into the cavity of a
head, the rest of the cavity becomes fluid, and the head's own skull, scalp and face stay.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from node.imaging.resample import resample
from node.imaging.volume import Affine, Array, Volume

SNUG: Final = 0.99
"""Size of the brain against the cavity, so that little of it would lie in the bone."""

FLUID_SHARE: Final = 0.3
"""Brightness of fluid against the brain's median, in T1 and FLAIR."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComposedHead:
    """A head with a brain of another patient.

    image: float32. brain, tumour: bool, on the same grid; the tumour is the expert's WT.
    """

    image: Volume
    brain: Volume
    tumour: Volume

    def kept(self, mask: Array) -> float:
        """Share of the tumour's voxels that a brain mask keeps."""
        return _share(mask, self.tumour.array)

    def edge(self, depth_mm: float = 5.0) -> Array:
        """Tumour that lies within a depth of the brain's surface."""
        inside = ndimage.distance_transform_edt(
            np.pad(self.brain.array, 1), sampling=self.brain.grid.spacing_mm
        )[1:-1, 1:-1, 1:-1]
        near: Array = self.tumour.array & (inside <= depth_mm)
        return near

    def kept_at_edge(self, mask: Array) -> float:
        """Share of the tumour near the brain's surface that a brain mask keeps."""
        return _share(mask, self.edge())


def compose(head: Volume, cavity: Volume, donor: Volume, labels: Volume) -> ComposedHead:
    """Put a stripped brain (background 0) with its labels into the cavity of a head.

    The cavity (bool, on the head's grid) is where the head's own brain was.
    """
    own = donor.with_array(ndimage.binary_fill_holes(donor.array > 0))
    place = _fit(cavity, own)
    image = resample(donor, head.grid, matrix=place).array
    brain = resample(own, head.grid, matrix=place).array & ndimage.binary_dilation(cavity.array)
    whole = labels.with_array(labels.array > 0)
    tumour = resample(whole, head.grid, matrix=place).array & brain
    level = float(np.median(head.array[cavity.array]))
    scale = level / float(np.median(image[brain & ~tumour]))
    values = np.where(cavity.array, FLUID_SHARE * level, head.array)
    values = np.where(brain, image * scale, values).astype(np.float32)
    return ComposedHead(
        image=head.with_array(values),
        brain=head.with_array(brain),
        tumour=head.with_array(tumour),
    )


def _fit(cavity: Volume, own: Volume) -> Affine:
    """Scale and shift along the patient's axes, from the cavity to the donor's brain, LPS mm."""
    (low, high), (own_low, own_high) = _extent(cavity), _extent(own)
    scale = (own_high - own_low) / (high - low) / SNUG
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = (own_low + own_high) / 2 - scale * (low + high) / 2
    return matrix


def _extent(mask: Volume) -> tuple[Affine, Affine]:
    places = mask.grid.positions_mm(np.argwhere(mask.array))
    low, high = np.percentile(places, (0.1, 99.9), axis=0)
    return low, high


def _share(mask: Array, of: Array) -> float:
    return float(np.count_nonzero(mask & of)) / max(int(np.count_nonzero(of)), 1)
