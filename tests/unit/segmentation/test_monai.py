"""Networks of MONAI behind the bundles' interface, with random weights."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from node.domain.errors import BundleInvalid, BundleMissing
from node.domain.regions import Region, Role
from node.segmentation.bundle import Bundle, file_sha256, open_bundle, verify
from node.segmentation.effort import Effort
from node.segmentation.engines import parse_options
from node.segmentation.manifest import read_manifest
from node.segmentation.monai_engine import BUFFERS, MonaiEngine
from node.segmentation.monai_network import build_network
from node.segmentation.network_options import MonaiOptions
from node.segmentation.sliding import ALWAYS_BYTES, forward_bytes
from tests.unit.segmentation.bundles import EFFORT, ZOO, a_bundle, a_head, change_manifest
from tests.unit.segmentation.monai_networks import TINY, random_state, tiny


def a_monai_bundle(
    folder: Path,
    options: dict[str, Any],
    save: Callable[[dict[str, Tensor], Path], object] = save_file,
) -> Path:
    """Make a bundle of random weights out of the manifest for the zoo's."""
    bundle = a_bundle(folder, ZOO)
    weights = bundle / options["weights"]
    weights.parent.mkdir()
    save(random_state(MonaiOptions.model_validate(options)), weights)

    def change(segnode: dict[str, Any]) -> None:
        segnode["engine_options"] = options
        segnode["weights"] = {options["weights"]: file_sha256(weights)}
        segnode["preprocessing"]["space"] = "native"

    change_manifest(bundle, change)
    return bundle


def an_engine(tmp_path: Path, **changes: Any) -> MonaiEngine:
    options = tiny(**changes)
    weights = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_model(build_network(options, 4), str(weights))
    return MonaiEngine(weights, 4, {0: 0, 1: 1, 2: 2, 3: 3}, options)


def noise(shape: tuple[int, int, int] = (28, 36, 40)) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(4, *shape)).astype(np.float32)


def run(
    engine: MonaiEngine, channels: NDArray[np.float32], effort: Effort = EFFORT
) -> tuple[NDArray[np.uint8], dict[Region, tuple[float, ...]], list[float]]:
    told: list[float] = []
    found = engine(channels, channels[0] != 0, (1.0, 1.0, 1.0), effort, told.append)
    return found.labels, dict(found.opinions), told


def direct(options: MonaiOptions, image: Tensor) -> Tensor:
    """Run the whole image through the network at once."""
    network = build_network(options, 4)
    network.load_state_dict(random_state(options))
    with torch.inference_mode():
        result: Tensor = network(image[None])[0]
        return result


def test_a_bundle_of_monai_segments_and_tells_how_far_it_is(tmp_path: Path) -> None:
    bundle = open_bundle(a_monai_bundle(tmp_path, TINY))
    told: list[float] = []
    found = bundle.segment(a_head(), EFFORT, told.append)
    assert set(np.unique(found.labels.array)) <= {0, 1, 2, 3}
    assert len(np.unique(found.labels.array)) > 1
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 8


def test_an_image_smaller_than_the_patch_is_seen_as_a_whole(tmp_path: Path) -> None:
    engine, image = an_engine(tmp_path, roi=[64, 64, 64]), noise((16, 20, 24))
    labels, _, _ = run(engine, image)
    expected = direct(tiny(), torch.from_numpy(image)).argmax(dim=0)
    assert np.array_equal(labels, expected.numpy())


def test_the_network_sees_the_axes_of_its_training(tmp_path: Path) -> None:
    image = noise((16, 20, 24))
    labels, _, _ = run(an_engine(tmp_path, roi=[64, 64, 64], axes="LPS"), image)
    as_nifti = torch.from_numpy(image.transpose(0, 3, 2, 1).copy())
    expected = direct(tiny(), as_nifti).argmax(dim=0).numpy()
    assert np.array_equal(labels, expected.transpose(2, 1, 0))


def test_labels_are_those_of_the_channels(tmp_path: Path) -> None:
    image = noise((16, 20, 24))
    plain, _, _ = run(an_engine(tmp_path), image)
    output = {"kind": "softmax", "labels": [7, 2, 1, 4]}
    named, _, _ = run(an_engine(tmp_path, output=output), image)
    assert np.array_equal(named, np.array([7, 2, 1, 4])[plain])


