"""Opening, verifying and using a bundle."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid, BundleMissing, RoleMissing, StepCrashed
from node.domain.regions import Region, Role
from node.imaging.artefacts import load_volume, save_volume
from node.imaging.grids import model_grid
from node.imaging.prepare import ModelInput
from node.imaging.volume import Grid, Volume
from node.segmentation import bundle as bundle_module
from node.segmentation.bundle import bundle_sha256, open_bundle, verify
from node.segmentation.effort import Effort
from node.segmentation.found import Found, Progress
from node.segmentation.manifest import Manifest
from tests.unit.segmentation.bundles import (
    CASCADE,
    EFFORT,
    INTENSITY,
    ZOO,
    a_bundle,
    a_head,
    change_manifest,
)


def test_the_shipped_bundle_opens_and_segments() -> None:
    bundle, head = open_bundle(INTENSITY), a_head()
    seen: list[float] = []
    found = bundle.segment(head, EFFORT, seen.append)
    labels = found.labels
    assert found.opinions_ml == {}
    assert labels.grid is head.grid
    assert labels.array.dtype == np.uint8
    assert set(np.unique(labels.array)) == {0, 1, 2, 3}
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_the_result_is_the_same_every_time() -> None:
    bundle = open_bundle(INTENSITY)
    first, second = (bundle.segment(a_head(), EFFORT).labels.array for _ in range(2))
    assert np.array_equal(first, second)


def test_the_hash_covers_every_file_and_its_name(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    before = bundle_sha256(bundle)
    assert before == open_bundle(bundle).sha256 == bundle_sha256(INTENSITY)
    card = bundle / "docs/README.md"
    card.write_text(card.read_text() + ".")
    changed = bundle_sha256(bundle)
    card.rename(bundle / "docs/readme.md")
    assert len({before, changed, bundle_sha256(bundle)}) == 3


def test_a_bundle_without_its_weights_is_missing_and_says_how_to_get_them() -> None:
    with pytest.raises(BundleMissing, match="segnode models import FOLDER"):
        open_bundle(CASCADE)


def test_a_folder_that_is_not_there_is_a_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing):
        open_bundle(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["LICENSE", "docs/README.md", "configs/inference.json"])
def test_a_bundle_without_a_file_of_the_layout_is_refused(tmp_path: Path, name: str) -> None:
    bundle = a_bundle(tmp_path)
    (bundle / name).unlink()
    with pytest.raises(BundleInvalid, match=name):
        verify(bundle)


def test_a_file_among_the_weights_that_the_manifest_does_not_know_is_refused(
    tmp_path: Path,
) -> None:
    bundle = a_bundle(tmp_path)
    (bundle / "models").mkdir()
    (bundle / "models/extra.pt").write_bytes(b"x")
    with pytest.raises(BundleInvalid, match="extra"):
        verify(bundle)


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, CASCADE)
    (bundle / "models").mkdir()
    for name in verify_names(bundle):
        (bundle / name).write_bytes(b"not the weights")
    with pytest.raises(BundleInvalid, match="not what the manifest says"):
        verify(bundle)


def test_weights_of_which_some_are_absent_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, CASCADE)
    (bundle / "models").mkdir()
    (bundle / "models/wt_ax.safetensors").write_bytes(b"x")
    with pytest.raises(BundleInvalid, match="absent"):
        verify(bundle)


def verify_names(bundle: Path) -> list[str]:
    with pytest.raises(BundleMissing):
        verify(bundle)
    return [
        f"models/{region}_{view}.safetensors"
        for region in ("wt", "tc", "en")
        for view in ("ax", "sg", "cr")
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engine_options": {"speed": 1}}, "engine_options.speed"),
        ({"engine_options": {"edge_share": 2}}, "engine_options.edge_share"),
        ({"weights": {"models/x.safetensors": "0" * 64}}, "not those of intensity"),
        ({"roles": ["T1", "T2"]}, "all four roles"),
    ],
)
def test_what_does_not_fit_the_engine_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    bundle = a_bundle(tmp_path)
    change_manifest(bundle, lambda segnode: segnode.update(change))
    with pytest.raises(BundleInvalid, match=words):
        verify(bundle)


def test_the_cascade_refuses_channels_in_another_order_than_it_was_trained_with(
    tmp_path: Path,
) -> None:
    bundle = a_bundle(tmp_path, CASCADE)
    change_manifest(bundle, lambda s: s.update(roles=["T1", "FLAIR", "T1C", "T2"]))
    with pytest.raises(BundleInvalid, match="order"):
        verify(bundle)


def test_a_missing_role_is_named() -> None:
    head = a_head()
    without: dict[Role, Volume] = {
        role: v for role, v in head.channels.items() if role is not Role.T2
    }
    with pytest.raises(RoleMissing, match="T2"):
        open_bundle(INTENSITY).segment(replace(head, channels=without), EFFORT)


def test_an_input_of_another_spacing_is_a_mistake_of_the_caller() -> None:
    head = a_head()
    grid = Grid(shape=head.grid.shape, affine=np.diag([2.0, 1.0, 1.0, 1.0]))
    with pytest.raises(StepCrashed, match="mm"):
        open_bundle(INTENSITY).segment(replace(head, grid=grid), EFFORT)


def test_labels_of_the_engine_are_translated(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    change_manifest(bundle, lambda s: s.update(labels={"0": 0, "1": 3, "2": 2, "3": 1}))
    plain = open_bundle(INTENSITY).segment(a_head(), EFFORT).labels.array
    swapped = open_bundle(bundle).segment(a_head(), EFFORT).labels.array
    assert np.array_equal(swapped == 3, plain == 1)
    assert np.array_equal(swapped == 1, plain == 3)


def test_labels_are_cleaned_as_the_manifest_says(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    change_manifest(bundle, lambda s: s.update(postprocessing={"smallest_mm3": 1e6}))
    assert not open_bundle(bundle).segment(a_head(), EFFORT).labels.array.any()


def test_an_input_that_holds_no_numbers_is_a_mistake_of_the_caller() -> None:
    head = a_head()
    spoilt = head.channels[Role.T2].array.copy()
    spoilt[20, 20, 20] = np.nan
    channels = {**head.channels, Role.T2: head.channels[Role.T2].with_array(spoilt)}
    with pytest.raises(StepCrashed, match="T2"):
        open_bundle(INTENSITY).segment(replace(head, channels=channels), EFFORT)


class SlowEngine:
    """Finds nothing, and remembers how many threads were in it at once."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0

    def __call__(
        self,
        channels: NDArray[np.float32],
        brain: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        self.inside += 1
        self.most = max(self.most, self.inside)
        np.linalg.svd(np.random.default_rng(0).normal(size=(150, 150)))
        self.inside -= 1
        ones = np.count_nonzero(brain)
        views = {Region.WT: (float(ones), 2.0 * ones)}
        return Found(labels=np.zeros(brain.shape, dtype=np.uint8), opinions=views)


def test_the_engine_is_built_once_and_used_by_one_thread_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[SlowEngine] = []

    def build(folder: Path, manifest: Manifest) -> SlowEngine:
        built.append(SlowEngine())
        return built[-1]

    monkeypatch.setattr(bundle_module, "build_engine", build)
    bundle, head = open_bundle(INTENSITY), a_head()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bundle.segment(head, EFFORT), range(8)))
    assert [engine.most for engine in built] == [1]


