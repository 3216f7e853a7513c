"""One network of the CA-CNN cascade with fixed statistics: a plain feed-forward net.

Where mean and variance of every batch normalisation are given, a norm is a scale and a shift
that most layers take into their convolution, a slice's result depends on its eight neighbours
only, and a view may be cut into tiles anywhere. The trunk is worked off in stages, each a fusion
across slices and then units within the slice, on a CPU slice by slice so that they stay in its
cache. A transposed convolution of stride 2 becomes a plain one that gives the four
phases of each channel, and the last layer works on those, so that only its result is spread to
the full plane. Layers: see ca_cnn_network; kernels: see ca_cnn_folding.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from node.segmentation.ca_cnn_folding import UNITS, folded, norm_arrays
from node.segmentation.ca_cnn_network import EPSILON, WIDTH, NetworkType
from node.segmentation.crew import Runner

DEVICE_PIECE_VOXELS: Final = 4_194_304
"""Voxels of a layer's input at a time on a GPU, where one piece has to fill all processors."""


class FixedNetwork:
    """A network with its weights and statistics.

    weights: as for AnisotropicNetwork. statistics: `<norm>/mean` and `<norm>/variance` for each
    batch normalisation. A missing array raises KeyError. dtype: of activations and kernels;
    sums inside a convolution and the statistics are float32 in any case.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        kind: NetworkType,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.kind = kind
        self.device, self.dtype = torch.device(device), dtype
        self._norms = {
            name: tuple(array.to(self.device) for array in norm_arrays(weights, statistics, name))
            for name in _free_norms()
        }
        self._arrays = {
            name: _placed(array, self.device, dtype)
            for name, array in folded(weights, statistics, kind).items()
        }

    def slice_bytes(self, rows: int, columns: int) -> int:
        """Return the memory of one input slice of this size in all stages together."""
        full_planes = 1.0 + 2 / 4 + 3 / 16 if self.kind == "A" else 3.0 + 3 / 4
        return int(rows * columns * WIDTH * self.dtype.itemsize * (full_planes + 0.5))

    @torch.inference_mode()
    def __call__(self, slices: Tensor, runner: Runner) -> Tensor:
        """Return target minus background logit, float32 (slice - 8, row, column).

        slices: float32 (slice, row, column, 4) on the CPU: FLAIR, T1, T1C, T2; rows and columns
        multiples of 4. The result lies on the CPU.
        """
        planes = slices.to(self.device, self.dtype).permute(0, 3, 1, 2)
        (trunk,) = self._staged(planes, 0, runner, self._first_stage)
        (trunk,) = self._staged(trunk, 2, runner, self._second_stage)
        trunk, fused1 = self._staged(trunk, 2, runner, self._third_stage)
        trunk, fused2 = self._staged(trunk, 2, runner, self._fourth_stage)
        fused1, fused2 = fused1[2:-2], fused2[1:-1]

        def predict(piece: slice) -> Tensor:
            scales = [
                self._finest(fused1[piece]),
                self._middle(fused2[piece]),
                self._coarsest(self._fused("fuse4", trunk[piece.start : piece.stop + 2])),
            ]
            logits = self._conv("final_pred", torch.cat(scales, dim=1))
            return functional.pixel_shuffle(logits, 2)[:, 0].float().cpu()

        return torch.cat(runner.run(predict, self._pieces(trunk, 2)))

    def _staged(
        self,
        source: Tensor,
        lost: int,
        runner: Runner,
        stage: Callable[[Tensor], tuple[Tensor, ...]],
    ) -> list[Tensor]:
        """Pass source, piece by piece, through a stage that needs lost slices of context."""
        pieces = list(self._pieces(source, lost))
        first = runner.run(lambda piece: stage(source[piece.start : piece.stop + lost]), pieces[:1])
        outs = [_empty((source.shape[0] - lost, *each.shape[1:]), each) for each in first[0]]
        for out, result in zip(outs, first[0], strict=True):
            out[pieces[0]] = result

        def work(piece: slice) -> None:
            results = stage(source[piece.start : piece.stop + lost])
            for out, result in zip(outs, results, strict=True):
                out[piece] = result

        runner.run(work, pieces[1:])
        return outs

    def _pieces(self, source: Tensor, lost: int) -> Iterator[slice]:
        """Cut the slices that a stage gives into pieces of work.

        On the CPU always single slices: convolutions of several sum in another order, and the
        last bits of a result would depend on where the tiles are cut.
        """
        step = 1
        if self.device.type != "cpu":
            step = max(1, DEVICE_PIECE_VOXELS // (source.shape[2] * source.shape[3]))
        count = source.shape[0] - lost
        for start in range(0, count, step):
            yield slice(start, min(start + step, count))

    def _first_stage(self, piece: Tensor) -> tuple[Tensor]:
        """block1; its skip is the input between channels of zeros."""
        side = (WIDTH - piece.shape[1]) // 2
        skip = functional.pad(piece, (0, 0, 0, 0, side, side))
        (first, _), second = UNITS["block1"]
        return (self._unit(*second, self._unit_onto(skip, first, 1, piece)),)

    def _second_stage(self, piece: Tensor) -> tuple[Tensor]:
        trunk = self._fused("fuse1", piece)
        if self.kind == "A":
            trunk = self._halved("downsample1", trunk)
        return (self._units("block2", trunk),)

    def _third_stage(self, piece: Tensor) -> tuple[Tensor, Tensor]:
        fused = self._fused("fuse2", piece)
        return self._units("block3", self._halved("downsample2", fused)), fused

    def _fourth_stage(self, piece: Tensor) -> tuple[Tensor, Tensor]:
        fused = self._fused("fuse3", piece)
        return self._units("block4", fused.clone()), fused

    def _finest(self, fused: Tensor) -> Tensor:
        """Phases of the prediction from the largest planes."""
        if self.kind == "A":
            return self._doubled("pred_up1", fused)
        return functional.pixel_unshuffle(self._conv("pred1", fused), 2)

    def _middle(self, fused: Tensor) -> Tensor:
        phases = self._doubled("pred_up2_1", fused)
        if self.kind == "B":
            return phases
        return self._doubled("pred_up2_2", functional.pixel_shuffle(phases, 2))

    def _coarsest(self, fused: Tensor) -> Tensor:
        phases = self._doubled("pred_up3_1", fused)
        if self.kind == "B":
            return phases
        return self._doubled("pred_up3_2", functional.pixel_shuffle(phases, 2))

    def _units(self, stage: str, trunk: Tensor) -> Tensor:
        for name, dilation in UNITS[stage]:
            trunk = self._unit(name, dilation, trunk)
        return trunk

    def _unit(self, name: str, dilation: int, trunk: Tensor) -> Tensor:
        return self._unit_onto(trunk, name, dilation, trunk)

    def _unit_onto(self, skip: Tensor, name: str, dilation: int, source: Tensor) -> Tensor:
        """Twice normalise, activate, convolve; added to skip, which is changed in place."""
        mean, variance, gamma, beta = self._norms[f"{name}/bn_0"]
        inner = functional.batch_norm(source, mean, variance, gamma, beta, eps=EPSILON)
        inner = self._activated(f"{name}/prelu_acti_0", inner)
        inner = self._conv(f"{name}/conv_0", inner, dilation)
        inner = self._activated(f"{name}/prelu_acti_1", inner)
        return skip.add_(self._conv(f"{name}/conv_1", inner, dilation))

    def _fused(self, name: str, source: Tensor) -> Tensor:
        """Convolve across slices: they become the rows of one image, a slice one row."""
        slices, channels, rows, columns = source.shape
        stack = source.permute(0, 2, 3, 1).reshape(1, slices, rows * columns, channels)
        result = functional.conv2d(
            stack.permute(0, 3, 1, 2), self._arrays[f"{name}/w"], self._arrays[f"{name}/b"]
        )
        planes = self._activated(name, result).permute(0, 2, 3, 1)
        return planes.reshape(slices - 2, rows, columns, channels).permute(0, 3, 1, 2)

    def _halved(self, name: str, source: Tensor) -> Tensor:
        """Stride 2; TensorFlow's SAME rule for an even length: nothing before, one after."""
        padded = functional.pad(source, (0, 1, 0, 1))
        result = functional.conv2d(
            padded, self._arrays[f"{name}/w"], self._arrays[f"{name}/b"], stride=2
        )
        return self._activated(name, result)

    def _doubled(self, name: str, source: Tensor) -> Tensor:
        """Return the phases of a transposed convolution with stride 2."""
        result = functional.conv2d(
            source, self._arrays[f"{name}/w"], self._arrays[f"{name}/b"], padding=1
        )
        return self._activated(name, result[:, :, :-1, :-1])

    def _conv(self, name: str, source: Tensor, dilation: int = 1) -> Tensor:
        weight, bias = self._arrays[f"{name}/w"], self._arrays.get(f"{name}/b")
        return functional.conv2d(source, weight, bias, padding=dilation, dilation=dilation)

    def _activated(self, name: str, source: Tensor) -> Tensor:
        return functional.prelu(source, self._arrays[f"{name}/alpha"])


def _free_norms() -> Iterator[str]:
    """Name the norms that stand alone: they come right after a sum."""
    for units in UNITS.values():
        for name, _ in units:
            yield f"{name}/bn_0"


def _placed(array: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bring an array to its device, kernels with the channels last."""
    placed = array.to(device, dtype)
    if placed.ndim == 4:
        return placed.contiguous(memory_format=torch.channels_last)
    return placed.contiguous()


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return an undefined tensor with the channels last."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
