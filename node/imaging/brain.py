"""The port to brain extraction, and volumes that arrive without a skull."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy import ndimage

from node.domain.errors import BrainNotFound, HeadIncomplete
from node.domain.quality import Finding
from node.imaging.volume import Array, Grid, Volume

LEAST_BACKGROUND: Final = 0.3
"""Share of a stripped volume that has exactly one and the same value, at least."""

BRAIN_ML: Final = (900.0, 2200.0)
"""Volume of a brain with its fluid; a head down to the skull base has more."""

CUT_ML: Final = 500.0
"""Least volume where the field of view cuts the brain; of less nothing is said."""

LARGEST_PIECE: Final = 0.95
"""Share of the brain that is one piece."""

KEPT_PIECE: Final = 0.1
"""Pieces above this share of the largest stay; a field of view may divide a brain."""

FACE_MM: Final = 3.0
"""How near to a face of the volume a mask counts as touching it."""

MOST_TOUCHED_CM2: Final = 45.0
"""Section of the brain in a face of the volume up to which it counts as whole.

Series commonly end in the brainstem and the tonsils, or in the last slice below the vertex
(measured: 32 cm² on a clinical FLAIR); a cap of this section has about 25 mL.
"""

SIDES: Final = (("right", "left"), ("front", "back"), ("bottom", "top"))
"""Where the axes x, y, z of LPS begin and end."""

SKULL_DEPTH_MM: Final = (6.0, 14.0)
"""Below the surface of a head lies bone, below that of a brain lies brain."""

DARK: Final = 0.35
"""Values below this part of the deep median are as dark as bone and fluid in T1."""

MOST_DARK: Final = 0.07
"""Share of dark voxels at skull depth. Measured: stripped 0 to 0.04, heads 0.09 to 0.9."""

HOLE_MM: Final = 4.0
"""Clefts in a stripped brain up to this width belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extraction:
    """A brain that was found.

    mask: bool, on the grid of the reference. method: its name, for the objects. reason: why
    this method, in words for the story. findings: what lowers the trust in the mask.
    """

    mask: Volume
    method: str
    reason: str
    findings: tuple[Finding, ...] = ()


