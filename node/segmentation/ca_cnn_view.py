"""A view of an image through one network of the CA-CNN cascade, within a given memory.

All slices of a view go through together, because batch normalisation takes its statistics from
what it is given, and does best when that is the whole brain. Where memory is short, statistics
come from a few slabs spread over the view, and with them the view goes through tile by tile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.segmentation.ca_cnn_fixed import FixedNetwork
from node.segmentation.ca_cnn_network import (
    CONTEXT_SLICES,
    WIDTH,
    AnisotropicNetwork,
    NetworkType,
    Workspace,
)
from node.segmentation.crew import Runner

Image = NDArray[np.float32]

SAMPLE_SLABS: Final = 3
SAMPLE_SLICES: Final = 19
"""The sample for the statistics where memory is short: slabs as thick as the source's."""

CHANNELS_KEPT: Final[Mapping[NetworkType, int]] = {
    "A": 2 * WIDTH + WIDTH // 4 + WIDTH // 16 + 17 + 6,
    "B": 3 * WIDTH + WIDTH // 4 + 12 + 6,
}
"""Values that a network keeps for a voxel: trunk twice, both skips, predictions, in and out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where networks are run. memory_bytes: for their activations."""

    runner: Runner
    workspace: Workspace
    memory_bytes: int

    def holds(self, shape: tuple[int, ...], kind: NetworkType) -> bool:
        """Whether all of a view (slice, row, column, ...) goes through at once."""
        if shape[0] <= SAMPLE_SLABS * SAMPLE_SLICES:
            return True
        return whole_bytes(shape, kind, self.workspace.dtype) <= self.memory_bytes


def whole_bytes(shape: tuple[int, ...], kind: NetworkType, dtype: torch.dtype) -> int:
    """Return what a view (slice, row, column, ...) needs when all of it goes through at once."""
    slices, rows, columns = shape[:3]
    return slices * rows * columns * CHANNELS_KEPT[kind] * dtype.itemsize


def target_logits(
    weights: Mapping[str, Tensor], kind: NetworkType, padded: Image, bench: Bench
) -> Image:
    """Return target minus background logit, (slice - 8, row, column), of (slice, ..., 4).

    With enough memory this is the network with the statistics of the whole view. With less,
    the result does not depend on how much less: only on the sample.
    """
    slices = torch.from_numpy(padded)
    place = bench.workspace
    network = AnisotropicNetwork(weights, kind, crew=bench.runner, workspace=place)
    if bench.holds(padded.shape, kind):
        logits = network(slices[None])[0]
        return (logits[..., 1] - logits[..., 0]).float().cpu().numpy()
    network(_sample(slices))
    fixed = FixedNetwork(
        weights, network.statistics, kind, device=str(place.device), dtype=place.dtype
    )
    depth = bench.memory_bytes // fixed.slice_bytes(*padded.shape[1:3]) - 2 * CONTEXT_SLICES
    return in_tiles(lambda tile: fixed(tile, bench.runner), slices, max(1, depth)).numpy()


def _sample(slices: Tensor) -> Tensor:
    """Return slabs spread evenly from the first to the last slice."""
    starts = np.linspace(0, slices.shape[0] - SAMPLE_SLICES, SAMPLE_SLABS).round().astype(int)
    return torch.stack([slices[start : start + SAMPLE_SLICES] for start in starts])


def in_tiles(network: Callable[[Tensor], Tensor], slices: Tensor, depth: int) -> Tensor:
    """Run network, which loses the context, over tiles that give depth slices each."""
    count = slices.shape[0] - 2 * CONTEXT_SLICES
    tiles = [
        network(slices[start : min(start + depth, count) + 2 * CONTEXT_SLICES])
        for start in range(0, count, depth)
    ]
    return torch.cat(tiles)


def framed(
    image: Image, least: tuple[int, int], noise: np.random.Generator
) -> tuple[Image, tuple[slice, slice]]:
    """Put (channel, slice, row, column) into the middle of noise, channels last.

    Returns that and where the rows and columns lie in it. Planes become multiples of 4; the
    context of the first and last slices is noise.
    """
    channels, slices, *plane = image.shape
    sizes = [max(fewest, -(-n // 4) * 4) for n, fewest in zip(plane, least, strict=True)]
    starts = [size // 2 - n // 2 for size, n in zip(sizes, plane, strict=True)]
    shape = (slices + 2 * CONTEXT_SLICES, sizes[0], sizes[1], channels)
    padded = noise.standard_normal(shape, dtype=np.float32)
    rows, columns = (slice(start, start + n) for start, n in zip(starts, plane, strict=True))
    padded[CONTEXT_SLICES:-CONTEXT_SLICES, rows, columns] = np.moveaxis(image, 0, -1)
    return padded, (rows, columns)
