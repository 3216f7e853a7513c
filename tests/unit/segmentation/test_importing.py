"""Importing a bundle: whole, checked, in one step, or not at all."""

import os
from pathlib import Path

import pytest

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.bundle import bundle_sha256
from node.segmentation.importing import import_bundle, workplace
from node.segmentation.options import CASCADE_WEIGHTS
from tests.unit.segmentation.bundles import CASCADE, INTENSITY, a_bundle, change_manifest


def test_a_bundle_is_copied_as_it_is(tmp_path: Path) -> None:
    made = import_bundle(INTENSITY, tmp_path / "models")
    assert made == tmp_path / "models/intensity-glioma"
    assert bundle_sha256(made) == bundle_sha256(INTENSITY)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_an_older_bundle_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    made = import_bundle(INTENSITY, tmp_path)
    (made / "docs/README.md").write_text("old")
    (made / "left-over").write_text("old")
    assert bundle_sha256(import_bundle(INTENSITY, tmp_path)) == bundle_sha256(INTENSITY)


def test_a_refused_import_leaves_what_was_there(tmp_path: Path) -> None:
    made = import_bundle(INTENSITY, tmp_path / "models")
    source = a_bundle(tmp_path)
    (source / "LICENSE").unlink()
    with pytest.raises(BundleInvalid, match="LICENSE"):
        import_bundle(source, tmp_path / "models")
    assert bundle_sha256(made) == bundle_sha256(INTENSITY)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_a_read_only_source_is_imported(tmp_path: Path) -> None:
    source = a_bundle(tmp_path)
    (source / "docs").chmod(0o555)
    (source / "docs/README.md").chmod(0o444)
    made = import_bundle(source, tmp_path / "models")
    (made / "docs/README.md").write_text("can be changed")
    (source / "docs").chmod(0o755)


def test_a_bundle_with_links_is_refused(tmp_path: Path) -> None:
    source = a_bundle(tmp_path)
    (source / "docs/elsewhere").symlink_to("/etc/passwd")
    with pytest.raises(BundleInvalid, match="links"):
        import_bundle(source, tmp_path / "models")


def test_a_bundle_without_its_weights_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing):
        import_bundle(CASCADE, tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(BundleInvalid, match="neither"):
        import_bundle(tmp_path, tmp_path / "models")
    with pytest.raises(BundleMissing):
        import_bundle(tmp_path / "absent", tmp_path / "models")


def test_a_broken_manifest_of_ours_is_not_taken_for_a_foreign_one(tmp_path: Path) -> None:
    source = a_bundle(tmp_path)
    change_manifest(source, lambda ours: ours.pop("roles"))
    with pytest.raises(BundleInvalid, match="roles: Field required"):
        import_bundle(source, tmp_path / "models")


def test_a_destination_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(BundleInvalid, match="intensity-glioma cannot be copied: "):
        import_bundle(INTENSITY, tmp_path / "models")


def test_what_a_killed_import_left_behind_is_removed_a_day_later(tmp_path: Path) -> None:
    for name in (".work-old", ".work-new"):
        (tmp_path / name / "half").mkdir(parents=True)
    os.utime(tmp_path / ".work-old", (0, 0))
    made = import_bundle(INTENSITY, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {made.name, ".work-new"}


def test_a_new_bundle_that_cannot_get_its_name_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = import_bundle(INTENSITY, tmp_path)
    (made / "docs/README.md").write_text("old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == made and "replaced" not in self.parts:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BundleInvalid, match="No space left"):
        import_bundle(INTENSITY, tmp_path)
    assert (made / "docs/README.md").read_text() == "old"
    assert list(tmp_path.iterdir()) == [made]


def test_what_a_killed_import_had_put_aside_comes_back_if_nothing_took_its_place(
    tmp_path: Path,
) -> None:
    for name in (".hd-bet-2", "intensity-glioma", "lost"):
        old = tmp_path / ".work-killed/replaced" / name
        old.mkdir(parents=True)
        (old / "old").touch()
    (tmp_path / "intensity-glioma").mkdir()
    os.utime(tmp_path / ".work-killed", (0, 0))
    with workplace(tmp_path):
        pass
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        ".hd-bet-2",
        ".hd-bet-2/old",
        "intensity-glioma",
        "lost",
        "lost/old",
    ]


def test_arrays_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "arrays"
    source.mkdir()
    for name in CASCADE_WEIGHTS:
        (source / name).write_bytes(b"made up")
    with pytest.raises(BundleInvalid, match=r"wt_ax\..* is not the published file"):
        import_bundle(source, tmp_path / "models")
    (source / "wt_ax.safetensors").unlink()
    with pytest.raises(BundleInvalid, match=r"wt_ax\..* absent"):
        import_bundle(source, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
