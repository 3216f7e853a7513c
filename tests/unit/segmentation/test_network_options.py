"""What a manifest may say for the engines that run other people's networks."""

from typing import Any

import pytest
from pydantic import ValidationError

from node.segmentation.network_options import MonaiOptions, NnUNetOptions

SOFTMAX: dict[str, Any] = {
    "network": "UNet",
    "weights": "models/model.safetensors",
    "roi": [32, 32, 32],
    "output": {"kind": "softmax", "labels": [0, 2, 1, 4]},
}
REGIONS = {"kind": "regions", "regions": ["TC", "WT", "ET"]}


def test_the_number_of_channels_and_the_labels_follow_from_the_output() -> None:
    softmax = MonaiOptions.model_validate(SOFTMAX)
    assert (softmax.out_channels, softmax.label_values) == (4, (0, 2, 1, 4))
    regions = MonaiOptions.model_validate({**SOFTMAX, "output": REGIONS})
    assert (regions.out_channels, regions.label_values) == (3, (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "DiNTS"}, "network"),
        ({"network": "os.system"}, "network"),
        ({"weights": "models/model.ts"}, "TorchScript is code"),
        ({"weights": "models/model.pkl"}, "must end with"),
        ({"network_arguments": {"channels": "$import os"}}, "not evaluated"),
        ({"network_arguments": {"norm": ["INSTANCE", {"eps": "@eps"}]}}, "not evaluated"),
        ({"network_arguments": {"channels": [[[[[1]]]]]}}, "too many levels"),
        ({"network_arguments": {"dropout": float("inf")}}, "not a literal"),
        ({"network_arguments": {"act": print}}, "not a literal"),
        ({"network_arguments": {"spatial_dims": 2}}, "spatial_dims must be 3"),
        ({"network_arguments": {"out_channels": 3}}, "out_channels must be 4"),
        ({"axes": "LRS"}, "one each"),
        ({"axes": "XYZ"}, "one each"),
        ({"axes": "LP"}, "one each"),
        ({"roi": [32, 30, 32], "divisible_by": 4}, "does not divide"),
        ({"smallest_roi": [16, 16, 64]}, "larger than roi"),
        ({"overlap": 1.0}, "overlap"),
        ({"mirror": [0, 0]}, "twice"),
        ({"mirror": [3]}, "mirror"),
        ({"output": {"kind": "softmax", "labels": [0, 1, 1]}}, "twice"),
        ({"output": {"kind": "regions", "regions": ["WT", "WT"]}}, "twice"),
        ({"output": {"kind": "sigmoid"}}, "kind"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_options_of_monai_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MonaiOptions.model_validate({**SOFTMAX, **change})


def test_the_files_of_an_nnunet_folder_follow_from_its_folds() -> None:
    options = NnUNetOptions.model_validate({"folds": [0, "all"], "checkpoint": "best.pth"})
    assert options.files == (
        "models/dataset.json",
        "models/plans.json",
        "models/fold_0/best.pth",
        "models/fold_all/best.pth",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"folds": []},
        {"folds": [0, 0]},
        {"folds": ["some"]},
        {"checkpoint": "../../checkpoint.pth"},
        {"configuration": "3d/fullres"},
        {"tile_step": 0},
        {"axes": "ABC"},
        {"surprise": 1},
    ],
)
def test_options_of_nnunet_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NnUNetOptions.model_validate(change)