class BrainExtractor(Protocol):
    """Finds the brain on a series. name: written into the algorithm's identification."""

    @property
    def name(self) -> str:
        """Name of the method, for the objects and the story."""
        ...

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference.

        Raises BrainNotFound, HeadIncomplete.
        """
        ...


class StrippedBrain:
    """The extractor of a volume that has no skull: what is not background is brain."""

    name = "as received (skull-stripped)"

    def __call__(self, reference: Volume) -> Volume:
        """Return all but the background, clefts and holes closed.

        Raises BrainNotFound, HeadIncomplete.
        """
        brain = reference.with_array(_closed(signal_of(reference), reference.grid))
        check_brain(brain)
        return brain


def background_value(volume: Volume) -> float:
    """Return the most frequent value, which is that of the background where there is one."""
    values, counts = np.unique(volume.array.ravel()[::7], return_counts=True)
    return float(values[counts.argmax()])


def signal_of(volume: Volume) -> Array:
    """Return where the volume differs from its background value, bool, same shape."""
    differs: Array = volume.array != background_value(volume)
    return differs


def is_stripped(volume: Volume) -> bool:
    """Whether a volume shows a brain on an exactly constant background, and nothing else.

    A head on a constant background (defaced, or masked by the scanner) is larger, and has
    bone below its surface.
    """
    signal = signal_of(volume)
    if not 0.0 < float(signal.mean()) <= 1.0 - LEAST_BACKGROUND:
        return False
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(signal))
    values, signal = volume.array[box] - background_value(volume), signal[box]
    brain = largest_piece(_closed(signal, volume.grid))
    if np.count_nonzero(brain & signal) < LARGEST_PIECE * np.count_nonzero(signal):
        return False
    if not CUT_ML <= _millilitres(brain, volume.grid) <= BRAIN_ML[1]:
        return False
    return _dark_at_skull_depth(values, brain, volume.grid) < MOST_DARK


def check_brain(brain: Volume) -> None:
    """Let a mask pass that could be a brain: one piece of a brain's volume, or a part of one.

    Raises HeadIncomplete when the field of view cuts it and little is left, BrainNotFound when
    the mask is implausible.
    """
    found, (low, high) = _millilitres(brain.array, brain.grid), BRAIN_ML
    cut = cut_faces(brain)
    if cut and 0.0 < found < CUT_ML:
        raise HeadIncomplete(
            f"Only {found:.0f} mL of brain lie in the field of view, which ends inside of the "
            f"brain ({', '.join(cut)})."
        )
    if not (CUT_ML if cut else low) <= found <= high:
        raise BrainNotFound(
            f"The brain mask has {found:.0f} mL; {low:.0f} to {high:.0f} mL are plausible."
        )
    largest = np.count_nonzero(largest_piece(brain.array)) / np.count_nonzero(brain.array)
    if largest < LARGEST_PIECE and not cut:
        raise BrainNotFound(f"The brain mask falls apart: its largest piece is {largest:.0%}.")


def doubts(brain: Volume) -> tuple[Finding, ...]:
    """Return what lowers the trust in a mask that check_brain let pass."""
    cut = cut_faces(brain)
    if not cut:
        return ()
    places = ", ".join(f"{side} {area:.0f} cm²" for side, area in cut.items())
    text = (
        f"The field of view ends inside of the brain ({places}): what lies outside is neither "
        "segmented nor measured."
    )
    return (Finding(code="brain-cut", text=text),)


def cut_faces(brain: Volume) -> dict[str, float]:
    """Return where the volume's faces cut the brain, with the section in cm².

    Keys: of left, right, front, back, top, bottom, by the nearest axis of the patient.
    """
    found: dict[str, float] = {}
    spacing = brain.grid.spacing_mm
    for axis in range(3):
        planes = np.count_nonzero(brain.array, axis=tuple({0, 1, 2} - {axis}))
        planes = planes * (brain.grid.voxel_mm3 / spacing[axis] / 100.0)
        near = max(1, round(FACE_MM / spacing[axis]))
        direction = brain.grid.directions[:, axis]
        towards = int(np.abs(direction).argmax())
        for end, area in ((-1.0, planes[:near].max()), (1.0, planes[-near:].max())):
            side = SIDES[towards][int(direction[towards] * end > 0)]
            if area > MOST_TOUCHED_CM2:
                found[side] = float(area)
    return found


def _millilitres(mask: Array, grid: Grid) -> float:
    return float(np.count_nonzero(mask)) * grid.voxel_mm3 / 1000.0


def largest_piece(mask: Array) -> Array:
    """Return the largest piece of a mask, connected by faces; an empty mask as it is."""
    pieces, number = ndimage.label(mask)
    if number <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: Array = pieces == sizes.argmax()
    return largest


def main_pieces(mask: Array) -> Array:
    """Return the pieces of a mask above KEPT_PIECE of the largest; an empty mask as it is."""
    pieces, number = ndimage.label(mask)
    if number <= 1:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept: Array = (sizes >= KEPT_PIECE * sizes.max())[pieces]
    return kept


def _closed(mask: Array, grid: Grid) -> Array:
    """Close clefts and holes; at the volume's faces nothing is lost."""
    reach = [max(1, round(HOLE_MM / 2 / mm)) for mm in grid.spacing_mm]
    axes = np.meshgrid(*(np.arange(-r, r + 1) / r for r in reach), indexing="ij")
    ball = sum(axis**2 for axis in axes) <= 1.0
    padded = ndimage.binary_closing(np.pad(mask, [(r, r) for r in reach]), ball)
    inner = tuple(slice(r, -r) for r in reach)
    filled: Array = ndimage.binary_fill_holes(padded[inner] | mask)
    return filled


def _dark_at_skull_depth(values: Array, head: Array, grid: Grid) -> float:
    """Share of voxels at the depth of the skull that are much darker than the deep ones.

    values: above the background.
    """
    depth_mm = ndimage.distance_transform_edt(np.pad(head, 1), sampling=grid.spacing_mm)
    depth_mm = depth_mm[1:-1, 1:-1, 1:-1]
    deep = values[depth_mm > 2 * SKULL_DEPTH_MM[1]]
    shell = values[(depth_mm > SKULL_DEPTH_MM[0]) & (depth_mm <= SKULL_DEPTH_MM[1])]
    if deep.size == 0 or shell.size == 0:
        return 1.0
    return float((shell < DARK * float(np.median(deep))).mean())
