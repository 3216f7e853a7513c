"""Published files become the weights of a bundle, or are refused by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from node.domain.errors import BundleInvalid
from node.segmentation.bundle import open_bundle
from node.segmentation.importing import import_published
from node.segmentation.options import CASCADE_WEIGHTS
from node.segmentation.published import recognise, to_safetensors
from node.segmentation.upstream import Offer, find_offers
from tests.unit.segmentation.bundles import MODELS, a_bundle, change_manifest
from tests.unit.segmentation.upstreams import (
    LICENCE_TEXT,
    a_monai_bundle,
    a_template,
    an_offer,
    sha256,
    some_arrays,
    write_upstream,
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    a_template(tmp_path)
    return tmp_path / "published"


@pytest.fixture
def offer(published: Path) -> Offer:
    return an_offer(published.parent)


def flat(published: Path) -> Path:
    """All files side by side, as they come out of a download folder."""
    made = published.parent / "flat"
    made.mkdir()
    for path in published.rglob("*.*"):
        shutil.copyfile(path, made / path.name)
    return made


@pytest.mark.parametrize("lay_out", [lambda published: published, flat])
def test_checkpoints_become_the_arrays_of_the_manifest(
    published: Path, offer: Offer, tmp_path: Path, lay_out: Callable[[Path], Path]
) -> None:
    made = import_published(offer, lay_out(published), tmp_path / "bundles")
    assert open_bundle(made).manifest.name == "ca-cnn-brats17"
    found = load((made / "models" / CASCADE_WEIGHTS[4]).read_bytes())
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in some_arrays(4).items()
    }
    assert (made / "LICENSE").read_bytes() == LICENCE_TEXT


def test_arrays_that_were_converted_before_are_taken(
    published: Path, offer: Offer, tmp_path: Path
) -> None:
    first = import_published(offer, published, tmp_path / "bundles")
    again = import_published(offer, first / "models", tmp_path / "other")
    for name in CASCADE_WEIGHTS:
        assert (again / "models" / name).read_bytes() == (first / "models" / name).read_bytes()


def test_without_the_licence_s_text_it_is_named_in_its_place(
    published: Path, offer: Offer, tmp_path: Path
) -> None:
    (published / "LICENSE.txt").unlink()
    made = import_published(offer, published, tmp_path / "bundles")
    text = (made / "LICENSE").read_text()
    assert text.startswith("SPDX-License-Identifier: MIT\n\nFree.")


def test_a_licence_is_known_by_its_other_name_and_not_when_altered(
    published: Path, offer: Offer, tmp_path: Path
) -> None:
    (published / "LICENSE.txt").rename(published / "COPYING")
    made = import_published(offer, published, tmp_path / "bundles")
    assert (made / "LICENSE").read_bytes() == LICENCE_TEXT
    (published / "COPYING").write_text("Do nothing.")
    with pytest.raises(BundleInvalid, match="COPYING is not the published file"):
        import_published(offer, published, tmp_path / "bundles")


def test_an_absent_and_an_altered_file_are_named(
    published: Path, offer: Offer, tmp_path: Path
) -> None:
    file = published / "model17/net3.ckpt.index"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(BundleInvalid, match=r"net3\.ckpt\.index is not the published file"):
        import_published(offer, published, tmp_path / "bundles")
    file.unlink()
    with pytest.raises(BundleInvalid, match=r"net3\.ckpt\.index absent"):
        import_published(offer, published, tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_folder_is_recognised_by_one_right_checksum_or_by_its_names(
    published: Path, offer: Offer, tmp_path: Path
) -> None:
    offers = find_offers((tmp_path / "models",))
    assert recognise(published, offers) == offer
    for path in published.rglob("net*"):
        if path.name != "net0.ckpt.index":
            path.unlink()
    assert recognise(published, offers) == offer
    (published / "model17/net0.ckpt.index").write_bytes(b"altered")
    assert recognise(published, offers) == offer
    (published / "model17/net0.ckpt.index").unlink()
    assert recognise(published, offers) is None


def test_a_bundle_of_the_zoo_is_known_by_its_weights_and_gets_our_manifest(
    tmp_path: Path,
) -> None:
    template = a_bundle(tmp_path / "models", MODELS / "brats-mri-segmentation")
    file = {"path": "models/model.pt", "size": 7, "checksum": sha256(b"weights")}
    write_upstream(template, files=[{**file, "becomes": "models/model.pt"}])
    weights = {"models/model.pt": sha256(b"weights")}
    change_manifest(template, lambda ours: ours.update(weights=weights))
    offers, source = find_offers((tmp_path / "models",)), a_monai_bundle(tmp_path)
    offer = recognise(source, offers)
    assert offer is not None
    made = import_published(offer, source, tmp_path / "bundles")
    assert open_bundle(made).manifest.engine == "monai"
    assert (made / "LICENSE").read_bytes() == (template / "LICENSE").read_bytes()
    (source / "models/model.pt").write_bytes(b"others")
    assert recognise(source, offers) is None


def test_the_file_is_what_the_package_reads_and_the_same_every_time() -> None:
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.full(1, 7.0, dtype=np.float32),
    }
    metadata = {"z": "1", "a": "é"}
    written = to_safetensors(arrays, metadata)
    assert written == to_safetensors(arrays, metadata)
    assert int.from_bytes(written[:8], "little") % 8 == 0
    found = load(written)
    assert found["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["a"].tolist() == [7.0]
    assert load(to_safetensors({}, {})) == {}