def test_inner_regions_are_part_of_the_outer_ones(tmp_path: Path) -> None:
    output = {"kind": "regions", "regions": ["TC", "WT", "ET"], "threshold": 0.5}
    image = noise((16, 20, 24))
    labels, _, _ = run(an_engine(tmp_path, output=output), image)
    core, whole, enhancing = (direct(tiny(output=output), torch.from_numpy(image)) > 0).numpy()
    expected = np.where(enhancing, 3, np.where(core, 1, np.where(whole, 2, 0)))
    assert np.array_equal(labels, expected)
    assert len(np.unique(labels)) == 4


def test_mirrored_views_are_averaged_and_are_opinions(tmp_path: Path) -> None:
    image = torch.from_numpy(noise((16, 20, 24)))
    labels, opinions, told = run(an_engine(tmp_path, mirror=[2, 0]), image.numpy())
    views = [
        torch.softmax(direct(tiny(), image.flip(axes)), dim=0).flip(axes)
        for axes in ([], [3], [1], [3, 1])
    ]
    mean = torch.stack(views).mean(dim=0)
    assert np.mean(labels != mean.argmax(dim=0).numpy()) < 1e-3
    sizes = [int((view.argmax(dim=0) == 3).sum()) for view in views]
    assert opinions[Region.ET] == pytest.approx(sizes, abs=2)
    assert set(opinions) == set(Region)
    assert len(told) == 5


