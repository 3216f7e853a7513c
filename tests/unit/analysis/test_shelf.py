"""Bundles on the shelf: opened once, opened again when they changed, never mixed."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from node.analysis.bench import BundleShelf
from node.analysis.case import OPINIONS, Case, Tools
from node.analysis.steps import load_opinions
from node.app.defaults import default_bundles
from node.domain.errors import BundleInvalid, BundleMissing
from node.domain.regions import Region, Role

NAME = "intensity-glioma"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of bundles with one of ours."""
    shutil.copytree(default_bundles() / NAME, tmp_path / NAME)
    return tmp_path


def change(folder: Path) -> None:
    card = folder / NAME / "docs" / "README.md"
    card.write_text(card.read_text() + "\nChanged.\n")


def test_a_bundle_is_opened_once(folder: Path) -> None:
    shelf = BundleShelf((folder,))
    assert shelf.get(NAME) is shelf.get(NAME)


def test_a_changed_bundle_is_opened_again(folder: Path) -> None:
    shelf = BundleShelf((folder,))
    before = shelf.get(NAME)
    change(folder)
    assert shelf.get(NAME).sha256 != before.sha256


def test_a_bundle_that_is_being_replaced_is_waited_for(folder: Path, tmp_path: Path) -> None:
    shelf = BundleShelf((folder,))
    shelf.get(NAME)
    away = tmp_path / ".away"
    (folder / NAME).rename(away)
    back = threading.Timer(0.1, lambda: away.rename(folder / NAME))
    back.start()
    assert shelf.get(NAME).manifest.name == NAME
    back.join()


def test_a_bundle_that_is_gone_is_missing(folder: Path) -> None:
    shelf = BundleShelf((folder,))
    shelf.get(NAME)
    shutil.rmtree(folder / NAME)
    with pytest.raises(BundleMissing):
        shelf.get(NAME)


def test_labels_of_one_bundle_are_never_measured_by_another(folder: Path, tmp_path: Path) -> None:
    shelf = BundleShelf((folder,))
    bundle = shelf.get(NAME)
    content = {"bundle_sha256": bundle.sha256, "opinions_ml": {"WT": [1.0, 2.0]}}
    (tmp_path / OPINIONS).write_text(json.dumps(content))
    case = Case(folder=tmp_path, roles=(Role.T1C,), bundle=bundle, tools=Tools())
    assert load_opinions(case) == {Region.WT: (1.0, 2.0)}
    change(folder)
    changed = Case(folder=tmp_path, roles=(Role.T1C,), bundle=shelf.get(NAME), tools=Tools())
    with pytest.raises(BundleInvalid, match="was changed"):
        load_opinions(changed)
