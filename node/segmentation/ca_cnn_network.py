"""One network of the CA-CNN cascade, in the arithmetic of its published graph.

Source: Wang et al. 2017 (arXiv:1709.00382), weights of github.com/taigw/brats17. Every
convolution is within a slice (1x3x3) or across slices (3x1x1), so all of them run as
two-dimensional convolutions. Batch normalisation uses the statistics of the tensor at hand:
the published moving averages were never updated. Tensors are (slab, slice, row, column,
channel) and go through each layer a few slices at a time, so that a piece stays in the
processor's cache, and layers write to buffers that are kept between slabs. In bfloat16 the
buffers and kernels are narrow; the sums of convolutions and all statistics stay float32.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from node.segmentation.crew import Runner

CONTEXT_SLICES: Final = 4
"""Slices lost at each end of a slab: four fusions, one slice each."""

EPSILON: Final = 1e-5
"""Added to the variance in every batch normalisation (the graph's value)."""

PIECE_BYTES: Final = 4 * 2**20
"""Size of a piece of a layer's input; the speed is flat between 2 and 8 MB."""

DEVICE_PIECE_BYTES: Final = 256 * 2**20
"""The same on a GPU, where one piece has to fill all of its processors."""

WIDTH: Final = 32
"""Channels of the trunk."""

SCALE_CHANNELS: Final = 2 + 4 + 8
"""Channels of the three scales that the last layer sees."""

NetworkType = Literal["A", "B"]
"""A halves the plane twice (WT, TC), B once (EN)."""

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Features:
    """A layer's output, (slab, slice, row, column, channel), and its batch statistics."""

    data: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, slots=True)
class _Moments:
    """Mean and biased variance for each channel of one piece, and its voxels."""

    voxels: int
    mean: Tensor
    variance: Tensor


