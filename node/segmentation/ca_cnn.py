"""The cascade of anisotropic networks: whole tumour, then core, then enhancing part.

Source: Wang et al. 2017 (arXiv:1709.00382), test-time procedure of github.com/taigw/brats17.
Arrays are (slice, row, column) of a 1 mm grid in LPS. Three things differ on purpose: a view
goes through a network at once instead of in batches of slabs, the noise has a fixed seed, and
where no whole tumour is found the answer is "nothing" instead of a core sought in all of the
brain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from node.domain.errors import BundleInvalid
from node.segmentation import postprocess
from node.segmentation.ca_cnn_network import (
    CONTEXT_SLICES,
    AnisotropicNetwork,
    NetworkType,
    Workspace,
)
from node.segmentation.crew import Crew
from node.segmentation.options import CascadeOptions
from node.segmentation.postprocess import Labels, Mask

Image = NDArray[np.float32]
Progress = Callable[[float], None]

MARGIN: Final = 5
"""Voxels added around every box."""

WHOLE_TUMOUR_VOXELS: Final = 2000
"""Smaller components of the whole tumour are dropped, if there is more than one."""

CORE_SHARE: Final = 0.1
"""A second core counts if it has more than this share of the first."""

ENHANCING_VOXELS: Final = 30
"""A smaller enhancing part is dropped."""


@dataclass(frozen=True, slots=True)
class View:
    """A direction of slicing. axes: of (z, y, x), the slice axis first.

    least: rows and columns to which noise fills up a plane, for WT and for TC and EN.
    """

    name: str
    axes: tuple[int, int, int]
    least_whole: tuple[int, int]
    least_part: tuple[int, int] = (96, 96)


VIEWS: Final = (
    View("ax", (0, 1, 2), (180, 160)),
    View("sg", (2, 0, 1), (160, 180)),
    View("cr", (1, 0, 2), (160, 160)),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One region of the cascade: its networks and its part of the whole work."""

    name: str
    kind: NetworkType
    begins: float
    ends: float


WHOLE: Final = Stage("wt", "A", 0.0, 0.75)
CORE: Final = Stage("tc", "A", 0.75, 0.95)
ENHANCING: Final = Stage("en", "B", 0.95, 1.0)


ARRAYS: Final[Mapping[NetworkType, int]] = {"A": 125, "B": 110}
"""How many arrays a network has."""

Finder = Callable[[Stage, View, Image], Image]
"""Gives the probability (slice, row, column) of a stage's region in a view of an image."""


class CascadeEngine:
    """The nine networks; their weights are read at the first use and then kept.

    folder: where the files CASCADE_WEIGHTS lie.
    """

    def __init__(self, folder: Path, options: CascadeOptions) -> None:
        self._folder = folder
        self._seed = options.noise_seed
        self._arrays: dict[str, dict[str, Tensor]] = {}

    def __call__(
        self,
        channels: Image,
        brain: Mask,
        spacing_mm: tuple[float, float, float],
        on_progress: Progress,
    ) -> Labels:
        """Return labels in the BraTS convention (1, 2, 4); see node.segmentation.bundle.

        spacing_mm is not looked at: distances of the method are voxels of 1 mm.
        """
        del spacing_mm
        labels = np.zeros(brain.shape, dtype=np.uint8)
        inside = brain & (channels[0] > 0)
        if not inside.any():
            return labels
        box = postprocess.bounding_box(inside, MARGIN)
        noise = np.random.default_rng(self._seed)
        image = normalised(channels[:, *box], noise)
        with Crew() as crew:
            workspace = Workspace()

            def find(stage: Stage, view: View, image: Image) -> Image:
                network = AnisotropicNetwork(
                    self._weights(f"{stage.name}_{view.name}", stage.kind),
                    stage.kind,
                    crew=crew,
                    workspace=workspace,
                )
                least = view.least_whole if stage is WHOLE else view.least_part
                return in_one_view(network, image, least, noise)

            labels[box] = cascade(image, inside[box], find, on_progress)
        return labels

    def _weights(self, name: str, kind: NetworkType) -> Mapping[str, Tensor]:
        """Read the arrays of one network, without the scope in their names."""
        if name not in self._arrays:
            arrays = load_file(self._folder / f"{name}.safetensors")
            if len(arrays) != ARRAYS[kind]:
                raise BundleInvalid(f"{name}.safetensors does not hold a network of type {kind}")
            self._arrays[name] = {key.split("/", 1)[-1]: value for key, value in arrays.items()}
        return self._arrays[name]