def test_opinions_become_millilitres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "build_engine", lambda folder, manifest: SlowEngine())
    head = a_head()
    opinions = open_bundle(INTENSITY).segment(head, EFFORT).opinions_ml
    brain_ml = np.count_nonzero(head.brain.array) / 1000
    assert opinions == {Region.WT: pytest.approx((brain_ml, 2 * brain_ml))}


def test_files_of_weights_may_lie_in_folders(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    (bundle / "models/fold_0").mkdir(parents=True)
    (bundle / "models/fold_0/extra.pth").write_bytes(b"x")
    with pytest.raises(BundleInvalid, match=r"models/fold_0/extra\.pth is not in the manifest"):
        verify(bundle)


def test_labels_that_the_manifest_does_not_know_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    change_manifest(bundle, lambda s: s.update(labels={"0": 0, "1": 1, "2": 2}))
    with pytest.raises(BundleInvalid, match=r"labels \[3\]"):
        open_bundle(bundle).segment(a_head(), EFFORT)


def test_opening_a_bundle_loads_neither_torch_nor_scipy_nor_simpleitk() -> None:
    code = (
        "import sys, pathlib, node.segmentation.library, node.segmentation.importing\n"
        "from node.segmentation.bundle import open_bundle\n"
        f"open_bundle(pathlib.Path({str(INTENSITY)!r}))\n"
        "sys.exit(bool({'torch', 'scipy', 'SimpleITK', 'monai', 'nnunetv2'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=INTENSITY.parents[1])
    assert finished.returncode == 0


@pytest.mark.slow
def test_monai_runs_the_bundle_by_its_inference_config(tmp_path: Path) -> None:
    head = a_head()
    for role, volume in head.channels.items():
        save_volume(volume, tmp_path / f"{role}.safetensors")
    save_volume(head.brain, tmp_path / "brain.safetensors")
    arguments = {
        "config_file": str(INTENSITY / "configs/inference.json"),
        "meta_file": str(INTENSITY / "configs/metadata.json"),
        "bundle_root": str(INTENSITY),
        "dataset_dir": str(tmp_path),
        "output_dir": str(tmp_path / "eval"),
    }
    code = f"from monai.bundle import run\nrun(**{arguments!r})"
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=INTENSITY.parents[1], capture_output=True)
    labels: Volume = load_volume(tmp_path / "eval/labels.safetensors")
    assert np.array_equal(labels.array, open_bundle(INTENSITY).segment(head, EFFORT).labels.array)


@pytest.mark.parametrize("spacing_mm", [0.9961, 1.0, 1.0011, 1.0039])
def test_a_reference_whose_voxels_imaging_keeps_is_taken(spacing_mm: float) -> None:
    head = a_head()
    native = Grid(shape=head.grid.shape, affine=np.diag([spacing_mm] * 3 + [1.0]))
    wanted = open_bundle(INTENSITY).manifest.preprocessing
    grid = model_grid(native, wanted.spacing_mm, wanted.orientation)
    channels = {
        role: Volume(array=np.resize(v.array, grid.shape), grid=grid)
        for role, v in head.channels.items()
    }
    brain = Volume(array=np.resize(head.brain.array, grid.shape), grid=grid)
    seen = ModelInput(channels=channels, brain=brain, grid=grid)
    assert open_bundle(INTENSITY).segment(seen, EFFORT).labels.grid is grid


def test_a_bundle_that_was_changed_after_it_was_verified_is_refused(tmp_path: Path) -> None:
    folder = a_bundle(tmp_path)
    bundle = open_bundle(folder)
    (folder / "docs/README.md").write_text("other")
    for _ in range(2):
        with pytest.raises(BundleInvalid, match="changed after it was verified"):
            bundle.segment(a_head(), EFFORT)


@pytest.mark.parametrize(
    ("template", "change", "words"),
    [
        (INTENSITY, {"normalisation": "zscore-brain"}, "intensity normalises by itself"),
        (CASCADE, {"normalisation": "zscore-brain"}, "ca-cnn normalises by itself"),
        (CASCADE, {"brain": "keep"}, "without skull"),
        (CASCADE, {"spacing_mm": [2, 2, 2]}, "1 mm"),
    ],
)
def test_preprocessing_that_the_engine_was_not_made_for_is_refused(
    tmp_path: Path, template: Path, change: dict[str, object], words: str
) -> None:
    bundle = a_bundle(tmp_path, template)
    change_manifest(bundle, lambda segnode: segnode["preprocessing"].update(change))
    with pytest.raises(BundleInvalid, match=words):
        verify(bundle)


def test_channels_whose_names_contradict_the_roles_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, ZOO)
    change_manifest(bundle, lambda s: s.update(roles=["T1", "T1C", "T2", "FLAIR"]))
    with pytest.raises(BundleInvalid, match="channel 0 'T1C', the manifest says T1 there"):
        verify(bundle)


def test_numbers_that_python_does_not_read_make_a_manifest_invalid(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path, ZOO)
    path = bundle / "configs/metadata.json"
    path.write_text(path.read_text().replace("{", '{"other": ' + "9" * 5000 + ",", 1))
    with pytest.raises(BundleInvalid, match="metadata"):
        verify(bundle)
