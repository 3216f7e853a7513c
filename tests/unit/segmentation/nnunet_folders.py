"""A model folder as nnU-Net v2 leaves it after training, with a tiny random network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

CHANNELS = ("FLAIR", "T1", "T1C", "T2")
LABELS = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3}

ARCHITECTURE: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def plans(
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0), transpose: Sequence[int] = (0, 1, 2)
) -> dict[str, Any]:
    """Return plans with one 3D configuration of small patches."""
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset999_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing_mm),
        "original_median_shape_after_transp": [40, 40, 40],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(channel): {"mean": 100.0, "std": 20.0} for channel in range(len(CHANNELS))
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [16, 24, 16],
                "median_image_size_in_voxels": [40, 40, 40],
                "spacing": list(spacing_mm),
                "normalization_schemes": ["ZScoreNormalization"] * len(CHANNELS),
                "use_mask_for_norm": [True] * len(CHANNELS),
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling,
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
                "batch_dice": False,
                "architecture": ARCHITECTURE,
            }
        },
    }


def weights(seed: int, heads: int) -> dict[str, torch.Tensor]:
    """Return random weights of the network that the plans describe."""
    torch.manual_seed(seed)
    network = PlainConvUNet(
        len(CHANNELS), 2, [4, 8], nn.Conv3d, 3, [1, 2], [1, 1], heads, [1],
        conv_bias=True, norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    return dict(network.state_dict())


def a_checkpoint(
    state: dict[str, torch.Tensor], mirror: Sequence[int] | None = (0, 1, 2)
) -> dict[str, Any]:
    """Return what a trainer stores: weights among the numbers of its own log."""
    return {
        "network_weights": state,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "nesterov": True}]},
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"ema_fg_dice": [np.float32(0.8), np.float64(0.9)], "lrs": [0.01]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": None if mirror is None else tuple(mirror),
    }


def a_folder(
    folder: Path,
    *,
    folds: int = 1,
    regions: bool = False,
    written: dict[str, Any] | None = None,
    mirror: Sequence[int] | None = (0, 1, 2),
) -> Path:
    """Write dataset.json, plans.json and fold_N/checkpoint_final.pth."""
    dataset: dict[str, Any] = {
        "channel_names": {str(i): name for i, name in enumerate(CHANNELS)},
        "labels": REGIONS if regions else LABELS,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if regions:
        dataset["regions_class_order"] = [2, 1, 3]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(written or plans()))
    for fold in range(folds):
        place = folder / f"fold_{fold}"
        place.mkdir(exist_ok=True)
        state = weights(fold, 3 if regions else 4)
        torch.save(a_checkpoint(state, mirror), place / "checkpoint_final.pth")
    return folder
