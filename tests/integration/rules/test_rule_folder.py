"""A folder of rule files on a real disk: loading, following, and surviving bad edits."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.domain.errors import RuleInvalid
from node.rules.files import FOLDER, RuleBook
from tests.unit.rules.builders import DEFAULT_RULE_FILE, SMALL_RULE

LIMIT_S: Final = 20.0
OTHER_RULE: Final = SMALL_RULE.replace("name: small", "name: other")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "small.yaml").write_text(SMALL_RULE, encoding="utf-8")
    return folder


@pytest.fixture
def book(folder: Path) -> Iterator[RuleBook]:
    with RuleBook(folder, settle_s=0.02, look_s=60.0) as book:
        yield book


def names(book: RuleBook) -> list[str]:
    return [rule.name for rule in book.current()]


def after_change(book: RuleBook, generation: int) -> list[str]:
    """Return the names of the rules once the folder was read again."""
    assert book.wait_for_generation(generation + 1, LIMIT_S)
    return names(book)


def until(book: RuleBook, expected: list[str]) -> None:
    """Wait for a state that a change of several steps ends in."""
    generation = book.generation
    while names(book) != expected:
        assert book.wait_for_generation(generation + 1, LIMIT_S), names(book)
        generation += 1


def test_the_shipped_folder_loads_without_an_error() -> None:
    book = RuleBook(DEFAULT_RULE_FILE.parent)
    assert names(book) == ["glioma"]
    assert book.errors() == {}


def test_rules_come_in_the_order_of_their_file_names(folder: Path) -> None:
    (folder / "a.yml").write_text(OTHER_RULE, encoding="utf-8")
    (folder / ".hidden.yaml").write_text("nonsense", encoding="utf-8")
    (folder / "notes.txt").write_text("nonsense", encoding="utf-8")
    book = RuleBook(folder)
    assert names(book) == ["other", "small"]
    assert book.errors() == {}


def test_an_edit_in_place_is_taken_over(folder: Path, book: RuleBook) -> None:
    generation = book.generation
    (folder / "small.yaml").write_text(OTHER_RULE, encoding="utf-8")
    until(book, ["other"])
    assert book.generation > generation


def test_an_editor_that_writes_beside_and_renames_is_followed(folder: Path, book: RuleBook) -> None:
    generation = book.generation
    beside = folder / "small.yaml~"
    beside.write_text(OTHER_RULE, encoding="utf-8")
    os.replace(beside, folder / "small.yaml")  # noqa: PTH105 - what an editor does
    until(book, ["other"])
    assert book.generation > generation


def test_an_editor_that_keeps_a_backup_is_followed(folder: Path, book: RuleBook) -> None:
    (folder / "small.yaml").rename(folder / "small.yaml.bak")
    (folder / "small.yaml").write_text(OTHER_RULE, encoding="utf-8")
    until(book, ["other"])


def test_an_invalid_edit_keeps_the_last_valid_rule_and_is_told_once(folder: Path) -> None:
    told: list[tuple[str, RuleInvalid]] = []
    with RuleBook(folder, lambda name, error: told.append((name, error)), settle_s=0.02) as book:
        before = book.current()
        broken = SMALL_RULE.replace("bundle:", "bundel:")
        (folder / "broken.tmp").write_text(broken, encoding="utf-8")
        (folder / "broken.tmp").replace(folder / "small.yaml")
        generation = book.generation
        while not book.errors():
            assert book.wait_for_generation(generation + 1, LIMIT_S)
            generation += 1
        book.reload()
        assert book.current() == before
        assert "small.yaml, line 2: bundel" in book.errors()["small.yaml"].what
    assert [name for name, _ in told] == ["small.yaml"]


def test_a_mended_file_is_in_force_again_and_no_longer_an_error(folder: Path) -> None:
    book = RuleBook(folder)
    (folder / "small.yaml").write_text("name: [", encoding="utf-8")
    book.reload()
    assert list(book.errors()) == ["small.yaml"]
    (folder / "small.yaml").write_text(OTHER_RULE, encoding="utf-8")
    book.reload()
    assert names(book) == ["other"]
    assert book.errors() == {}


def test_a_new_file_is_taken_over_and_a_deleted_one_let_go(folder: Path, book: RuleBook) -> None:
    (folder / "other.yaml").write_text(OTHER_RULE, encoding="utf-8")
    until(book, ["other", "small"])
    (folder / "small.yaml").unlink()
    until(book, ["other"])
    assert book.errors() == {}


def test_reading_the_folder_is_not_taken_for_a_change_of_it(folder: Path, book: RuleBook) -> None:
    (folder / "small.yaml").write_text(OTHER_RULE, encoding="utf-8")
    until(book, ["other"])
    # Whatever events are left belong to the write; afterwards the folder is quiet.
    while book.wait_for_generation(book.generation + 1, 0.5):
        assert book.generation < 10
    assert names(book) == ["other"]


def test_two_files_of_one_name_leave_the_first_in_force(folder: Path) -> None:
    (folder / "twin.yaml").write_text(SMALL_RULE, encoding="utf-8")
    book = RuleBook(folder)
    assert [rule.source for rule in book.current()] == ["small.yaml"]
    assert "taken by small.yaml" in book.errors()["twin.yaml"].what


def test_a_folder_that_vanishes_leaves_the_rules_and_comes_back(folder: Path) -> None:
    book = RuleBook(folder)
    away = folder.rename(folder.with_name("away"))
    book.reload()
    assert names(book) == ["small"]
    assert FOLDER in book.errors()
    away.rename(folder)
    book.reload()
    assert names(book) == ["small"]
    assert book.errors() == {}


def test_changes_are_found_without_any_event(folder: Path) -> None:
    shutil.rmtree(folder)
    with RuleBook(folder, look_s=0.05) as book:  # nothing to follow: there is no folder
        assert names(book) == []
        assert FOLDER in book.errors()
        beside = folder.with_name("beside")
        beside.mkdir()
        (beside / "small.yaml").write_text(SMALL_RULE, encoding="utf-8")
        beside.rename(folder)
        until(book, ["small"])
        assert book.errors() == {}


def test_a_file_that_is_too_large_is_refused_without_reading_all_of_it(folder: Path) -> None:
    with (folder / "large.yaml").open("wb") as stream:
        stream.truncate(10_000_000_000)
    book = RuleBook(folder)
    assert "larger than 64 kB" in book.errors()["large.yaml"].what
    assert names(book) == ["small"]


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"name: caf\xe9\n", "line 1: not UTF-8 text"), (b"\xff\xfe", "not UTF-8"), (b"", "line 1")],
)
def test_a_file_that_is_no_text_is_told_by_name(folder: Path, data: bytes, said: str) -> None:
    (folder / "odd.yaml").write_bytes(data)
    error = RuleBook(folder).errors()["odd.yaml"]
    assert error.what.startswith("odd.yaml")
    assert said in error.what


def test_a_folder_with_the_suffix_of_a_rule_file_is_told_by_name(folder: Path) -> None:
    (folder / "folder.yaml").mkdir()
    assert "cannot be read" in RuleBook(folder).errors()["folder.yaml"].what


def test_a_byte_order_mark_is_no_part_of_the_rule(folder: Path) -> None:
    (folder / "small.yaml").write_text(SMALL_RULE, encoding="utf-8-sig")
    assert names(RuleBook(folder)) == ["small"]


def test_closing_twice_and_following_again_is_allowed(folder: Path) -> None:
    book = RuleBook(folder, settle_s=0.02)
    book.watch()
    book.watch()
    book.close()
    book.close()
    with book:
        (folder / "small.yaml").write_text(OTHER_RULE, encoding="utf-8")
        until(book, ["other"])
