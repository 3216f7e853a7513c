"""The port to brain extraction, and volumes that arrive without a skull."""

from typing import Final, Protocol

import numpy as np
from scipy import ndimage

from node.domain.errors import BrainNotFound
from node.imaging.volume import Array, Grid, Volume

LEAST_BACKGROUND: Final = 0.3
"""Share of a stripped volume that has exactly one and the same value, at least."""

BRAIN_ML: Final = (900.0, 2200.0)
"""Volume of a brain with its fluid; a head down to the skull base has more."""

STRIPPED_ML: Final = (500.0, 2200.0)
"""The same where a field of view may have cut the brain."""

LARGEST_PIECE: Final = 0.95
"""Share of the brain that is one piece."""

SKULL_DEPTH_MM: Final = (6.0, 14.0)
"""Below the surface of a head lies bone, below that of a brain lies brain."""

DARK: Final = 0.35
"""Values below this part of the deep median are as dark as bone and fluid in T1."""

MOST_DARK: Final = 0.07
"""Share of dark voxels at skull depth. Measured: stripped 0 to 0.04, heads 0.09 to 0.9."""

HOLE_MM: Final = 4.0
"""Clefts in a stripped brain up to this width belong to it."""


class BrainExtractor(Protocol):
    """Finds the brain on a series. name: written into the algorithm's identification."""

    @property
    def name(self) -> str:
        """Name of the method, for the objects and the story."""
        ...

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference. Raises BrainNotFound."""
        ...


class StrippedBrain:
    """The extractor of a volume that has no skull: what is not background is brain."""

    name = "as received (skull-stripped)"

    def __call__(self, reference: Volume) -> Volume:
        """Return all but the background, clefts and holes closed."""
        brain = reference.with_array(_closed(signal_of(reference), reference.grid))
        check_brain(brain, limits_ml=STRIPPED_ML)
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
    brain = _largest_piece(_closed(signal, volume.grid))
    if np.count_nonzero(brain & signal) < LARGEST_PIECE * np.count_nonzero(signal):
        return False
    if not STRIPPED_ML[0] <= _millilitres(brain, volume.grid) <= STRIPPED_ML[1]:
        return False
    return _dark_at_skull_depth(values, brain, volume.grid) < MOST_DARK


def check_brain(brain: Volume, *, limits_ml: tuple[float, float] = BRAIN_ML) -> None:
    """Raise BrainNotFound unless the mask could be a brain: one piece of a brain's volume."""
    found = _millilitres(brain.array, brain.grid)
    low, high = limits_ml
    if not low <= found <= high:
        raise BrainNotFound(
            f"The brain mask has {found:.0f} mL; {low:.0f} to {high:.0f} mL are plausible."
        )
    largest = np.count_nonzero(_largest_piece(brain.array)) / np.count_nonzero(brain.array)
    if largest < LARGEST_PIECE:
        raise BrainNotFound(f"The brain mask falls apart: its largest piece is {largest:.0%}.")


def _millilitres(mask: Array, grid: Grid) -> float:
    return float(np.count_nonzero(mask)) * grid.voxel_mm3 / 1000.0


def _largest_piece(mask: Array) -> Array:
    pieces, number = ndimage.label(mask)
    if number == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest: Array = pieces == sizes.argmax()
    return largest


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
