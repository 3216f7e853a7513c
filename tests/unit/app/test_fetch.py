"""Getting the weights of a model: downloaded or carried, checked, and whole or not at all."""

import hashlib
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node.app.fetch import Wish, fetch, unusual_files
from node.domain.errors import BundleInvalid, BundleMissing, DownloadFailed
from node.net.download import DownloadOptions
from node.segmentation.bundle import bundle_sha256, open_bundle
from node.segmentation.parameters import verify_parameters
from node.segmentation.upstream import Offer, find_offer
from tests.support.publisher import Page, Publisher, publishing
from tests.unit.segmentation.bundles import MODELS
from tests.unit.segmentation.upstreams import (
    LICENCE_TEXT,
    a_template,
    an_offer,
    sha256,
)

OPTIONS = DownloadOptions(pause_s=0.0, timeout_s=10.0, plain_hosts=frozenset({"127.0.0.1"}))
NAMES = ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth")


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with publishing() as made:
        yield made


@pytest.fixture
def offer(tmp_path: Path, publisher: Publisher) -> Offer:
    """Offer a bundle whose checkpoints lie at the publisher's."""
    a_template(tmp_path, base_url=publisher.url("/w/"))
    for path in (tmp_path / "published").rglob("*.*"):
        name = path.relative_to(tmp_path / "published").as_posix()
        publisher.put(f"/w/{name}", Page(body=path.read_bytes()))
    return an_offer(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "release_v1.5.0.zip", "w") as made:
        for name in NAMES:
            made.writestr(name, name)
    return tmp_path / "release_v1.5.0.zip"


@pytest.fixture
def finder(publisher: Publisher, archive: Path) -> Offer:
    """Offer HD-BET as it is shipped, but published by ours."""
    publisher.put("/w/release_v1.5.0.zip?download=1", Page(body=archive.read_bytes()))
    shipped = find_offer("hd-bet", (MODELS,))
    upstream = shipped.upstream.model_copy(update={"base_url": publisher.url("/w/")})
    return replace(shipped, upstream=upstream)


