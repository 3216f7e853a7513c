"""Models without our manifest: refused with advice, or made bundles by a manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.domain.errors import BundleInvalid
from node.segmentation.bundle import open_bundle
from node.segmentation.importing import import_bundle
from tests.unit.segmentation.bundles import CASCADE, MODELS
from tests.unit.segmentation.upstreams import a_monai_bundle, sha256

ZOO = MODELS / "brats-mri-segmentation"


def a_manifest(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "m") -> Path:
    """Write a metadata.json after the zoo's example, outside of any bundle."""
    metadata = json.loads((ZOO / "configs/metadata.json").read_text())
    metadata["segnode"]["weights"] = {}
    change(metadata["segnode"])
    path = folder / f"{name}.json"
    path.write_text(json.dumps(metadata))
    return path


def an_nnunet_folder(folder: Path) -> Path:
    made = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (made / "fold_0").mkdir(parents=True)
    for name in ("dataset.json", "plans.json", "fold_0/checkpoint_final.pth"):
        (made / name).write_bytes(name.encode())
    return made


def for_nnunet(ours: dict[str, Any]) -> None:
    ours.update(name="site-nnunet", engine="nnunet", engine_options={})
    ours["preprocessing"]["normalisation"] = "none"


def test_a_monai_bundle_without_our_key_is_told_what_is_missing(tmp_path: Path) -> None:
    source = a_monai_bundle(tmp_path)
    with pytest.raises(BundleInvalid, match="lacks the key `segnode`") as raised:
        import_bundle(source, tmp_path / "models")
    assert "which sequences" in raised.value.what
    assert "--manifest" in raised.value.what
    example = raised.value.what.split("after ")[1].split(" and name")[0]
    assert "segnode" in json.loads(Path(example).read_text())


def test_an_nnunet_folder_without_a_manifest_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="an nnU-Net model folder without") as raised:
        import_bundle(an_nnunet_folder(tmp_path), tmp_path / "models")
    assert "--manifest" in raised.value.what


def test_a_manifest_makes_a_monai_bundle_one_of_ours(tmp_path: Path) -> None:
    source = a_monai_bundle(tmp_path)
    manifest = a_manifest(tmp_path, lambda ours: ours.update(name="site-model"))
    made = import_bundle(source, tmp_path / "models", manifest=manifest)
    assert made.name == "site-model"
    assert open_bundle(made).manifest.weights == {"models/model.pt": sha256(b"weights")}
    assert (made / "LICENSE").read_bytes() == (source / "LICENSE").read_bytes()
    assert (made / "docs/README.md").read_bytes() == (source / "docs/README.md").read_bytes()


def test_a_manifest_makes_an_nnunet_folder_one_of_ours(tmp_path: Path) -> None:
    source = an_nnunet_folder(tmp_path)
    (source / "LICENSE").write_text("CC-BY")
    made = import_bundle(source, tmp_path / "models", manifest=a_manifest(tmp_path, for_nnunet))
    manifest = open_bundle(made).manifest
    assert manifest.weights == {
        f"models/{name}": sha256(name.encode())
        for name in ("dataset.json", "plans.json", "fold_0/checkpoint_final.pth")
    }
    card = (made / "docs/README.md").read_text()
    assert manifest.intended_use in card
    assert manifest.licence in card
    assert json.loads((made / "configs/inference.json").read_text())["roles"] == [
        str(role) for role in manifest.roles
    ]


def test_a_card_beside_the_manifest_comes_before_the_source_s(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    (home / "configs").mkdir(parents=True)
    (home / "docs").mkdir()
    (home / "docs/README.md").write_text("my card")
    manifest = a_manifest(home / "configs", lambda ours: ours, name="metadata")
    made = import_bundle(a_monai_bundle(tmp_path), tmp_path / "models", manifest=manifest)
    assert (made / "docs/README.md").read_text() == "my card"


def test_checksums_that_are_stated_are_held_and_absent_ones_computed(tmp_path: Path) -> None:
    source = an_nnunet_folder(tmp_path)
    (source / "LICENSE").write_text("CC-BY")
    stated = {
        "models/dataset.json": sha256(b"dataset.json"),
        "models/plans.json": None,
        "models/fold_0/checkpoint_final.pth": "",
    }

    def change(ours: dict[str, Any]) -> None:
        for_nnunet(ours)
        ours["weights"] = stated

    made = import_bundle(source, tmp_path / "models", manifest=a_manifest(tmp_path, change))
    assert open_bundle(made).manifest.weights["models/plans.json"] == sha256(b"plans.json")
    stated["models/dataset.json"] = "0" * 64
    with pytest.raises(BundleInvalid, match=r"dataset\.json is not what the manifest says"):
        import_bundle(source, tmp_path / "models", manifest=a_manifest(tmp_path, change))
    assert open_bundle(made).manifest.name == "site-nnunet"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ours: ours.pop("roles"), "roles: Field required"),
        (lambda ours: ours.update(name="../up"), "name"),
        (lambda ours: ours.update(weights={"models/other.pt": ""}), r"other\.pt absent"),
        (lambda ours: ours.update(weights={"models/../../x": ""}), "outside models/"),
        (lambda ours: ours.update(weights={"/etc/passwd": ""}), "outside models/"),
        (lambda ours: ours.update(weights=["models/model.pt"]), "is no table"),
        (lambda ours: ours.update(weights={"models/model.pt": 7}), "weights"),
        (lambda ours: ours.update(engine="magic"), "engine"),
        (lambda ours: ours.update(engine_options=[]), "engine_options"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_place(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    manifest = a_manifest(tmp_path, change)
    with pytest.raises(BundleInvalid, match=reason):
        import_bundle(a_monai_bundle(tmp_path), tmp_path / "models", manifest=manifest)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "is no table"),
        (b"{}", "the key `segnode` is absent"),
        (b'{"segnode": 3}', "the key `segnode` is absent"),
        (b" " * 2_000_000, "too large"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(BundleInvalid, match=reason):
        import_bundle(a_monai_bundle(tmp_path), tmp_path / "models", manifest=tmp_path / "m.json")


def test_a_model_without_a_licence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="LICENSE absent; put the text"):
        import_bundle(
            an_nnunet_folder(tmp_path),
            tmp_path / "models",
            manifest=a_manifest(tmp_path, for_nnunet),
        )


def test_links_in_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    source = a_monai_bundle(tmp_path)
    (source / "models/model.pt").unlink()
    (source / "models/model.pt").symlink_to("/etc/passwd")
    with pytest.raises(BundleInvalid, match="links"):
        import_bundle(source, tmp_path / "models", manifest=CASCADE / "configs/metadata.json")
