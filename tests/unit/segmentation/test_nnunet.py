"""nnU-Net v2 folders behind the bundles' interface, with a tiny random network."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("nnunetv2", reason="the extra `nnunet` is not installed")

from node.domain.errors import BundleInvalid, BundleMissing
from node.domain.regions import Region
from node.segmentation.bundle import file_sha256, open_bundle, verify
from node.segmentation.nnunet import NnUNetFolder
from node.segmentation.nnunet_files import as_invalid
from tests.unit.segmentation.bundles import EFFORT, ZOO, a_bundle, a_head, change_manifest
from tests.unit.segmentation.nnunet_folders import (
    CHANNELS,
    a_checkpoint,
    a_folder,
    plans,
    weights,
)

SPACING = (1.0, 1.0, 1.0)


def an_image(shape: tuple[int, int, int] = (22, 30, 20)) -> NDArray[np.float32]:
    image = np.random.default_rng(0).normal(100, 20, (len(CHANNELS), *shape)).astype(np.float32)
    image[:, :3] = 0  # which nnU-Net cuts away
    return image


def by_nnunet(
    folder: Path,
    image: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    folds: tuple[int, ...],
    *,
    mirror: bool,
) -> NDArray[Any]:
    """Ask nnU-Net's own predictor."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415

    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=mirror, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), folds)
    labels: NDArray[Any] = predictor.predict_single_npy_array(image, {"spacing": list(spacing_mm)})
    return labels


@pytest.mark.parametrize("mirror", [True, False])
def test_labels_are_those_of_nnunets_own_predictor(tmp_path: Path, *, mirror: bool) -> None:
    folder = a_folder(tmp_path, folds=2)
    ours = NnUNetFolder(folder, (0, 1), mirror=mirror).predict(an_image(), SPACING, EFFORT)
    theirs = by_nnunet(folder, an_image(), SPACING, (0, 1), mirror=mirror)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, theirs)
    assert len(np.unique(ours)) == 4


def test_other_spacings_and_turned_axes_are_handled_as_nnunet_does(tmp_path: Path) -> None:
    written = plans(spacing_mm=(1.0, 1.5, 1.0), transpose=(2, 0, 1))
    folder = a_folder(tmp_path, written=written, mirror=None)
    spacing = (2.0, 1.0, 1.0)
    ours = NnUNetFolder(folder, mirror=True).predict(an_image(), spacing, EFFORT)
    assert ours.shape == (22, 30, 20)
    assert np.array_equal(ours, by_nnunet(folder, an_image(), spacing, (0,), mirror=True))


def test_labels_of_region_based_training_are_handled_as_nnunet_does(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, regions=True)
    network = NnUNetFolder(folder)
    assert network.labels == (0, 1, 2, 3)
    ours = network.predict(an_image(), SPACING, EFFORT)
    assert np.array_equal(ours, by_nnunet(folder, an_image(), SPACING, (0,), mirror=False))
    assert set(np.unique(ours)) == {0, 1, 2, 3}


def test_nothing_is_printed_and_progress_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[float] = []
    for mirror in (True, False):
        network = NnUNetFolder(a_folder(tmp_path, folds=2), (0, 1), mirror=mirror)
        told.clear()
        network.predict(an_image(), SPACING, EFFORT, told.append)
        assert told == sorted(set(told))
        assert told[-1] == 1.0
    assert capfd.readouterr() == ("", "")


def test_folds_are_opinions(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, folds=2)
    _, opinions = NnUNetFolder(folder, (0, 1)).predict_all(an_image(), SPACING, EFFORT)
    alone = [NnUNetFolder(folder, (fold,)).predict(an_image(), SPACING, EFFORT) for fold in (0, 1)]
    cut_away = 3 * 30 * 20
    for opinion, labels in zip(opinions, alone, strict=True):
        counted = {label: opinion.get(label, 0) for label in range(4)}
        counted[0] += cut_away
        assert counted == {label: np.count_nonzero(labels == label) for label in range(4)}


def test_half_precision_gives_nearly_the_same(tmp_path: Path) -> None:
    network = NnUNetFolder(a_folder(tmp_path))
    whole = network.predict(an_image(), SPACING, EFFORT)
    half = network.predict(an_image(), SPACING, replace(EFFORT, half=True))
    assert 0 < np.count_nonzero(whole != half) < 0.05 * whole.size
    assert np.array_equal(network.predict(an_image(), SPACING, EFFORT), whole)


def test_a_patch_that_does_not_fit_into_memory_is_refused_beforehand(tmp_path: Path) -> None:
    network = NnUNetFolder(a_folder(tmp_path))
    with pytest.raises(MemoryError, match="patch"):
        network.predict(an_image(), SPACING, replace(EFFORT, memory_bytes=10_000_000))


