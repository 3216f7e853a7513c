"""Lists of published files: read whole or refused, and what this installation offers."""

from pathlib import Path
from typing import Any

import pytest

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.bundle import check_manifest
from node.segmentation.upstream import find_offer, find_offers, is_file_of, read_upstream
from tests.unit.segmentation.bundles import MODELS
from tests.unit.segmentation.upstreams import sha256, write_upstream

A_FILE: dict[str, Any] = {"path": "a/b.pt", "size": 3, "checksum": "0" * 64}


def test_every_shipped_list_fits_its_manifest() -> None:
    offers = find_offers((MODELS,))
    assert set(offers) == {"ca-cnn-brats17", "brats-mri-segmentation", "hd-bet"}
    for offer in offers.values():
        assert offer.upstream.url(offer.upstream.files[0]).startswith("https://")
        if not offer.is_bundle:
            continue
        manifest = check_manifest(offer.folder)
        made = [conversion.becomes for conversion in offer.upstream.conversions]
        made += [file.becomes for file in offer.upstream.files if file.becomes]
        assert set(made) <= set(manifest.weights)
        others = set(manifest.weights) - set(made)
        assert all((offer.folder / name).is_file() for name in others)
        assert offer.upstream.name == manifest.name
        assert offer.upstream.licence.name == manifest.licence
        assert all(file.checksum for file in offer.upstream.files)


def test_the_card_of_the_cascade_states_the_checksums_of_its_list() -> None:
    offer = find_offer("ca-cnn-brats17", (MODELS,))
    card = (offer.folder / "docs/README.md").read_text()
    files = [file for file in offer.upstream.files if file != offer.upstream.licence_file]
    assert len(files) == 18
    for file in files:
        assert f"`{file.path}` | `{file.checksum}`" in card


def test_an_address_is_base_path_and_query(tmp_path: Path) -> None:
    write_upstream(tmp_path / "x", files=[A_FILE], query="download=1")
    upstream = read_upstream(tmp_path / "x")
    assert upstream.url(upstream.files[0]) == "https://example.org/w/a/b.pt?download=1"
    assert upstream.files[0].name == "b.pt"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"files": []}, "files"),
        ({"files": [{**A_FILE, "path": "../b"}]}, "base_url"),
        ({"files": [{**A_FILE, "path": "/b"}]}, "base_url"),
        ({"files": [{**A_FILE, "path": "a//b"}]}, "base_url"),
        ({"files": [{"path": "b"}]}, "size or largest"),
        ({"files": [{**A_FILE, "largest": 4}]}, "size or largest"),
        ({"files": [{**A_FILE, "checksum": "md5:12"}]}, "checksum"),
        ({"files": [A_FILE], "base_url": "ftp://example.org/"}, "base_url"),
        ({"files": [A_FILE], "name": "../up"}, "name"),
        ({"files": [A_FILE], "surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(
    tmp_path: Path, changes: dict[str, Any], place: str
) -> None:
    write_upstream(tmp_path / "x", **changes)
    with pytest.raises(BundleInvalid, match=place):
        read_upstream(tmp_path / "x")


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="cannot be read"):
        read_upstream(tmp_path)


def test_the_first_folder_wins_and_absent_ones_offer_nothing(tmp_path: Path) -> None:
    for place in ("first", "second"):
        write_upstream(tmp_path / place / "x", files=[A_FILE], source=place)
    folders = (tmp_path / "absent", tmp_path / "first", tmp_path / "second")
    assert find_offer("x", folders).upstream.source == "first"


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    write_upstream(tmp_path / "x", files=[A_FILE])
    with pytest.raises(BundleMissing, match="nothing called y can be fetched; there are x"):
        find_offer("y", (tmp_path,))


def test_checksums_are_sha256_or_marked_md5(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert is_file_of(file, sha256(b"abc"))
    assert not is_file_of(file, sha256(b"abd"))
    assert is_file_of(file, "md5:900150983cd24fb0d6963f7d28e17f72")
    assert not is_file_of(file, "900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(BundleInvalid, match="cannot be read"):
        is_file_of(tmp_path / "absent", sha256(b""))