def normalised(channels: Image, noise: np.random.Generator) -> Image:
    """Z-score the positive voxels of each channel; noise where a channel is exactly 0."""
    result = np.empty_like(channels, dtype=np.float32)
    for target, channel in zip(result, channels, strict=True):
        positive = channel[channel > 0]
        mean = float(positive.mean()) if positive.size else 0.0
        deviation = float(positive.std()) if positive.size else 0.0
        target[...] = (channel - mean) / max(deviation, 1e-6)
        outside = channel == 0
        target[outside] = noise.standard_normal(int(outside.sum()), dtype=np.float32)
    return result


def in_one_view(
    network: Callable[[Tensor], Tensor],
    image: Image,
    least: tuple[int, int],
    noise: np.random.Generator,
) -> Image:
    """Return the probability (slice, row, column) that network gives image (channel, ...).

    All slices go through at once: batch normalisation then sees the whole brain, as it did on
    average in training. In slabs of 19 slices, one by one, the Dice of single cases fell by up
    to 0.2; in batches of five as in the source it costs 1.7 times as much.
    """
    padded, (rows, columns) = _padded(image, least, noise)
    logits = network(torch.from_numpy(padded[None]))[0, :, rows, columns]
    probability: Image = torch.sigmoid(logits[..., 1] - logits[..., 0]).numpy()
    return probability


def _padded(
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


def region(stage: Stage, image: Image, find: Finder, on_progress: Progress) -> Mask:
    """Return where the mean of the three views gives the region more than one half."""
    total = np.zeros(image.shape[1:], dtype=np.float32)
    step = (stage.ends - stage.begins) / len(VIEWS)
    for number, view in enumerate(VIEWS):
        turned = image.transpose(0, *(axis + 1 for axis in view.axes))
        total += find(stage, view, turned).transpose(np.argsort(view.axes))
        on_progress(stage.begins + step * (number + 1))
    found: Mask = total > len(VIEWS) / 2
    return found


def cascade(image: Image, inside: Mask, find: Finder, on_progress: Progress) -> Labels:
    """Find the three regions in the normalised crop (4, z, y, x) of the brain."""
    whole = postprocess.close(region(WHOLE, image, find, on_progress) & inside)
    whole = postprocess.keep_larger_than(whole, WHOLE_TUMOUR_VOXELS)
    if not whole.any():
        on_progress(1.0)
        return np.zeros(inside.shape, dtype=np.uint8)
    core, enhancing = np.zeros_like(whole), np.zeros_like(whole)
    box = postprocess.bounding_box(whole, MARGIN)
    found = region(CORE, image[:, *box], find, on_progress) & inside[box]
    core[box] = _one_or_two(postprocess.close(found))
    box = postprocess.bounding_box(core, MARGIN) if core.any() else box
    enhancing[box] = region(ENHANCING, image[:, *box], find, on_progress) & inside[box]
    return _brats_labels(*fused(whole, core, enhancing))


def _one_or_two(mask: Mask) -> Mask:
    """Keep the largest component, and the second if it is not much smaller."""
    return postprocess.keep_above_share(mask, CORE_SHARE, at_most=2)


def fused(whole: Mask, core: Mask, enhancing: Mask) -> tuple[Mask, Mask, Mask]:
    """Make the regions agree with each other (step 9 of the source's procedure)."""
    everything = postprocess.keep_larger_than(
        postprocess.close(whole | core | enhancing), WHOLE_TUMOUR_VOXELS
    )
    whole = whole & everything
    inner = postprocess.close((core | enhancing) & everything)
    numbers, sizes = postprocess.components(inner)
    if sizes.size:
        in_whole = np.bincount(numbers[whole], minlength=sizes.size + 1)[1:]
        inner = postprocess.keep_numbers(numbers, 2 * in_whole >= sizes)
    core = _one_or_two(inner)
    enhancing = enhancing & core
    if np.count_nonzero(enhancing) < ENHANCING_VOXELS:
        enhancing = np.zeros_like(enhancing)
    return whole | core, core, enhancing


def _brats_labels(whole: Mask, core: Mask, enhancing: Mask) -> Labels:
    """Return labels as the source numbers them: 2 oedema, 1 core, 4 enhancing."""
    labels = np.zeros(whole.shape, dtype=np.uint8)
    labels[whole], labels[core], labels[enhancing] = 2, 1, 4
    return labels
