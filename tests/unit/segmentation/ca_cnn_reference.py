"""The networks of CA-CNN written as plainly as their table, in three dimensions, and slow."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def random_weights(kind: str, seed: int = 0) -> dict[str, Tensor]:
    """Return arrays with the names and shapes of a checkpoint."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    def norm(prefix: str, channels: int) -> dict[str, Tensor]:
        return {
            f"{prefix}gamma": 1 + normal(channels, scale=0.2),
            f"{prefix}beta": normal(channels, scale=0.2),
        }

    weights: dict[str, Tensor] = {}
    units = [f"block{stage}_{unit}" for stage in (1, 2) for unit in (1, 2)]
    units += [f"block{stage}_{unit}" for stage in (3, 4) for unit in (1, 2, 3)]
    for unit in units:
        for half in (0, 1):
            inputs = 4 if (unit, half) == ("block1_1", 0) else 32
            weights |= norm(f"{unit}/bn_{half}/", inputs)
            weights[f"{unit}/prelu_acti_{half}/alpha"] = normal(inputs, scale=0.3)
            weights[f"{unit}/conv_{half}/w"] = normal(1, 3, 3, inputs, 32, scale=0.08)

    def cba(name: str, kind: str, *shape: int) -> None:
        channels = shape[-1] if kind == "conv" else shape[-2]
        weights[f"{name}_bn_prelu/{kind}_/w"] = normal(*shape, scale=0.1)
        weights[f"{name}_bn_prelu/prelu_acti_/alpha"] = normal(channels, scale=0.3)
        weights.update(norm(f"{name}_bn_prelu/bn_/", channels))

    for fusion in ("fuse1", "fuse2", "fuse3", "fuse4"):
        cba(fusion, "conv", 3, 1, 1, 32, 32)
    cba("downsample2", "conv", 1, 3, 3, 32, 32)
    cba("pred_up2_1", "deconv", 1, 3, 3, 4, 32)
    cba("pred_up3_1", "deconv", 1, 3, 3, 8, 32)
    if kind == "A":
        cba("downsample1", "conv", 1, 3, 3, 32, 32)
        cba("pred_up1", "deconv", 1, 3, 3, 2, 32)
        cba("pred_up2_2", "deconv", 1, 3, 3, 4, 4)
        cba("pred_up3_2", "deconv", 1, 3, 3, 8, 8)
    else:
        weights["pred1/w"] = normal(1, 3, 3, 32, 2, scale=0.1)
    weights["final_pred/w"] = normal(1, 3, 3, 14, 2, scale=0.2)
    return weights


class PlainNetwork:
    """The layers as they stand in the table, one method for each kind."""

    def __init__(self, weights: Weights, kind: str) -> None:
        self._weights = weights
        self._kind = kind

    def __call__(self, slabs: Tensor) -> Tensor:
        """Return logits (slab, slice - 8, row, column, 2) of (slab, slice, row, column, 4)."""
        x = slabs.permute(0, 4, 1, 2, 3)
        x = self._fuse(self._unit(self._unit(x, "block1_1", 1), "block1_2", 1), "fuse1")
        if self._kind == "A":
            x = self._down(x, "downsample1")
        x = self._unit(self._unit(x, "block2_1", 1), "block2_2", 1)
        first = self._fuse(x, "fuse2")
        x = self._down(first, "downsample2")
        for number in (1, 2, 3):
            x = self._unit(x, f"block3_{number}", number)
        second = x = self._fuse(x, "fuse3")
        for number, dilation in ((1, 3), (2, 2), (3, 1)):
            x = self._unit(x, f"block4_{number}", dilation)
        scales = self._scales(first[:, :, 2:-2], second[:, :, 1:-1], self._fuse(x, "fuse4"))
        return self._conv(torch.cat(scales, dim=1), "final_pred/w").permute(0, 2, 3, 4, 1)

    def _scales(self, first: Tensor, second: Tensor, third: Tensor) -> list[Tensor]:
        second, third = self._up(second, "pred_up2_1"), self._up(third, "pred_up3_1")
        if self._kind == "B":
            return [self._conv(first, "pred1/w"), second, third]
        first = self._up(first, "pred_up1")
        return [first, self._up(second, "pred_up2_2"), self._up(third, "pred_up3_2")]

    def _unit(self, x: Tensor, name: str, dilation: int) -> Tensor:
        skip = functional.pad(x, (0, 0) * 3 + (14, 14)) if x.shape[1] == 4 else x
        for half in (0, 1):
            x = self._activated(x, f"{name}/bn_{half}/", f"{name}/prelu_acti_{half}/")
            x = self._conv(x, f"{name}/conv_{half}/w", dilation)
        return x + skip

    def _fuse(self, x: Tensor, name: str) -> Tensor:
        return self._after(functional.conv3d(x, self._kernel(f"{name}_bn_prelu/conv_/w")), name)

    def _down(self, x: Tensor, name: str) -> Tensor:
        kernel = self._kernel(f"{name}_bn_prelu/conv_/w")
        padded = functional.pad(x, (0, 1, 0, 1))
        return self._after(functional.conv3d(padded, kernel, stride=(1, 2, 2)), name)

    def _up(self, x: Tensor, name: str) -> Tensor:
        kernel = self._kernel(f"{name}_bn_prelu/deconv_/w")
        larger = functional.conv_transpose3d(x, kernel, stride=(1, 2, 2))
        return self._after(larger[..., :-1, :-1], name)

    def _conv(self, x: Tensor, name: str, dilation: int = 1) -> Tensor:
        padding, dilations = (0, dilation, dilation), (1, dilation, dilation)
        return functional.conv3d(x, self._kernel(name), padding=padding, dilation=dilations)

    def _kernel(self, name: str) -> Tensor:
        return self._weights[name].permute(4, 3, 0, 1, 2)

    def _after(self, x: Tensor, name: str) -> Tensor:
        return self._activated(x, f"{name}_bn_prelu/bn_/", f"{name}_bn_prelu/prelu_acti_/")

    def _activated(self, x: Tensor, norm: str, slope: str) -> Tensor:
        gamma, beta = self._weights[f"{norm}gamma"], self._weights[f"{norm}beta"]
        x = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
        return functional.prelu(x, self._weights[f"{slope}alpha"])