def test_with_less_memory_patches_are_smaller_and_with_far_too_little_it_says_so(
    tmp_path: Path,
) -> None:
    engine, image = an_engine(tmp_path), noise((40, 40, 40))
    _, _, plenty = run(engine, image)
    patch = forward_bytes(engine._network, (1, 4, 32, 32, 32)) - ALWAYS_BYTES
    around = ALWAYS_BYTES + BUFFERS * 4 * 5 * 40**3
    labels, _, more = run(engine, image, replace(EFFORT, memory_bytes=around + patch // 5))
    assert len(more) > len(plenty)
    assert labels.shape == (40, 40, 40)
    with pytest.raises(MemoryError, match="does not fit"):
        run(engine, image, replace(EFFORT, memory_bytes=around + patch // 10))


def test_half_precision_gives_nearly_the_same(tmp_path: Path) -> None:
    engine, image = an_engine(tmp_path), noise((16, 20, 24))
    whole, _, _ = run(engine, image)
    half, _, _ = run(engine, image, replace(EFFORT, half=True))
    assert np.mean(whole != half) < 0.05


class Overflowing(nn.Module):
    """Gives no numbers in half precision, or never."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self._always = always

    def forward(self, patch: Tensor) -> Tensor:
        bad = self._always or torch.is_autocast_enabled("cpu")
        return patch / 0 if bad else patch


def test_values_that_are_no_numbers_are_tried_again_in_full_precision(tmp_path: Path) -> None:
    engine, image = an_engine(tmp_path), noise((16, 20, 24))
    engine._network = Overflowing(always=False)
    labels, _, _ = run(engine, image, replace(EFFORT, half=True))
    assert np.array_equal(labels, image.argmax(axis=0))


def test_a_network_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    engine = an_engine(tmp_path)
    engine._network = Overflowing(always=True)
    with pytest.raises(BundleInvalid, match="no numbers"):
        run(engine, noise((16, 20, 24)))


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("AttentionUnet", {"channels": [4, 8], "strides": [2]}),
        ("BasicUNet", {"features": [4, 4, 8, 8, 8, 4]}),
        (
            "DynUNet",
            {
                "kernel_size": [3, 3, 3],
                "strides": [1, 2, 2],
                "upsample_kernel_size": [2, 2],
                "filters": [4, 8, 8],
                "norm_name": ["INSTANCE", {"affine": True}],
                "deep_supervision": False,
            },
        ),
        ("SegResNet", {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
        ("SegResNetDS", {"init_filters": 8, "blocks_down": [1, 1]}),
        (
            "SegResNetVAE",
            {
                "input_image_size": [32, 32, 32],
                "init_filters": 8,
                "blocks_down": [1, 1],
                "blocks_up": [1],
            },
        ),
        ("SwinUNETR", {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}),
        ("UNETR", {"img_size": [32, 32, 32], "hidden_size": 48, "mlp_dim": 48, "num_heads": 4}),
    ],
)
def test_every_network_of_the_list_runs(
    tmp_path: Path, network: str, arguments: dict[str, Any]
) -> None:
    longest = 64 if network == "SwinUNETR" else 32  # which halves its patches five times
    engine = an_engine(
        tmp_path,
        network=network,
        network_arguments=arguments,
        roi=[longest, 32, 32],
        smallest_roi=None,
        divisible_by=32,
        pad_to_roi=True,
    )
    labels, _, _ = run(engine, noise((30, 32, 31)))
    assert labels.shape == (30, 32, 31)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roles": ["T1C", "T1", "T2"]}, "4 channels for 3 roles"),
        ({"labels": {"0": 0, "1": 1, "2": 2}}, r"labels \[3\] of engine_options.output"),
        ({"weights": {"models/other.pt": "0" * 64}}, "not those of monai"),
    ],
)
def test_a_manifest_that_does_not_suit_its_network_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    bundle = a_bundle(tmp_path, ZOO)
    change_manifest(bundle, lambda segnode: segnode.update(change))
    with pytest.raises(BundleInvalid, match=words):
        verify(bundle)


def a_zoo_folder(folder: Path) -> Path:
    """Lay out what the Model Zoo gives: MONAI's files, weights, TorchScript; nothing of ours."""
    options = parse_options(read_manifest(ZOO))
    assert isinstance(options, MonaiOptions)
    for part in ("configs", "docs", "models"):
        (folder / part).mkdir(parents=True)
    metadata = json.loads((ZOO / "configs/metadata.json").read_text())
    del metadata["segnode"]
    (folder / "configs/metadata.json").write_text(json.dumps(metadata))
    (folder / "configs/inference.json").write_text('{"run": ["$import os; os._exit(3)"]}')
    (folder / "docs/README.md").write_text("# Model Overview")
    (folder / "LICENSE").write_text("Apache License")
    torch.save(random_state(options), folder / "models/model.pt")
    (folder / "models/model.ts").write_bytes(b"a program")
    return folder


def with_weights(bundle: Path, weights: Path) -> Bundle:
    """Put weights beside our manifest, as the import does, with their own checksum."""
    (bundle / "models").mkdir()
    shutil.copyfile(weights, bundle / "models/model.pt")
    digest = file_sha256(weights)
    change_manifest(bundle, lambda s: s.update(weights={"models/model.pt": digest}))
    return open_bundle(bundle)


def test_our_manifest_of_the_zoos_bundle_lacks_its_weights_and_says_so() -> None:
    with pytest.raises(BundleMissing, match="segnode models import"):
        open_bundle(ZOO)


def test_weights_of_the_zoos_layout_run_through_our_manifest(tmp_path: Path) -> None:
    weights = a_zoo_folder(tmp_path / "zoo") / "models/model.pt"
    bundle = with_weights(a_bundle(tmp_path, ZOO), weights)
    head = a_head(shape=(48, 56, 40))
    labels = bundle.segment(head, EFFORT).labels.array

    options = parse_options(bundle.manifest)
    network = build_network(options, 4)
    network.load_state_dict(torch.load(weights, weights_only=True))
    roles = (Role.T1C, Role.T1, Role.T2, Role.FLAIR)  # channel_def of the zoo
    as_nifti = np.stack([head.channels[role].array.transpose(2, 1, 0) for role in roles])
    with torch.inference_mode():
        core, whole, enhancing = network(torch.from_numpy(as_nifti)[None])[0].numpy() > 0
    theirs = np.where(enhancing, 4, np.where(core, 1, np.where(whole, 2, 0)))
    ours = np.array([0, 1, 2, 0, 3])[theirs.transpose(2, 1, 0)]
    assert np.mean(labels != ours) < 1e-4
    assert labels.any()


@pytest.mark.parametrize("levels", [2, 3])
def test_a_patch_that_the_network_cannot_take_names_the_option(tmp_path: Path, levels: int) -> None:
    arguments = {"channels": [4, 8, 8][:levels], "strides": [2, 2][: levels - 1]}
    engine = an_engine(tmp_path, divisible_by=1, network_arguments=arguments)
    labels, _, _ = run(engine, noise((16, 20, 24)))
    assert labels.shape == (16, 20, 24)
    with pytest.raises(BundleInvalid, match="divisible_by"):
        run(engine, noise((15, 20, 24)))
    with pytest.raises(BundleInvalid, match="divisible_by"):
        run(engine, noise((40, 20, 25)))


def test_a_lack_of_memory_is_not_taken_for_an_unsuitable_patch(tmp_path: Path) -> None:
    engine = an_engine(tmp_path)
    engine._network = Short()
    with pytest.raises(RuntimeError, match="out of memory"):
        run(engine, noise((16, 20, 24)))


class Short(nn.Module):
    """Has no memory."""

    def forward(self, patch: Tensor) -> Tensor:
        raise RuntimeError("out of memory")
