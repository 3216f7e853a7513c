"""Tiny networks of MONAI with random weights."""

from typing import Any

import torch
from torch import Tensor

from node.segmentation.monai_network import build_network
from node.segmentation.network_options import MonaiOptions

TINY: dict[str, Any] = {
    "network": "UNet",
    "network_arguments": {"channels": [4, 8], "strides": [2], "num_res_units": 1},
    "weights": "models/model.safetensors",
    "roi": [32, 32, 32],
    "smallest_roi": [16, 16, 16],
    "divisible_by": 2,
    "overlap": 0.25,
    "output": {"kind": "softmax", "labels": [0, 1, 2, 3]},
}


def random_state(options: MonaiOptions, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(build_network(options, 4).state_dict())


def tiny(**changes: Any) -> MonaiOptions:
    return MonaiOptions.model_validate({**TINY, **changes})
