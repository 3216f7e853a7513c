"""The manifest inside MONAI's metadata.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.domain.errors import BundleInvalid
from node.domain.regions import Role
from node.imaging.prepare import Preprocessing
from node.segmentation.manifest import MANIFEST_BYTES, parse_manifest, read_manifest
from tests.unit.segmentation.bundles import CASCADE, INTENSITY


def altered(change: Callable[[dict[str, Any]], object]) -> str:
    metadata = json.loads((INTENSITY / "configs/metadata.json").read_text())
    change(metadata)
    return json.dumps(metadata)


def test_the_manifest_of_the_intensity_model_is_read() -> None:
    manifest = read_manifest(INTENSITY)
    assert (manifest.name, manifest.version) == ("intensity-glioma", "1.0.0")
    assert manifest.roles == (Role.FLAIR, Role.T1, Role.T1C, Role.T2)
    assert manifest.preprocessing == Preprocessing(normalisation="none", brain="mask")
    assert manifest.labels == {0: 0, 1: 1, 2: 2, 3: 3}
    assert manifest.weights == {}


def test_the_manifest_of_the_cascade_names_nine_weights_and_maps_four_to_enhancing() -> None:
    manifest = read_manifest(CASCADE)
    assert len(manifest.weights) == 9
    assert manifest.labels[4] == 3
    assert manifest.licence == "BSD-3-Clause"


def test_both_models_say_that_they_are_not_for_diagnosis() -> None:
    for folder in (INTENSITY, CASCADE):
        assert "NOT FOR DIAGNOSIS" in read_manifest(folder).research_text


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no manifest": (lambda m: m.pop("segnode"), "segnode: Field required"),
    "unknown key": (lambda m: m["segnode"].update(speed=1), "segnode.speed: Extra inputs"),
    "unknown engine": (lambda m: m["segnode"].update(engine="magic"), "segnode.engine"),
    "unknown role": (lambda m: m["segnode"].update(roles=["DWI"]), "segnode.roles.0"),
    "role twice": (lambda m: m["segnode"].update(roles=["T1", "T1"]), "named twice"),
    "label beyond 3": (lambda m: m["segnode"]["labels"].update({"4": 4}), "segnode.labels.4"),
    "no background": (lambda m: m["segnode"].update(labels={"1": 1}), "background"),
    "weights elsewhere": (
        lambda m: m["segnode"].update(weights={"models/../../x": "0" * 64}),
        "outside models/",
    ),
    "no checksum": (lambda m: m["segnode"].update(weights={"models/x": "abc"}), "weights"),
    "bad name": (lambda m: m["segnode"].update(name="../up"), "segnode.name"),
    "bad spacing": (
        lambda m: m["segnode"]["preprocessing"].update(spacing_mm=[1, 0, 1]),
        "preprocessing.spacing_mm.1",
    ),
    "no MONAI version": (lambda m: m.pop("monai_version"), "monai_version: Field required"),
    "no outputs": (lambda m: m["network_data_format"].pop("outputs"), "outputs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_refused_and_the_field_is_named(case: str) -> None:
    change, words = WRONG[case]
    with pytest.raises(BundleInvalid, match="configs/metadata") as caught:
        parse_manifest(altered(change), bundle="some-bundle")
    assert words in caught.value.what
    assert caught.value.remedy


def test_further_keys_of_monai_are_allowed() -> None:
    assert parse_manifest(altered(lambda m: m.update(eval_metrics={})), bundle="b").version


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b" " * (MANIFEST_BYTES + 1)])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/metadata.json").write_bytes(content)
    with pytest.raises(BundleInvalid):
        read_manifest(tmp_path)


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="cannot be read"):
        read_manifest(tmp_path)
