"""The cascade of anisotropic networks: whole tumour, then core, then enhancing part.

Source: Wang et al. 2017 (arXiv:1709.00382), test-time procedure of github.com/taigw/brats17.
Arrays are (slice, row, column) of a 1 mm grid in LPS. Three things differ on purpose: a view
goes through a network at once instead of in batches of slabs, the noise has a fixed seed, and
where no whole tumour is found the answer is "nothing" instead of a core sought in all of the
brain. What each of the three views alone would have found is kept as an opinion on the volume.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from node.domain.errors import BundleInvalid
from node.domain.quality import Finding
from node.domain.regions import Region
from node.segmentation import postprocess
from node.segmentation.ca_cnn_network import NetworkType, Workspace
from node.segmentation.ca_cnn_view import Bench, Image, framed, target_logits
from node.segmentation.crew import runner_for
from node.segmentation.effort import Effort
from node.segmentation.found import Found, Progress
from node.segmentation.options import CASCADE_WEIGHTS, CascadeOptions
from node.segmentation.postprocess import Mask

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

SAMPLED: Final = Finding(
    code="sampled-statistics",
    text="Memory was short, so the networks took their statistics from a part of the slices; "
    "tumour that hardly enhances may be found too small.",
)

Finder = Callable[[Stage, View, Image], Image]
"""Gives the probability (slice, row, column) of a stage's region in a view of an image."""


class CascadeEngine:
    """The nine networks; their weights are read at construction and kept.

    folder: where the files CASCADE_WEIGHTS lie. Raises BundleInvalid when one of them cannot
    be read or is of another network.
    """

    def __init__(self, folder: Path, options: CascadeOptions) -> None:
        self._seed = options.noise_seed
        self._arrays = {name.partition(".")[0]: _read(folder / name) for name in CASCADE_WEIGHTS}

    def __call__(
        self,
        channels: Image,
        brain: Mask,
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        """Return labels in the BraTS convention (1, 2, 4); see node.segmentation.found.

        spacing_mm is not looked at: distances of the method are voxels of 1 mm. `half` means
        bfloat16 on any device.
        """
        del spacing_mm
        labels = np.zeros(brain.shape, dtype=np.uint8)
        inside = brain & (channels[0] > 0)
        if not inside.any():
            return Found(labels=labels)
        box = postprocess.bounding_box(inside, MARGIN)
        noise = np.random.default_rng(self._seed)
        image = normalised(channels[:, *box], noise)
        dtype = torch.bfloat16 if effort.half else torch.float32
        with runner_for(effort.device, effort.threads) as runner:
            workspace = Workspace(effort.device, dtype)
            bench = Bench(runner=runner, workspace=workspace, memory_bytes=effort.memory_bytes)

            whole = True

            def find(stage: Stage, view: View, image: Image) -> Image:
                nonlocal whole
                weights = self._arrays[f"{stage.name}_{view.name}"]
                least = view.least_whole if stage is WHOLE else view.least_part
                padded, (rows, columns) = framed(image, least, noise)
                whole = whole and bench.holds(padded.shape, stage.kind)
                logits = target_logits(weights, stage.kind, padded, bench)[:, rows, columns]
                return torch.sigmoid(torch.from_numpy(logits)).numpy()

            found = cascade(image, inside[box], find, on_progress)
        labels[box] = found.labels
        findings = () if whole else (SAMPLED,)
        return Found(labels=labels, opinions=found.opinions, findings=findings)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read the arrays of one network, without the scope in their names."""
    kind = ENHANCING.kind if path.name.startswith(ENHANCING.name) else WHOLE.kind
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleInvalid(f"{path.name} cannot be read as safetensors") from error
    if len(arrays) != ARRAYS[kind]:
        raise BundleInvalid(f"{path.name} does not hold a network of type {kind}")
    # Copies, because safetensors maps the file, which may be changed later.
    return {key.split("/", 1)[-1]: value.clone() for key, value in arrays.items()}


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


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """One region of the cascade: where most views see it, and where each of them does."""

    found: Mask
    views: tuple[Mask, ...]

    def opinions(self, place: Mask) -> tuple[float, ...]:
        """Return the voxels of each view's region within place."""
        return tuple(float(np.count_nonzero(view & place)) for view in self.views)


def region(stage: Stage, image: Image, find: Finder, on_progress: Progress) -> Vote:
    """Look for a region; it is where the mean of the three views exceeds one half."""
    total = np.zeros(image.shape[1:], dtype=np.float32)
    views: list[Mask] = []
    step = (stage.ends - stage.begins) / len(VIEWS)
    for number, view in enumerate(VIEWS):
        turned = image.transpose(0, *(axis + 1 for axis in view.axes))
        probability = find(stage, view, turned).transpose(np.argsort(view.axes))
        total += probability
        views.append(probability > 0.5)
        on_progress(stage.begins + step * (number + 1))
    return Vote(total > len(VIEWS) / 2, tuple(views))


def cascade(image: Image, inside: Mask, find: Finder, on_progress: Progress) -> Found:
    """Find the three regions in the normalised crop (4, z, y, x) of the brain.

    An opinion on a region counts what a view sees of it in the box where the cascade looks
    further: far from the tumour single views see things that the vote drops.
    """
    vote = region(WHOLE, image, find, on_progress)
    whole = postprocess.close(vote.found & inside)
    whole = postprocess.keep_larger_than(whole, WHOLE_TUMOUR_VOXELS)
    if not whole.any():
        on_progress(1.0)
        nothing = np.zeros(inside.shape, dtype=np.uint8)
        return Found(labels=nothing, opinions=_opinions([vote.opinions(inside)]))
    core, enhancing = np.zeros_like(whole), np.zeros_like(whole)
    box = postprocess.bounding_box(whole, MARGIN)
    counts = [vote.opinions(_only(box, inside))]
    vote = region(CORE, image[:, *box], find, on_progress)
    counts.append(vote.opinions(inside[box]))
    core[box] = _one_or_two(postprocess.close(vote.found & inside[box]))
    box = postprocess.bounding_box(core, MARGIN) if core.any() else box
    vote = region(ENHANCING, image[:, *box], find, on_progress)
    counts.append(vote.opinions(inside[box]))
    enhancing[box] = vote.found & inside[box]
    labels = _brats_labels(*fused(whole, core, enhancing))
    return Found(labels=labels, opinions=_opinions(counts))


def _opinions(counts: Sequence[tuple[float, ...]]) -> dict[Region, tuple[float, ...]]:
    """Name the counts by region; what was not looked for is zero to all."""
    missing = (0.0,) * len(VIEWS)
    counts = [*counts, missing, missing]
    return dict(zip((Region.WT, Region.TC, Region.ET), counts, strict=False))


def _only(box: postprocess.Box, mask: Mask) -> Mask:
    """Return mask without what lies outside box."""
    kept = np.zeros_like(mask)
    kept[box] = mask[box]
    return kept


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


def _brats_labels(whole: Mask, core: Mask, enhancing: Mask) -> NDArray[np.uint8]:
    """Return labels as the source numbers them: 2 oedema, 1 core, 4 enhancing."""
    labels = np.zeros(whole.shape, dtype=np.uint8)
    labels[whole], labels[core], labels[enhancing] = 2, 1, 4
    return labels
