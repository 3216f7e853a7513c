"""The engine `monai`: one network of MONAI, patch by patch, as the manifest says.

Source of the patches: monai.inferers.sliding_window_inference. Its networks see an image whose
axes run as they did in training, which is a matter of the files they were trained with.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.domain.errors import BundleInvalid
from node.domain.regions import Region
from node.segmentation.effort import Effort
from node.segmentation.found import Found, Progress
from node.segmentation.memory import is_out_of_memory
from node.segmentation.monai_network import build_network, load_weights, read_weights
from node.segmentation.network_options import MonaiOptions, SoftmaxOutput
from node.segmentation.opinions import count_labels, gather
from node.segmentation.postprocess import nested_labels
from node.segmentation.sliding import (
    ALWAYS_BYTES,
    MOST_AT_ONCE,
    Sizes,
    Windows,
    fitting_roi,
    forward_bytes,
    on_threads,
    slide,
)
from node.segmentation.turning import Turn

Labels = NDArray[np.uint8]

BUFFERS: Final = 4
"""How often the values of the whole image are in memory at once: those that grow patch by
patch, the probabilities of one view, their mean and a turned or weighted copy."""


class MonaiEngine:
    """A network with its weights; they are read at construction and kept.

    weights: the state dict's file. in_channels: how many roles there are. meaning: from the
    engine's labels to Segnode's, for the opinions.
    """

    def __init__(
        self, weights: Path, in_channels: int, meaning: Mapping[int, int], options: MonaiOptions
    ) -> None:
        self._options = options
        self._meaning = meaning
        self._network = build_network(options, in_channels)
        load_weights(self._network, read_weights(weights, options.state_key), weights.name)
        self._in_channels = in_channels

    def __call__(
        self,
        channels: NDArray[np.float32],
        brain: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        """Find labels as `output` of the options says; see node.segmentation.found.Segmenter.

        Neither brain nor spacing_mm is looked at: the manifest's preprocessing has seen to
        both. Raises BundleInvalid when the network gives no numbers, MemoryError when not even
        the smallest patch fits.
        """
        del brain, spacing_mm
        turn = Turn.to(self._options.axes)
        image = torch.from_numpy(np.ascontiguousarray(turn.there(channels)))
        windows = self._windows(image.shape[1:], effort)
        self._network.to(effort.device)
        with on_threads(effort.threads):
            labels, views = self._seen(image, windows, effort, on_progress)
        on_progress(1.0)
        return Found(
            labels=np.ascontiguousarray(turn.back(labels)), opinions=gather(views, self._meaning)
        )

    def _seen(
        self, image: Tensor, windows: Windows, effort: Effort, on_progress: Progress
    ) -> tuple[Labels, list[dict[int, float]]]:
        """Average over mirrored images; also count the labels that each of them gives."""
        mirrored = list(_mirrored(self._options.mirror))
        total = len(mirrored) * windows.count(image.shape[1:])
        done = itertools.count(1)

        def on_window() -> None:
            on_progress(min(next(done) / total, 1.0))

        mean = torch.zeros((self._options.out_channels, *image.shape[1:]))
        views = []
        for axes in mirrored:
            values = self._values(image.flip(axes), windows, effort, on_window).flip(axes)
            probability = self._probability(values)
            if len(mirrored) > 1:
                views.append(count_labels(self._decided(probability)))
            mean += probability / len(mirrored)
        return self._decided(mean), views

    def _values(
        self, image: Tensor, windows: Windows, effort: Effort, on_window: Callable[[], None]
    ) -> Tensor:
        """Return finite values (channel, ...) of the image, in full precision if need be."""
        values = slide(self._network, image, windows, effort, on_window)
        if effort.half and not bool(torch.isfinite(values).all()):
            whole = replace(effort, half=False)  # float16 ends at 65504
            values = slide(self._network, image, windows, whole, on_window)
        if not bool(torch.isfinite(values).all()):
            raise BundleInvalid("the network gives values that are no numbers")
        if values.shape[0] != self._options.out_channels:
            raise BundleInvalid(
                f"the network gives {values.shape[0]} channels, "
                f"engine_options.output names {self._options.out_channels}"
            )
        return values

    def _probability(self, values: Tensor) -> Tensor:
        if isinstance(self._options.output, SoftmaxOutput):
            return torch.softmax(values, dim=0)
        return torch.sigmoid_(values)

    def _decided(self, probability: Tensor) -> Labels:
        """Return the engine's labels for probabilities (channel, ...)."""
        output = self._options.output
        if isinstance(output, SoftmaxOutput):
            table = np.array(output.labels, dtype=np.uint8)
            labels: Labels = table[probability.argmax(dim=0).numpy()]
            return labels
        above = (probability > output.threshold).numpy()
        masks = dict(zip(output.regions, above, strict=True))
        nothing = np.zeros(above.shape[1:], dtype=bool)
        enhancing = masks.get(Region.ET, nothing)
        core = masks.get(Region.TC, nothing) | enhancing
        return nested_labels(masks.get(Region.WT, nothing) | core, core, enhancing)

    def _windows(self, shape: Sizes, effort: Effort) -> Windows:
        """Choose patches that fit into the effort's memory beside the whole image's results."""
        options = self._options
        roi = _roi_for(shape, options)
        needed = self._needed_bytes(roi)
        per_voxel = needed / math.prod(roi)
        on_cpu = effort.device == "cpu"
        results = BUFFERS * 4 * (options.out_channels + 1) * math.prod(shape)
        free = effort.memory_bytes - ALWAYS_BYTES - (results if on_cpu else 0)
        smallest = tuple(map(min, options.smallest_roi or roi, roi))
        fitting = fitting_roi(roi, smallest, options.divisible_by, free / per_voxel)
        if fitting != roi:
            self._needed_bytes(fitting)
        at_once = 1 if on_cpu else int(free / per_voxel / math.prod(fitting))
        return Windows(
            roi=fitting,
            overlap=options.overlap,
            blend=options.blend,
            at_once=min(at_once, MOST_AT_ONCE),
        )

    def _needed_bytes(self, roi: Sizes) -> int:
        """Count the memory of a patch; raises BundleInvalid when the network cannot take it."""
        try:
            return forward_bytes(self._network, (1, self._in_channels, *roi)) - ALWAYS_BYTES
        except (RuntimeError, ValueError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            raise BundleInvalid(
                f"the network cannot take a patch of {roi}: engine_options.divisible_by is "
                f"{self._options.divisible_by}, which does not suit it"
            ) from error


def _roi_for(shape: Sizes, options: MonaiOptions) -> Sizes:
    """Return the patch for an image: no larger than it needs to be, if that is allowed."""
    if options.pad_to_roi:
        return options.roi
    multiple = options.divisible_by
    enough = (-(-size // multiple) * multiple for size in shape)
    return tuple(min(most, size) for most, size in zip(options.roi, enough, strict=True))


def _mirrored(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every combination of axes of (channel, ...), beginning with none."""
    for number in range(len(axes) + 1):
        for chosen in itertools.combinations(axes, number):
            yield tuple(axis + 1 for axis in chosen)
