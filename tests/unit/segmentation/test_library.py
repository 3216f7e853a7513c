"""Which bundles are installed, and in what state."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation import library
from node.segmentation.bundle import bundle_sha256
from node.segmentation.library import BundleStatus, find, find_bundles
from tests.unit.segmentation.bundles import CASCADE, INTENSITY, MODELS, a_bundle


def test_the_shipped_models_are_listed_with_their_state() -> None:
    found = {str(bundle.name): bundle for bundle in find_bundles([MODELS])}
    assert found["intensity-glioma"].status is BundleStatus.READY
    assert found["intensity-glioma"].sha256 == bundle_sha256(INTENSITY)
    cascade = found["ca-cnn-brats17"]
    assert cascade.status is BundleStatus.WEIGHTS_NOT_INSTALLED
    assert "segnode models import" in cascade.problem
    assert found["brats-mri-segmentation"].status is BundleStatus.WEIGHTS_NOT_INSTALLED
    assert found["brats-mri-segmentation"].licence == "Apache-2.0"


def test_listing_the_bundles_loads_nothing_heavy() -> None:
    code = (
        "import sys, pathlib\n"
        "from node.segmentation.library import find_bundles\n"
        f"assert len(find_bundles([pathlib.Path({str(MODELS)!r})])) >= 3\n"
        "sys.exit(bool({'torch', 'scipy', 'SimpleITK', 'monai', 'nnunetv2'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=MODELS.parent)
    assert finished.returncode == 0


def test_a_damaged_bundle_is_listed_with_its_problem(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    (bundle / "configs/metadata.json").write_text("{}")
    (summary,) = find_bundles([tmp_path])
    assert summary.status is BundleStatus.INVALID
    assert (summary.name, summary.version) == ("intensity-glioma", "")
    assert "Field required" in summary.problem


def test_other_folders_and_absent_ones_are_no_bundles(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert find_bundles([tmp_path, tmp_path / "absent"]) == ()


def test_a_bundle_is_found_by_its_name_and_the_first_folder_wins(tmp_path: Path) -> None:
    mine = a_bundle(tmp_path)
    assert find("intensity-glioma", [tmp_path, MODELS]) == mine
    assert find("intensity-glioma", [MODELS, tmp_path]) == INTENSITY


def test_a_usable_bundle_is_preferred_to_a_damaged_one_before_it(tmp_path: Path) -> None:
    damaged = a_bundle(tmp_path)
    metadata = json.loads((damaged / "configs/metadata.json").read_text())
    metadata["segnode"]["surprise"] = True
    (damaged / "configs/metadata.json").write_text(json.dumps(metadata))
    assert find("intensity-glioma", [tmp_path, MODELS]) == INTENSITY
    with pytest.raises(BundleInvalid, match="surprise"):
        find("intensity-glioma", [tmp_path])


def test_a_bundle_without_weights_or_without_folder_is_missing() -> None:
    with pytest.raises(BundleMissing, match="weights not installed"):
        find(CASCADE.name, [MODELS])
    with pytest.raises(BundleMissing, match="no bundle is called other"):
        find("other", [MODELS])


def test_a_bundle_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    damaged = a_bundle(tmp_path)
    (damaged / "docs/dangling").symlink_to(tmp_path / "nowhere")
    (summary,) = find_bundles([tmp_path])
    assert summary.status is BundleStatus.INVALID
    assert summary.sha256 == ""
    assert "dangling cannot be read" in summary.problem
    assert find("intensity-glioma", [tmp_path, MODELS]) == INTENSITY


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (BundleMissing("gone"), "gone"),
    ],
)
def test_a_folder_that_may_not_be_looked_into_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    a_bundle(tmp_path)

    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr(library, "check_manifest", fail)
    (summary,) = find_bundles([tmp_path])
    assert words in summary.problem
    assert summary.status is not BundleStatus.READY
