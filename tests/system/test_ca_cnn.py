"""The published CA-CNN weights: numbers of the original graph, and a real case."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from node.domain.errors import BundleInvalid
from node.domain.regions import Region, Role
from node.imaging.measure import dice, labels_to_region
from node.imaging.prepare import ModelInput
from node.segmentation.bundle import open_bundle
from node.segmentation.ca_cnn_fixed import FixedNetwork
from node.segmentation.ca_cnn_network import AnisotropicNetwork, NetworkType, Workspace
from node.segmentation.crew import Crew
from node.segmentation.effort import Effort
from node.segmentation.importing import import_bundle
from node.segmentation.library import BundleStatus, find, find_bundles
from node.segmentation.machine import measure_machine
from node.segmentation.options import CASCADE_WEIGHTS
from tests.support.cases import SUFFIXES, read_nifti, read_truth
from tests.support.shared import shared_path

pytestmark = pytest.mark.system

TOLERANCE = 0.01
"""Largest difference of a logit; they range over about 15 to 70 to both sides."""

NETWORKS = [name.removesuffix(".safetensors") for name in CASCADE_WEIGHTS]
MODELS = Path(__file__).parents[2] / "models"


def published() -> Path:
    return shared_path("data/weights/ca-cnn-brats17")


def weights_of(name: str) -> dict[str, torch.Tensor]:
    arrays = load_file(published() / f"{name}.safetensors")
    return {key.split("/", 1)[1]: value for key, value in arrays.items()}


def kind_of(name: str) -> NetworkType:
    return "B" if name.startswith("en") else "A"


def network(name: str, crew: Crew, dtype: torch.dtype = torch.float32) -> AnisotropicNetwork:
    place = Workspace(dtype=dtype)
    return AnisotropicNetwork(weights_of(name), kind_of(name), crew=crew, workspace=place)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_a_real_case_are_those_of_the_original_graph(name: str) -> None:
    pairs = np.load(published() / "pairs" / f"{name}.npz")
    with Crew() as crew:
        logits = network(name, crew)(torch.from_numpy(pairs["input"].astype(np.float32)))
    assert np.abs(logits.numpy() - pairs["logits"]).max() < TOLERANCE


@pytest.mark.parametrize("name", NETWORKS)
def test_the_statistics_of_a_real_case_as_fixed_ones_give_the_same_logits(name: str) -> None:
    pairs = np.load(published() / "pairs" / f"{name}.npz")
    slabs = torch.from_numpy(pairs["input"].astype(np.float32))
    with Crew() as crew:
        measuring = network(name, crew)
        measuring(slabs)
        fixed = FixedNetwork(weights_of(name), measuring.statistics, kind_of(name))
        logits = torch.stack([fixed(slab, crew) for slab in slabs]).numpy()
    expected = pairs["logits"][..., 1] - pairs["logits"][..., 0]
    assert np.abs(logits - expected).max() < TOLERANCE


@pytest.mark.parametrize("name", NETWORKS)
def test_in_bfloat16_hardly_a_voxel_of_a_real_case_changes_sides(name: str) -> None:
    pairs = np.load(published() / "pairs" / f"{name}.npz")
    with Crew() as crew:
        slabs = torch.from_numpy(pairs["input"].astype(np.float32))
        logits = network(name, crew, torch.bfloat16)(slabs).float().numpy()
    sides = [array[..., 1] > array[..., 0] for array in (logits, pairs["logits"])]
    assert np.mean(sides[0] != sides[1]) < 0.002
    assert np.abs(logits - pairs["logits"]).mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_at_the_size_of_the_training_are_those_of_the_original_graph(name: str) -> None:
    pairs = np.load(published() / "pairs" / f"{name}.npz")
    random = np.random.RandomState(int(pairs["native_seed"]))
    slabs = random.standard_normal(pairs["native_shape"]).astype(np.float32)
    with Crew() as crew:
        logits = network(name, crew)(torch.from_numpy(slabs)).numpy()
    assert np.abs(logits[:, ::4, ::4, ::4] - pairs["native_logits_sub4"]).max() < TOLERANCE


def test_the_published_arrays_become_a_bundle(tmp_path: Path) -> None:
    made = import_bundle(published(), tmp_path)
    bundle = open_bundle(made)
    assert made.name == bundle.manifest.name == "ca-cnn-brats17"
    assert (made / "LICENSE").read_bytes() == (
        published() / "LICENSE.taigw-brats17.txt"
    ).read_bytes()
    states = {summary.status for summary in find_bundles([tmp_path])}
    assert states == {BundleStatus.READY}
    assert find("ca-cnn-brats17", [MODELS, tmp_path]) == made
    assert open_bundle(import_bundle(made, tmp_path / "copy")).sha256 == bundle.sha256


def test_an_altered_array_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "arrays"
    source.mkdir()
    for path in published().iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    with (source / "tc_cr.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(BundleInvalid, match="tc_cr"):
        import_bundle(source, tmp_path / "models")


@pytest.mark.slow
def test_a_real_case_is_segmented_as_the_experts_did(tmp_path: Path) -> None:
    case = shared_path("data/glioma/BraTS2021_01476")
    volumes = {
        role: read_nifti(case / f"{case.name}_{suffix}.nii.gz") for role, suffix in SUFFIXES.items()
    }
    flair = volumes[Role.FLAIR]
    model_input = ModelInput(
        channels=volumes, brain=flair.with_array(flair.array > 0), grid=flair.grid
    )
    effort = Effort(device="cpu", threads=2, memory_bytes=2 * 2**30, half=measure_machine().bf16)
    segmentation = open_bundle(import_bundle(published(), tmp_path)).segment(model_input, effort)
    truth = read_truth(case)
    found = {
        region: dice(labels_to_region(segmentation.labels, region), labels_to_region(truth, region))
        for region in Region
    }
    assert found[Region.WT] >= 0.95
    assert found[Region.TC] >= 0.93
    assert found[Region.ET] >= 0.80
    volume_ml = np.count_nonzero(truth.array) / 1000
    assert segmentation.opinions_ml[Region.WT] == pytest.approx([volume_ml] * 3, rel=0.15)
