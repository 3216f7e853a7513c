"""The manifest inside MONAI's metadata.json."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.domain.errors import BundleInvalid
from node.domain.regions import Region, Role
from node.imaging.preprocessing import Preprocessing
from node.segmentation.manifest import (
    MANIFEST_BYTES,
    Postprocessing,
    Spread,
    Uncertainty,
    parse_manifest,
    read_manifest,
)
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


def test_a_manifest_of_the_first_kind_gets_the_defaults_of_the_later_parts() -> None:
    manifest = read_manifest(INTENSITY)
    assert manifest.preprocessing.space == "native"
    assert manifest.preprocessing.crop_margin_mm is None
    assert not manifest.preprocessing.bias_correction
    assert manifest.postprocessing == Postprocessing()
    assert manifest.uncertainty is None


def test_every_part_of_the_preprocessing_is_read() -> None:
    wanted = {
        "normalisation": "percentile",
        "percentiles": [0.5, 99.5],
        "bias_correction": True,
        "interpolation": "linear",
        "space": "brats",
        "crop_margin_mm": 8,
    }
    text = altered(lambda m: m["segnode"]["preprocessing"].update(wanted))
    assert parse_manifest(text, bundle="b").preprocessing == Preprocessing(
        normalisation="percentile",
        percentiles=(0.5, 99.5),
        bias_correction=True,
        interpolation="linear",
        space="brats",
        crop_margin_mm=8.0,
    )


def test_postprocessing_and_uncertainty_are_read() -> None:
    spread = {"floor": 0.1, "gain": 1.5}
    clean = {"fill_holes_mm3": 3, "smallest_mm3": 10, "component_share": 0.1}
    sure = {"method": "views", "WT": spread, "TC": spread, "ET": {"floor": 0, "gain": 0}}
    text = altered(lambda m: m["segnode"].update(postprocessing=clean, uncertainty=sure))
    manifest = parse_manifest(text, bundle="b")
    assert manifest.postprocessing == Postprocessing(
        fill_holes_mm3=3.0, smallest_mm3=10.0, component_share=0.1
    )
    assert manifest.uncertainty == Uncertainty(
        method="views",
        spreads={
            Region.WT: Spread(floor=0.1, gain=1.5),
            Region.TC: Spread(floor=0.1, gain=1.5),
            Region.ET: Spread(floor=0.0, gain=0.0),
        },
    )


@pytest.mark.parametrize("engine", ["monai", "nnunet"])
def test_weights_may_lie_in_folders_below_models(engine: str) -> None:
    weights = {"models/fold_0/checkpoint_final.pth": "0" * 64, "models/plans.json": "1" * 64}
    text = altered(lambda m: m["segnode"].update(engine=engine, weights=weights))
    manifest = parse_manifest(text, bundle="b")
    assert (manifest.engine, manifest.weights) == (engine, weights)


def test_both_models_say_that_they_are_not_for_diagnosis() -> None:
    for folder in (INTENSITY, CASCADE):
        assert "NOT FOR DIAGNOSIS" in read_manifest(folder).research_text


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no manifest": (lambda m: m.pop("segnode"), "segnode: Field required"),
    "no preprocessing": (
        lambda m: m["segnode"].pop("preprocessing"),
        "segnode.preprocessing: Field required",
    ),
    "no normalisation": (
        lambda m: m["segnode"]["preprocessing"].pop("normalisation"),
        "preprocessing.normalisation: Field required",
    ),
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
    "weights are the folder": (
        lambda m: m["segnode"].update(weights={"models": "0" * 64}),
        "outside models/",
    ),
    "weights by a second name": (
        lambda m: m["segnode"].update(weights={"models//x": "0" * 64}),
        "outside models/",
    ),
    "weights at the root": (
        lambda m: m["segnode"].update(weights={"/models/x": "0" * 64}),
        "outside models/",
    ),
    "no checksum": (lambda m: m["segnode"].update(weights={"models/x": "abc"}), "weights"),
    "bad name": (lambda m: m["segnode"].update(name="../up"), "segnode.name"),
    "bad spacing": (
        lambda m: m["segnode"]["preprocessing"].update(spacing_mm=[1, 0, 1]),
        "preprocessing.spacing_mm.1",
    ),
    "endless spacing": (
        lambda m: m["segnode"]["preprocessing"].update(spacing_mm=[1, 1e999, 1]),
        "preprocessing.spacing_mm.1",
    ),
    "percentile alone": (
        lambda m: m["segnode"]["preprocessing"].update(normalisation="percentile"),
        "percentiles belong",
    ),
    "percentiles without use": (
        lambda m: m["segnode"]["preprocessing"].update(percentiles=[1, 99]),
        "percentiles belong",
    ),
    "falling percentiles": (
        lambda m: m["segnode"]["preprocessing"].update(
            normalisation="percentile", percentiles=[99, 1]
        ),
        "percentiles must rise",
    ),
    "BraTS space of 2 mm": (
        lambda m: m["segnode"]["preprocessing"].update(space="brats", spacing_mm=[2, 2, 2]),
        "spacing of 1 mm",
    ),
    "negative margin": (
        lambda m: m["segnode"]["preprocessing"].update(crop_margin_mm=-1),
        "preprocessing.crop_margin_mm",
    ),
    "all components dropped": (
        lambda m: m["segnode"].update(postprocessing={"component_share": 1}),
        "postprocessing.component_share",
    ),
    "spread of two regions": (
        lambda m: m["segnode"].update(
            uncertainty={
                "method": "m",
                "WT": {"floor": 0, "gain": 1},
                "TC": {"floor": 0, "gain": 1},
            }
        ),
        "uncertainty.ET: Field required",
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