def test_a_download_becomes_a_bundle(offer: Offer, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    made = fetch(
        Wish(offer=offer),
        tmp_path / "bundles",
        OPTIONS,
        lambda name, done, total: told.update({name: (done, total)}),
    )
    assert open_bundle(made).manifest.name == "ca-cnn-brats17"
    assert (made / "LICENSE").read_bytes() == LICENCE_TEXT
    assert told == {file.name: (file.size, file.size) for file in offer.upstream.files}
    assert list((tmp_path / "bundles").iterdir()) == [made]


def test_a_changed_file_is_refused_and_the_old_bundle_stays(
    offer: Offer, publisher: Publisher, tmp_path: Path
) -> None:
    made = fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    before = bundle_sha256(made)
    page = publisher.pages["/w/model17/net5.ckpt.index"]
    page.body = page.body[:-1] + b"x"
    with pytest.raises(DownloadFailed, match=r"net5\.ckpt\.index .* is not the published file"):
        fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    page.body += b"x"
    with pytest.raises(DownloadFailed, match=r"net5\.ckpt\.index .* were expected"):
        fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    del publisher.pages["/w/model17/net5.ckpt.index"]
    with pytest.raises(DownloadFailed, match="answered 404"):
        fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    assert bundle_sha256(made) == before
    assert list((tmp_path / "bundles").iterdir()) == [made]


def test_files_that_were_carried_go_through_the_same_checks(
    offer: Offer, publisher: Publisher, tmp_path: Path
) -> None:
    wish = Wish(offer=offer, given=tmp_path / "published")
    made = fetch(wish, tmp_path / "bundles", OPTIONS)
    assert open_bundle(made).manifest.name == "ca-cnn-brats17"
    assert publisher.asked == []
    (tmp_path / "published/model17/net5.ckpt.index").write_bytes(b"altered")
    with pytest.raises(BundleInvalid, match=r"net5\.ckpt\.index is not the published file"):
        fetch(wish, tmp_path / "bundles", OPTIONS)


def test_what_consists_of_many_files_is_carried_as_a_folder(offer: Offer, tmp_path: Path) -> None:
    file = tmp_path / "published/model17/net5.ckpt.index"
    with pytest.raises(BundleInvalid, match="is 18 files; name the folder"):
        fetch(Wish(offer=offer, given=file), tmp_path / "bundles", OPTIONS)
    with pytest.raises(BundleMissing, match="no file or folder"):
        fetch(Wish(offer=offer, given=tmp_path / "absent"), tmp_path / "bundles", OPTIONS)


def test_one_file_may_be_carried_under_another_name(publisher: Publisher, tmp_path: Path) -> None:
    offer = find_offer("brats-mri-segmentation", (MODELS,))
    (tmp_path / "download(1).pt").write_bytes(b"not the weights")
    with pytest.raises(BundleInvalid, match=r"model\.pt is not the published file"):
        fetch(Wish(offer=offer, given=tmp_path / "download(1).pt"), tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []


@pytest.mark.parametrize("kind", ["sha256", "SHA256", "md5"])
def test_parameters_are_fetched_with_the_checksum_that_is_named(
    finder: Offer, archive: Path, tmp_path: Path, kind: str
) -> None:
    digest = hashlib.new(kind.lower(), archive.read_bytes()).hexdigest()
    wish = Wish(offer=finder, checksum=f"{kind}:{digest}".replace("SHA256:", ""))
    made = fetch(wish, tmp_path / "bundles", OPTIONS)
    assert made == tmp_path / "bundles/.hd-bet-2"
    assert verify_parameters(made).files == {name: sha256(name.encode()) for name in NAMES}
    assert unusual_files(finder, made) == ("fold_all/checkpoint_final.pth",)


def test_nothing_is_trusted_because_it_came(
    finder: Offer, publisher: Publisher, archive: Path, tmp_path: Path
) -> None:
    for wish in (Wish(offer=finder), Wish(offer=finder, given=archive)):
        with pytest.raises(DownloadFailed, match=r"zenodo\.org/records/14445620.*--checksum md5:"):
            fetch(wish, tmp_path / "bundles", OPTIONS)
    assert publisher.asked == []
    with pytest.raises(DownloadFailed, match="neither sha256:"):
        fetch(Wish(offer=finder, checksum="md5:12"), tmp_path / "bundles", OPTIONS)
    with pytest.raises(DownloadFailed, match="is not the published file"):
        fetch(Wish(offer=finder, checksum="0" * 64), tmp_path / "bundles", OPTIONS)
    with pytest.raises(BundleInvalid, match="has not the checksum"):
        fetch(Wish(offer=finder, checksum="0" * 64, given=archive), tmp_path / "bundles", OPTIONS)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_known_checksum_cannot_be_overruled(offer: Offer, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="are known; name none"):
        fetch(Wish(offer=offer, checksum="0" * 64), tmp_path / "bundles", OPTIONS)


@pytest.mark.parametrize("place", ["release_v1.5.0.zip", "."])
def test_a_carried_archive_is_found_as_a_file_or_in_its_folder(
    finder: Offer, archive: Path, tmp_path: Path, place: str
) -> None:
    wish = Wish(offer=finder, given=tmp_path / place, checksum=sha256(archive.read_bytes()))
    verify_parameters(fetch(wish, tmp_path / "bundles", OPTIONS))


def test_a_folder_without_the_archive_is_refused(finder: Offer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wish = Wish(offer=finder, given=tmp_path / "empty", checksum="0" * 64)
    with pytest.raises(BundleInvalid, match=r"release_v1\.5\.0\.zip absent"):
        fetch(wish, tmp_path / "bundles", OPTIONS)


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to write more, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_what_was_there(
    offer: Offer, finder: Offer, archive: Path, tmp_path: Path
) -> None:
    made = fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    before = bundle_sha256(made)
    with files_at_most(100), pytest.raises(DownloadFailed, match="cannot be written"):
        fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
    carried = Wish(offer=finder, given=archive, checksum=sha256(archive.read_bytes()))
    with files_at_most(10), pytest.raises(BundleInvalid, match="cannot be copied"):
        fetch(carried, tmp_path / "bundles", OPTIONS)
    assert bundle_sha256(made) == before
    assert list((tmp_path / "bundles").iterdir()) == [made]


def test_a_place_that_cannot_be_written_is_named(offer: Offer, tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file")
    with pytest.raises(DownloadFailed, match="cannot be written to bundles: File exists"):
        fetch(Wish(offer=offer), tmp_path / "bundles", OPTIONS)
