"""Kernels of a CA-CNN network whose batch normalisations have fixed statistics.

A norm that follows a convolution is a scale of its kernel and a shift. A transposed convolution
of stride 2 is a plain one that gives the four phases (row and column, even and odd) of every
channel, one after the other as PyTorch's pixel_shuffle wants them.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from node.segmentation.ca_cnn_network import EPSILON, NetworkType, plane_kernel

Arrays = Mapping[str, Tensor]

PHASES: Final = 4
"""Voxels of the full plane for one of the half plane."""

UNITS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "block1": (("block1_1", 1), ("block1_2", 1)),
    "block2": (("block2_1", 1), ("block2_2", 1)),
    "block3": (("block3_1", 1), ("block3_2", 2), ("block3_3", 3)),
    "block4": (("block4_1", 3), ("block4_2", 2), ("block4_3", 1)),
}
"""Residual units (name, dilation) of each stage."""

DOUBLINGS: Final[Mapping[NetworkType, tuple[str, ...]]] = {
    "A": ("pred_up1", "pred_up2_1", "pred_up2_2", "pred_up3_1", "pred_up3_2"),
    "B": ("pred_up2_1", "pred_up3_1"),
}

FUSIONS_AND_HALVINGS: Final[Mapping[NetworkType, tuple[str, ...]]] = {
    "A": ("fuse1", "downsample1", "fuse2", "downsample2", "fuse3", "fuse4"),
    "B": ("fuse1", "fuse2", "downsample2", "fuse3", "fuse4"),
}


def norm_arrays(
    weights: Arrays, statistics: Arrays, name: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, variance, gamma and beta of a batch normalisation, float32."""
    mean, variance = (statistics[f"{name}/{key}"].float() for key in ("mean", "variance"))
    return mean, variance, weights[f"{name}/gamma"].float(), weights[f"{name}/beta"].float()


def folded(weights: Arrays, statistics: Arrays, kind: NetworkType) -> dict[str, Tensor]:
    """Return kernels `<layer>/w`, shifts `<layer>/b` and slopes `<layer>/alpha`, float32.

    The last layer gives target minus background only. A missing array raises KeyError.
    """
    result: dict[str, Tensor] = {}
    for name in (name for units in UNITS.values() for name, _ in units):
        result |= _unit(weights, statistics, name)
    for name in FUSIONS_AND_HALVINGS[kind]:
        layer = f"{name}_bn_prelu"
        kernel = plane_kernel(weights[f"{layer}/conv_/w"])
        result |= _scaled(name, kernel, norm_arrays(weights, statistics, f"{layer}/bn_"))
        result[f"{name}/alpha"] = weights[f"{layer}/prelu_acti_/alpha"]
    for name in DOUBLINGS[kind]:
        result |= _doubling(weights, statistics, name)
    if kind == "B":
        result["pred1/w"] = plane_kernel(weights["pred1/w"])
    last = plane_kernel(weights["final_pred/w"])
    result["final_pred/w"] = _on_phases(last[1:] - last[:1])
    return result


def _unit(weights: Arrays, statistics: Arrays, name: str) -> dict[str, Tensor]:
    """Arrays of a residual unit; its first norm comes after a sum and stands alone."""
    first = plane_kernel(weights[f"{name}/conv_0/w"])
    result = _scaled(f"{name}/conv_0", first, norm_arrays(weights, statistics, f"{name}/bn_1"))
    result[f"{name}/conv_1/w"] = plane_kernel(weights[f"{name}/conv_1/w"])
    for half in (0, 1):
        activation = f"{name}/prelu_acti_{half}/alpha"
        result[activation] = weights[activation]
    return result


def _doubling(weights: Arrays, statistics: Arrays, name: str) -> dict[str, Tensor]:
    """Arrays of a transposed convolution, as one that gives phases."""
    layer = f"{name}_bn_prelu"
    kernel = _into_phases(plane_kernel(weights[f"{layer}/deconv_/w"]))
    norm = tuple(
        array.repeat_interleave(PHASES)
        for array in norm_arrays(weights, statistics, f"{layer}/bn_")
    )
    slope = weights[f"{layer}/prelu_acti_/alpha"].repeat_interleave(PHASES)
    return {**_scaled(name, kernel, norm), f"{name}/alpha": slope}


def _scaled(layer: str, kernel: Tensor, norm: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Take the norm that follows a kernel into it."""
    mean, variance, gamma, beta = norm
    scale = gamma / torch.sqrt(variance + EPSILON)
    return {f"{layer}/w": kernel * scale[:, None, None, None], f"{layer}/b": beta - mean * scale}


def _into_phases(kernel: Tensor) -> Tensor:
    """Turn a transposed kernel (in, out, 3, 3) of stride 2 into a plain one (4 out, in, 2, 2).

    Row 2i of the result is x[i-1] w[2] + x[i] w[0], row 2i+1 is x[i] w[1]; columns alike.
    """
    inputs, outputs = kernel.shape[:2]
    plain = kernel.new_zeros(outputs, 2, 2, inputs, 2, 2)
    taps = ((0, 0, 2), (0, 1, 0), (1, 1, 1))  # phase, place of the input, tap of the kernel
    for row_phase, row, row_tap in taps:
        for phase, column, tap in taps:
            plain[:, row_phase, phase, :, row, column] = kernel[:, :, row_tap, tap].T
    return plain.reshape(PHASES * outputs, inputs, 2, 2)


def _on_phases(kernel: Tensor) -> Tensor:
    """Turn a plain kernel (out, in, 3, 3) into one from phases to phases, (4 out, 4 in, 3, 3)."""
    outputs, inputs = kernel.shape[:2]
    phased = kernel.new_zeros(outputs, 2, 2, inputs, 2, 2, 3, 3)
    # phase of the result, phase of the input, its row in the half plane, tap of the kernel
    taps = [(p, (p + k - 1) % 2, (p + k - 1) // 2 + 1, k) for p in (0, 1) for k in (0, 1, 2)]
    for row_out, row_in, row, row_tap in taps:
        for out, into, column, tap in taps:
            phased[:, row_out, out, :, row_in, into, row, column] = kernel[:, :, row_tap, tap]
    return phased.reshape(PHASES * outputs, PHASES * inputs, 3, 3)
