"""The network of HD-BET v1 (Isensee et al. 2019, doi:10.1002/hbm.24750), in plain torch.

A residual encoder and a decoder with skips, 21 to 336 channels. Its instance normalisation
always uses the statistics of the image at hand. Names of the layers are those in the published
weights, so that these load as they are.
"""

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

BASE: Final = 21
"""Channels of the finest level; each coarser one has twice as many."""

SLOPE: Final = 0.01
LAST_SLOPE: Final = 0.1
"""Of the leaky ReLU; the deepest one and the two at the end have another than all others."""

UNUSED: Final = ("running_mean", "running_var", "loc2_seg.weight", "loc3_seg.weight")
"""Ends of names in the published weights that play no part in a prediction."""

LEVELS: Final = 5
MULTIPLE: Final = 2 ** (LEVELS - 1)
"""Each side of the input is a multiple of this."""


class Norm(nn.Module):
    """Instance normalisation of one image and leaky ReLU."""

    def __init__(self, channels: int, slope: float = SLOPE) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return (1, channels, z, y, x) normalised; batch statistics of one image are its own."""
        weight, bias = self.weight.float(), self.bias.float()
        normal = F.batch_norm(x, None, None, weight, bias, training=True)
        return F.leaky_relu_(normal, self.slope)


class Encoding(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_1, self.bn_2 = Norm(channels), Norm(channels)
        self.conv1, self.conv2 = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        found: Tensor = self.conv2(self.bn_2(self.conv1(self.bn_1(x))))
        return found.add_(x)


class Down(nn.Module):
    """Normalise for the skip, then halve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = Norm(channels)
        self.downsample = nn.Conv3d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the skip, and half of it in each direction with twice the channels."""
        skip = self.bn(x)
        return skip, self.downsample(skip)


class Up(nn.Module):
    """Double by interpolation, halve the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample_conv = _conv(channels, channels // 2)
        self.bn = Norm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return twice the size in each direction."""
        fine = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
        found: Tensor = self.bn(self.upsample_conv(fine))
        return found


class Localization(nn.Module):
    """Mix the skip with what came from below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn_1 = _conv(channels, channels), Norm(channels)
        self.conv2, self.bn_2 = nn.Conv3d(channels, channels // 2, 1), Norm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return half of the channels."""
        found: Tensor = self.bn_2(self.conv2(self.bn_1(self.conv1(x))))
        return found


class HdBetNetwork(nn.Module):
    """The whole network. base: channels of the finest level."""

    def __init__(self, base: int = BASE) -> None:
        super().__init__()
        wide = [base * 2**level for level in range(LEVELS)]
        self.init_conv = _conv(1, base)
        for level in range(1, LEVELS + 1):
            self.add_module(f"context{level}", Encoding(wide[level - 1]))
        for level in range(1, LEVELS):
            self.add_module(f"down{level}", Down(wide[level - 1]))
            self.add_module(f"up{level}", Up(wide[LEVELS - level]))
        for level in range(1, LEVELS - 1):
            self.add_module(f"loc{level}", Localization(wide[LEVELS - level]))
        self.bn_after_context5 = Norm(wide[-1], LAST_SLOPE)
        self.end_conv_1, self.end_conv_1_bn = _conv(2 * base, 2 * base), Norm(2 * base, LAST_SLOPE)
        self.end_conv_2, self.end_conv_2_bn = _conv(2 * base, 2 * base), Norm(2 * base, LAST_SLOPE)
        self.seg_layer = nn.Conv3d(2 * base, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (1, 2, z, y, x), background and brain, of an image (1, 1, z, y, x).

        Sides are multiples of MULTIPLE.
        """
        x, skips = self.init_conv(x), []
        for level in range(1, LEVELS):
            x = self.get_submodule(f"context{level}")(x)
            skip, x = self.get_submodule(f"down{level}")(x)
            skips.append(skip)
        x = self.bn_after_context5(self.get_submodule(f"context{LEVELS}")(x))
        for level in range(1, LEVELS):
            x = torch.cat((skips.pop(), self.get_submodule(f"up{level}")(x)), dim=1)
            if level < LEVELS - 1:
                x = self.get_submodule(f"loc{level}")(x)
        x = self.end_conv_1_bn(self.end_conv_1(x))
        x = self.end_conv_2_bn(self.end_conv_2(x))
        logits: Tensor = self.seg_layer(x)
        return logits


def load_network(weights: Mapping[str, Tensor]) -> HdBetNetwork:
    """Return the network with published weights.

    Raises RuntimeError, KeyError when they are those of another network.
    """
    network = HdBetNetwork(base=int(weights["init_conv.bias"].shape[0]))
    network.load_state_dict({k: v for k, v in weights.items() if not k.endswith(UNUSED)})
    return network.eval().requires_grad_(requires_grad=False)


def _conv(channels: int, found: int) -> nn.Conv3d:
    return nn.Conv3d(channels, found, 3, padding=1)