def _moments(piece: Tensor) -> _Moments:
    """Measure one piece, (plane, channel, row, column).

    Handed running averages of float32, PyTorch sums and returns float32 for any piece.
    """
    running = torch.zeros(2, piece.shape[1], device=piece.device)
    mean, variance = torch.batch_norm_update_stats(piece, running[0], running[1], 0.0)
    return _Moments(piece.numel() // piece.shape[1], mean.double(), variance.double())


def _features(data: Tensor, moments: list[_Moments]) -> _Features:
    """Combine the pieces' moments (Chan et al. 1983), in their order."""
    weights = torch.tensor([m.voxels for m in moments], dtype=torch.float64, device=data.device)
    weights = (weights / weights.sum())[:, None]
    means = torch.stack([m.mean for m in moments])
    mean = (weights * means).sum(0)
    within = torch.stack([m.variance for m in moments])
    variance = (weights * (within + (means - mean) ** 2)).sum(0)
    return _Features(data, mean.float(), variance.float())


class Workspace:
    """Buffers that outlive a call: fresh pages from the system cost more than most layers."""

    def __init__(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a buffer of shape, with undefined content; the name's last one is void."""
        size = math.prod(shape)
        if name in self._buffers and self._buffers[name].numel() < size:
            del self._buffers[name]  # given back before the larger one is asked for
        if name not in self._buffers:
            self._buffers[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return self._buffers[name][:size].view(shape)


class AnisotropicNetwork:
    """A network with its weights; call it with normalised slabs.

    weights: arrays under their graph names without the scope, as in the published checkpoint:
    `conv` (kd, kh, kw, in, out), `deconv` (kd, kh, kw, out, in). A missing one raises KeyError
    at the first call. workspace: where and in which type to compute; may be shared by networks
    that do not run at the same time. After a call `statistics` holds what was measured, as
    FixedNetwork takes it.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        kind: NetworkType,
        *,
        crew: Runner,
        workspace: Workspace | None = None,
    ) -> None:
        self.kind = kind
        self.statistics: dict[str, Tensor] = {}
        self._crew = crew
        self._workspace = workspace or Workspace()
        on_cpu = self._workspace.device.type == "cpu"
        self._piece_bytes = PIECE_BYTES if on_cpu else DEVICE_PIECE_BYTES
        self._weights = {
            name: _prepared(name, array, self._workspace) for name, array in weights.items()
        }

    @torch.inference_mode()
    def __call__(self, slabs: Tensor) -> Tensor:
        """Return logits (slab, slice - 8, row, column, 2) of (slab, slice, row, column, 4).

        The channels are FLAIR, T1, T1C, T2; rows and columns must be multiples of 4. The two
        largest layers share the buffers a and b; c and d keep what the predictions need. The
        slabs may lie anywhere; the logits lie where the workspace is, in its type.
        """
        slabs = slabs.to(self._workspace.device, self._workspace.dtype)
        trunk = self._fused("fuse1", self._first_block(slabs), into="b")
        spare = "a"
        if self.kind == "A":
            trunk, spare = self._halved("downsample1", trunk, into="a"), "b"
        trunk = self._residuals(trunk, ("block2_1", 1), ("block2_2", 1), spare=spare)
        fused1 = self._fused("fuse2", trunk, into="c")
        trunk = self._halved("downsample2", fused1, into="a")
        trunk = self._residuals(trunk, ("block3_1", 1), ("block3_2", 2), ("block3_3", 3), spare="b")
        fused2 = self._fused("fuse3", trunk, into="d")
        trunk = self._copied(fused2, into="a")
        trunk = self._residuals(trunk, ("block4_1", 3), ("block4_2", 2), ("block4_3", 1), spare="b")
        fused3 = self._fused("fuse4", trunk, into="b")
        scales = self._predictions(fused1.data, fused2.data, fused3.data)
        joined = self._workspace.take("a", (*scales[0].shape[:-1], SCALE_CHANNELS))
        return self._plain("final_pred", torch.cat(scales, dim=-1, out=joined))

    def _first_block(self, slabs: Tensor) -> _Features:
        """block1: the only place where the channels change, so the skip is padded with zeros."""
        planes = slabs.flatten(0, 1)
        moments = self._crew.run(
            lambda piece: _moments(_channels_first(planes[piece])), self._pieces(planes)
        )
        before = (WIDTH - slabs.shape[-1]) // 2
        trunk = self._workspace.take("a", (*slabs.shape[:-1], WIDTH)).zero_()
        trunk[..., before : before + slabs.shape[-1]] = slabs
        first = self._unit("block1_1", 1, _features(slabs, moments), trunk, "b")
        return self._residuals(first, ("block1_2", 1), spare="b")

    def _residuals(self, trunk: _Features, *units: tuple[str, int], spare: str) -> _Features:
        """Pass trunk through residual units (name, dilation), in place; spare: a free buffer."""
        for name, dilation in units:
            trunk = self._unit(name, dilation, trunk, trunk.data, spare)
        return trunk

    def _unit(
        self, name: str, dilation: int, source: _Features, skip: Tensor, spare: str
    ) -> _Features:
        """Twice normalise, activate, convolve; added to skip, which is changed in place."""
        middle = self._workspace.take(spare, skip.shape)
        first = self._conv(f"{name}/conv_0", dilation)
        before = self._activation(f"{name}/bn_0", f"{name}/prelu_acti_0", source)
        inner = self._by_planes(source.data, middle, lambda piece: first(before(piece)))
        second = self._conv(f"{name}/conv_1", dilation)
        between = self._activation(f"{name}/bn_1", f"{name}/prelu_acti_1", inner)
        return self._by_planes(inner.data, skip, lambda piece: second(between(piece)), add=True)

    def _fused(self, name: str, source: _Features, *, into: str) -> _Features:
        """Convolve across slices without padding (3x1x1), normalise and activate."""
        slabs, slices, rows, columns, channels = source.data.shape
        out = self._workspace.take(into, (slabs, slices - 2, rows, columns, channels))
        weight = self._weights[f"{name}_bn_prelu/conv_/w"]

        def convolve(part: tuple[int, slice]) -> _Moments:
            slab, piece = part
            # Slices become the rows of one image whose columns are all voxels of a slice.
            stack = source.data[slab, piece.start : piece.stop + 2].flatten(1, 2)
            result = functional.conv2d(_channels_first(stack[None]), weight)
            out[slab, piece].flatten(1, 2).copy_(_channels_last(result)[0])
            return _moments(result)

        parts = [(slab, piece) for slab in range(slabs) for piece in self._pieces(out[slab])]
        return self._activated(name, _features(out, self._crew.run(convolve, parts)))

    def _halved(self, name: str, source: _Features, *, into: str) -> _Features:
        """Convolve with stride 2 in the plane, normalise and activate."""
        slabs, slices, rows, columns, channels = source.data.shape
        out = self._workspace.take(into, (slabs, slices, rows // 2, columns // 2, channels))
        weight = self._weights[f"{name}_bn_prelu/conv_/w"]

        def convolve(piece: Tensor) -> Tensor:
            # TensorFlow's SAME rule for an even length: nothing before, one after.
            return functional.conv2d(functional.pad(piece, (0, 1, 0, 1)), weight, stride=2)

        return self._activated(name, self._by_planes(source.data, out, convolve))

    def _doubled(self, name: str, source: Tensor) -> Tensor:
        """Transposed convolution with stride 2 in the plane, normalise and activate."""
        slabs, slices, rows, columns, _ = source.shape
        weight = self._weights[f"{name}_bn_prelu/deconv_/w"]
        out = self._workspace.take(name, (slabs, slices, 2 * rows, 2 * columns, weight.shape[1]))

        def convolve(piece: Tensor) -> Tensor:
            # The transpose of SAME: of the 2n + 1 rows and columns the first 2n count.
            result = functional.conv_transpose2d(piece, weight, stride=2)
            return result[:, :, :-1, :-1].contiguous(memory_format=torch.channels_last)

        return self._activated(name, self._by_planes(source, out, convolve)).data

    def _predictions(self, fused1: Tensor, fused2: Tensor, fused3: Tensor) -> list[Tensor]:
        """Bring the three scales to the full plane and to the slices that all of them have."""
        fused1, fused2 = fused1[:, 2:-2], fused2[:, 1:-1]
        if self.kind == "B":
            return [
                self._plain("pred1", fused1),
                self._doubled("pred_up2_1", fused2),
                self._doubled("pred_up3_1", fused3),
            ]
        return [
            self._doubled("pred_up1", fused1),
            self._doubled("pred_up2_2", self._doubled("pred_up2_1", fused2)),
            self._doubled("pred_up3_2", self._doubled("pred_up3_1", fused3)),
        ]

    def _plain(self, name: str, source: Tensor) -> Tensor:
        """Convolve to two channels without norm, into a tensor that belongs to the caller."""
        out = source.new_empty((*source.shape[:-1], 2))
        return self._by_planes(source, out, self._conv(name)).data

    def _by_planes(
        self, source: Tensor, out: Tensor, compute: Activation, *, add: bool = False
    ) -> _Features:
        """Fill out (or add to it) with compute of source's planes; measure out."""
        planes, target = source.flatten(0, 1), out.flatten(0, 1)

        def work(piece: slice) -> _Moments:
            result = _channels_last(compute(_channels_first(planes[piece])))
            written = target[piece].add_(result) if add else target[piece].copy_(result)
            return _moments(_channels_first(written))

        return _features(out, self._crew.run(work, self._pieces(planes)))

    def _pieces(self, planes: Tensor) -> Iterator[slice]:
        """Cut (plane, row, column, channel) into runs of planes that suit the processor."""
        step = max(1, self._piece_bytes // max(1, planes[0].numel() * planes.element_size()))
        for start in range(0, planes.shape[0], step):
            yield slice(start, min(start + step, planes.shape[0]))

    def _copied(self, source: _Features, *, into: str) -> _Features:
        """Copy what is needed later from what the next units change in place."""
        copy = self._workspace.take(into, source.data.shape).copy_(source.data)
        return _Features(copy, source.mean, source.variance)

    def _conv(self, name: str, dilation: int = 1) -> Activation:
        """Return a 3x3 convolution within the slice, zero padded to the same size."""
        weight = self._weights[f"{name}/w"]
        return lambda piece: functional.conv2d(piece, weight, padding=dilation, dilation=dilation)

    def _activation(self, norm: str, slope: str, source: _Features) -> Activation:
        """Return batch normalisation with the statistics of source, and PReLU."""
        self.statistics[f"{norm}/mean"] = source.mean
        self.statistics[f"{norm}/variance"] = source.variance
        gamma, beta = self._weights[f"{norm}/gamma"], self._weights[f"{norm}/beta"]
        alpha = self._weights[f"{slope}/alpha"]

        def apply(piece: Tensor) -> Tensor:
            normalised = functional.batch_norm(
                piece, source.mean, source.variance, gamma, beta, eps=EPSILON
            )
            return functional.prelu(normalised, alpha)

        return apply

    def _activated(self, name: str, source: _Features) -> _Features:
        """Normalise and activate in place."""
        layer = f"{name}_bn_prelu"
        activation = self._activation(f"{layer}/bn_", f"{layer}/prelu_acti_", source)
        return self._by_planes(source.data, source.data, activation)


def _prepared(name: str, array: Tensor, place: Workspace) -> Tensor:
    """Bring an array to its place; kernels as those of a two-dimensional PyTorch convolution."""
    if name.endswith(("/gamma", "/beta")):
        return array.to(place.device, torch.float32).contiguous()
    if array.ndim != 5:
        return array.to(place.device, place.dtype).contiguous()
    kernel = plane_kernel(array).to(place.device, place.dtype)
    return kernel.contiguous(memory_format=torch.channels_last)


def plane_kernel(array: Tensor) -> Tensor:
    """Turn (kd, kh, kw, in, out) into PyTorch's (out, in, row, column), float32.

    A kernel across slices becomes (out, in, slice, 1). The same for `deconv`, where PyTorch
    wants what comes in first.
    """
    kernel = array.permute(4, 3, 0, 1, 2)
    flat = kernel[:, :, :, :, 0] if kernel.shape[2] > 1 else kernel[:, :, 0]
    return flat.float()


def _channels_first(planes: Tensor) -> Tensor:
    """(plane, row, column, channel) as PyTorch's (plane, channel, row, column), no copy."""
    return planes.permute(0, 3, 1, 2)


def _channels_last(planes: Tensor) -> Tensor:
    """Undo _channels_first."""
    return planes.permute(0, 2, 3, 1)
