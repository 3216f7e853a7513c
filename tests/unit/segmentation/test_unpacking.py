"""ZIP archives: what is harmless comes out, the rest is refused before it can do harm."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import BundleInvalid
from node.segmentation.unpacking import UnpackLimits, unpack


def an_archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_files_come_out_where_they_were(tmp_path: Path) -> None:
    members = {"plans.json": b"{}", "fold_all/": b"", "fold_all/deep/w.pth": bytes(3_000_000)}
    unpack(an_archive(tmp_path / "a.zip", members), tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix(): p for p in (tmp_path / "out").rglob("*")}
    assert sorted(found) == ["fold_all", "fold_all/deep", "fold_all/deep/w.pth", "plans.json"]
    assert found["fold_all/deep/w.pth"].read_bytes() == bytes(3_000_000)


@pytest.mark.parametrize(
    "name", ["../up", "/etc/x", "a/../../up", "..", "a\\..\\up", "C:/x", "C:x", "."]
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    archive = an_archive(tmp_path / "a.zip", {"good": b"", name: b"evil"})
    with pytest.raises(BundleInvalid, match="lies outside"):
        unpack(archive, tmp_path / "in/out")
    assert [path.name for path in tmp_path.rglob("*")] != ["up"]
    assert list((tmp_path / "in/out").iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(BundleInvalid, match="a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "A"), ("a/", "a"), ("a", "a/b")])
def test_two_members_at_one_place_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    archive = an_archive(tmp_path / "a.zip", dict.fromkeys(names, b""))
    with pytest.raises(BundleInvalid, match="two files of one name"):
        unpack(archive, tmp_path / "out")


def test_a_bomb_is_refused_before_a_byte_of_it_is_written(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.zip", {"a": bytes(600_000), "b": bytes(600_000)})
    assert archive.stat().st_size < 3000
    with pytest.raises(BundleInvalid, match="more than 1000000 bytes"):
        unpack(archive, tmp_path / "out", UnpackLimits(total_bytes=1_000_000))
    assert list((tmp_path / "out").iterdir()) == []


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.zip", {str(n): b"" for n in range(6)})
    with pytest.raises(BundleInvalid, match="more than 5 files"):
        unpack(archive, tmp_path / "out", UnpackLimits(members=5))


def lie_about_the_length(content: bytes) -> bytes:
    """Say 4 bytes in the central directory, where the member has 300,000."""
    place = content.index(b"PK\x01\x02") + 24
    return content[:place] + (4).to_bytes(4, "little") + content[place + 4 :]


def encrypt(content: bytes) -> bytes:
    place = content.index(b"PK\x01\x02") + 8
    return content[:place] + b"\1" + content[place + 1 :]


def spoil_the_data(content: bytes) -> bytes:
    return content[:60] + b"\xff" * 20 + content[80:]


@pytest.mark.parametrize(
    "change", [lie_about_the_length, encrypt, spoil_the_data, lambda c: c[:-30], lambda _: b"no"]
)
def test_damaged_and_dishonest_archives_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    archive = an_archive(tmp_path / "a.zip", {"w": bytes(300_000)})
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(BundleInvalid):
        unpack(archive, tmp_path / "out")
    sizes = [path.stat().st_size for path in (tmp_path / "out").iterdir()]
    assert all(size <= 300_000 for size in sizes)


def test_unusual_compression_is_refused(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.zip", {"w": b"x" * 99}, zipfile.ZIP_LZMA)
    with pytest.raises(BundleInvalid, match="unusual"):
        unpack(archive, tmp_path / "out")


@given(st.data())
def test_no_damage_ends_in_anything_but_the_named_error(
    tmp_path_factory: pytest.TempPathFactory, drawn: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    archive = an_archive(folder / "a.zip", {"a/w": b"weights" * 9, "plans.json": b"{}"})
    content = bytearray(archive.read_bytes())
    for _ in range(drawn.draw(st.integers(1, 4))):
        content[drawn.draw(st.integers(0, len(content) - 1))] = drawn.draw(st.integers(0, 255))
    archive.write_bytes(content)
    try:
        unpack(archive, folder / "out", UnpackLimits(total_bytes=1000))
    except (BundleInvalid, OSError):
        return
    assert sum(path.stat().st_size for path in (folder / "out").rglob("*")) < 100_000