def test_other_channels_than_those_of_the_dataset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="4 channels, not 3"):
        NnUNetFolder(a_folder(tmp_path)).predict(an_image()[:3], SPACING, EFFORT)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    state = {name: torch.full_like(value, float("nan")) for name, value in weights(0, 4).items()}
    torch.save(a_checkpoint(state), folder / "fold_0/checkpoint_final.pth")
    with pytest.raises(BundleInvalid, match="no numbers"):
        NnUNetFolder(folder).predict(an_image(), SPACING, EFFORT)


class Harmful:
    """Would leave a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def test_a_checkpoint_that_would_run_something_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    folder, mark = a_folder(tmp_path / "model"), tmp_path / "mark"
    checkpoint = {**a_checkpoint(weights(0, 4)), "logging": Harmful(mark)}
    torch.save(checkpoint, folder / "fold_0/checkpoint_final.pth")
    with pytest.raises(BundleInvalid, match="more than weights"):
        NnUNetFolder(folder)
    assert not mark.exists()


def test_numbers_as_numpy_1_wrote_them_are_read(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    path = folder / "fold_0/checkpoint_final.pth"
    torch.save(a_checkpoint(weights(0, 4)), path, _use_new_zipfile_serialization=False)
    old = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(old)
    assert b"numpy.core.multiarray" in old
    NnUNetFolder(folder)


def network_of(written: dict[str, Any]) -> dict[str, Any]:
    architecture: dict[str, Any] = written["configurations"]["3d_fullres"]["architecture"]
    return architecture


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n.update(network_class_name="os.system"), "network os.system"),
        (lambda n: n.update(network_class_name="evil.PlainConvUNet"), "network evil"),
        (lambda n: n["arch_kwargs"].update(nonlin="os.system"), "layer os.system"),
        (lambda n: n["arch_kwargs"].update(nonlin="torch.nn.Module.apply"), "layer torch.nn.Mod"),
        (lambda n: n["arch_kwargs"].update(norm_op="torch.hub.load"), "layer torch.hub"),
        (lambda n: n["arch_kwargs"].update(features_per_stage=[4]), "cannot be used"),
        (lambda n: n["arch_kwargs"].update(features_per_stage=[6, 8]), "do not fit"),
        (lambda n: n.pop("arch_kwargs"), "cannot be used"),
    ],
)
def test_plans_that_name_what_is_not_known_or_does_not_fit_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    written: dict[str, Any] = json.loads(json.dumps(plans()))
    change(network_of(written))
    with pytest.raises(BundleInvalid, match=words):
        NnUNetFolder(a_folder(tmp_path, written=written))


def test_a_cascade_is_refused(tmp_path: Path) -> None:
    written = plans()
    written["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    with pytest.raises(BundleInvalid, match="cascade"):
        NnUNetFolder(a_folder(tmp_path, written=written))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plans.json", "{", "plans.json cannot be read"),
        ("plans.json", "{}", "plans.json or dataset.json cannot be used"),
        ("dataset.json", "[]", "dataset.json is not"),
        ("dataset.json", '{"labels": {"tumour": 1}}', "cannot be used"),
        ("fold_0/checkpoint_final.pth", "weights", "fold_0/checkpoint_final.pth"),
        ("fold_0/checkpoint_final.pth", None, "fold_0/checkpoint_final.pth cannot be read"),
    ],
)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    folder = a_folder(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(BundleInvalid, match=words):
        NnUNetFolder(folder)


def test_without_the_package_the_bundle_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2.inference.predict_from_raw_data", None)
    with pytest.raises(BundleMissing, match=r"segnode\[nnunet\]"):
        NnUNetFolder(a_folder(tmp_path))


def an_nnunet_bundle(folder: Path, *, folds: int = 2, **changes: Any) -> Path:
    """Lay an nnU-Net folder out as a bundle: below models/, with a manifest of the site."""
    bundle = a_bundle(folder, ZOO)
    shutil.rmtree(bundle / "models", ignore_errors=True)
    models = a_folder(bundle / "models", folds=folds)
    files = sorted(path for path in models.rglob("*") if path.is_file())

    def change(segnode: dict[str, Any]) -> None:
        segnode.update(
            name="our-nnunet",
            roles=["FLAIR", "T1", "T1C", "T2"],
            engine="nnunet",
            engine_options={"folds": list(range(folds))},
            weights={str(path.relative_to(bundle)): file_sha256(path) for path in files},
        )
        segnode["preprocessing"].update(space="native", normalisation="none")
        segnode.update(changes)

    change_manifest(bundle, change)
    return bundle


def test_an_nnunet_bundle_segments_as_the_folder_does(tmp_path: Path) -> None:
    bundle, head = open_bundle(an_nnunet_bundle(tmp_path)), a_head(shape=(22, 30, 20))
    found = bundle.segment(head, EFFORT)
    image = np.stack([head.channels[role].array for role in bundle.manifest.roles])
    expected = NnUNetFolder(bundle.folder / "models", (0, 1)).predict(image, SPACING, EFFORT)
    assert np.array_equal(found.labels.array, expected)
    assert {len(views) for views in found.opinions_ml.values()} == {2}
    assert set(found.opinions_ml) == set(Region)


def test_the_network_sees_the_axes_of_its_training(tmp_path: Path) -> None:
    head = a_head(shape=(22, 30, 20))
    options = {"folds": [0], "axes": "SAR"}
    bundle = open_bundle(an_nnunet_bundle(tmp_path, folds=1, engine_options=options))
    found = bundle.segment(head, EFFORT).labels.array
    image = np.stack([head.channels[role].array for role in bundle.manifest.roles])
    turned = np.ascontiguousarray(image[:, :, ::-1, ::-1])
    expected = NnUNetFolder(bundle.folder / "models").predict(turned, SPACING, EFFORT)
    assert np.array_equal(found, expected[:, ::-1, ::-1])


def test_where_there_is_nothing_nothing_is_found(tmp_path: Path) -> None:
    head = a_head(shape=(22, 30, 20))
    nothing = {
        role: volume.with_array(np.zeros_like(volume.array))
        for role, volume in head.channels.items()
    }
    bundle = open_bundle(an_nnunet_bundle(tmp_path))
    assert not bundle.segment(replace(head, channels=nothing), EFFORT).labels.array.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roles": ["FLAIR", "T1", "T1C"]}, "names 4 channels, the manifest 3"),
        ({"labels": {"0": 0, "1": 1, "2": 2}}, r"labels \[3\] of dataset.json"),
        ({"roles": ["FLAIR", "T1C", "T1", "T2"]}, "channel 1 'T1', the manifest says T1C"),
        ({"labels": {"0": 0, "1": 1, "2": 3, "3": 2}}, "label 2 'ED', which is 2 in Segnode"),
    ],
)
def test_a_manifest_that_does_not_suit_the_folder_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    bundle = open_bundle(an_nnunet_bundle(tmp_path, **change))
    with pytest.raises(BundleInvalid, match=words):
        bundle.segment(a_head(shape=(22, 30, 20)), EFFORT)


def test_checksums_cover_every_file_of_the_folder(tmp_path: Path) -> None:
    bundle = an_nnunet_bundle(tmp_path)
    path = bundle / "models/fold_1/checkpoint_final.pth"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleInvalid, match=r"fold_1/checkpoint_final\.pth is not what"):
        verify(bundle)
    change_manifest(bundle, lambda s: s["weights"].pop("models/plans.json"))
    with pytest.raises(BundleInvalid, match=r"models/plans\.json is not in the manifest"):
        verify(bundle)


def test_an_nnunet_bundle_that_normalises_beforehand_is_refused(tmp_path: Path) -> None:
    bundle = an_nnunet_bundle(tmp_path)
    change_manifest(bundle, lambda s: s["preprocessing"].update(normalisation="zscore-brain"))
    with pytest.raises(BundleInvalid, match="nnunet normalises by itself"):
        verify(bundle)


def test_names_of_regions_stand_for_the_labels_of_a_result(tmp_path: Path) -> None:
    folder = NnUNetFolder(a_folder(tmp_path, regions=True))
    assert folder.label_names == {"whole": 2, "core": 1, "enhancing": 3}
    assert folder.channel_names == CHANNELS


SHORT = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 8 GB")]


@pytest.mark.parametrize("error", SHORT)
@pytest.mark.parametrize("place", ["torch.load", "torch.nn.Module.load_state_dict"])
def test_a_lack_of_memory_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    folder = a_folder(tmp_path)
    monkeypatch.setattr(place, fail)
    with pytest.raises(type(error), match="memory"):
        NnUNetFolder(folder)
    with pytest.raises(type(error), match="memory"), as_invalid("x"):
        fail()


@pytest.mark.parametrize("error", [IndexError, TypeError, AttributeError])
def test_every_way_in_which_a_pickle_can_be_damaged_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("pop from empty list")

    folder = a_folder(tmp_path)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(BundleInvalid, match="is damaged"):
        NnUNetFolder(folder)


def test_values_beyond_half_precision_are_told_as_such(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    state = weights(0, 4)
    state["decoder.seg_layers.0.bias"] = torch.full((4,), 1e30)
    torch.save(a_checkpoint(state), folder / "fold_0/checkpoint_final.pth")
    with pytest.raises(BundleInvalid, match="no numbers"):
        NnUNetFolder(folder).predict(an_image(), SPACING, EFFORT)
