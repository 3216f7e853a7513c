"""Parameters of a step before the bundle: installed with their checksums, verified when used."""

import hashlib
from pathlib import Path

import pytest

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation import parameters
from node.segmentation.parameters import install_parameters, verify_parameters
from node.segmentation.upstream import Upstream, find_offer, is_file_of, read_upstream
from tests.unit.segmentation.bundles import MODELS
from tests.unit.segmentation.test_unpacking import an_archive
from tests.unit.segmentation.upstreams import sha256, write_upstream

FILES = {"plans.json": b"{}", "fold_all/w.pth": b"weights", "notes/readme.txt": b"not wanted"}


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    unpacks = {"plans.json": "", "fold_all/w.pth": ""}
    write_upstream(
        tmp_path / "finder", files=[{"path": "r.zip", "largest": 10**6, "unpacks": unpacks}]
    )
    return read_upstream(tmp_path / "finder")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return an_archive(tmp_path / "r.zip", FILES)


def install(archive: Path, upstream: Upstream, tmp_path: Path) -> Path:
    digest = sha256(archive.read_bytes())
    return install_parameters(archive, upstream, digest, tmp_path / "bundles")


def test_wanted_files_are_installed_with_their_checksums(
    archive: Path, upstream: Upstream, tmp_path: Path
) -> None:
    made = install(archive, upstream, tmp_path)
    assert made == tmp_path / "bundles/.finder"
    assert sorted(p.name for p in made.rglob("*")) == [
        "checksums.json",
        "fold_all",
        "plans.json",
        "w.pth",
    ]
    installed = verify_parameters(made)
    assert installed.files == {
        "plans.json": sha256(b"{}"),
        "fold_all/w.pth": sha256(b"weights"),
    }
    assert installed.archive == sha256(archive.read_bytes())
    assert "MIT" in installed.licence


def test_those_of_hd_bet_go_where_the_brain_extraction_looks(tmp_path: Path) -> None:
    upstream = find_offer("hd-bet", (MODELS,)).upstream
    names = ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth")
    archive = an_archive(tmp_path / "release.zip", dict.fromkeys(names, b"x"))
    md5 = "md5:" + hashlib.md5(archive.read_bytes()).hexdigest()
    made = install_parameters(archive, upstream, md5, tmp_path / "bundles")
    assert made.name == ".hd-bet-2"
    assert set(verify_parameters(made).files) == set(names)


def test_what_was_altered_or_lost_is_noticed(
    archive: Path, upstream: Upstream, tmp_path: Path
) -> None:
    made = install(archive, upstream, tmp_path)
    (made / "fold_all/w.pth").write_bytes(b"Weights")
    with pytest.raises(BundleInvalid, match=r"fold_all/w\.pth is not what was installed"):
        verify_parameters(made)
    (made / "fold_all/w.pth").unlink()
    with pytest.raises(BundleInvalid, match=r"fold_all/w\.pth absent"):
        verify_parameters(made)
    (made / "checksums.json").write_text("[]")
    with pytest.raises(BundleInvalid, match=r"checksums\.json cannot be read"):
        verify_parameters(made)
    with pytest.raises(BundleMissing):
        verify_parameters(tmp_path / "absent")


def test_another_archive_is_refused_and_the_old_files_stay(
    archive: Path, upstream: Upstream, tmp_path: Path
) -> None:
    made = install(archive, upstream, tmp_path)
    with pytest.raises(BundleInvalid, match="has not the checksum"):
        install_parameters(archive, upstream, "0" * 64, tmp_path / "bundles")
    an_archive(archive, {"plans.json": b"{}"})
    with pytest.raises(BundleInvalid, match=r"fold_all/w\.pth is not in it"):
        install(archive, upstream, tmp_path)
    an_archive(archive, {"../plans.json": b"{}"})
    with pytest.raises(BundleInvalid, match="lies outside"):
        install(archive, upstream, tmp_path)
    archive.unlink()
    with pytest.raises(BundleInvalid, match="absent"):
        install_parameters(archive, upstream, "0" * 64, tmp_path / "bundles")
    verify_parameters(made)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_newer_parameters_replace_older_ones(
    archive: Path, upstream: Upstream, tmp_path: Path
) -> None:
    install(archive, upstream, tmp_path)
    an_archive(archive, {**FILES, "plans.json": b"[]"})
    made = install(archive, upstream, tmp_path)
    assert (made / "plans.json").read_bytes() == b"[]"
    verify_parameters(made)


def test_an_archive_that_is_exchanged_after_it_was_checked_is_not_installed(
    archive: Path, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_and_exchange(path: Path, checksum: str) -> bool:
        whole = is_file_of(path, checksum)
        if path == archive:
            an_archive(archive, {**FILES, "fold_all/w.pth": b"others"})
        return whole

    monkeypatch.setattr(parameters, "is_file_of", check_and_exchange)
    with pytest.raises(BundleInvalid, match="has not the checksum"):
        install(archive, upstream, tmp_path)
    assert list((tmp_path / "bundles").iterdir()) == []
