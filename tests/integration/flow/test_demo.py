"""The demo as a user runs it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.app.cli.main import app
from node.app.demo import MARK, empty_folder
from node.domain.errors import ConfigurationInvalid


@pytest.mark.slow
def test_the_demo_ends_with_results_in_the_archive(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "demo")])
    assert done.exit_code == 0, done.output
    for expected in (
        "the study was judged COMPLETE",
        "evidence: quiet for",
        "T1C",
        "DELIVERED",
        "all stages",
        "1 x Segmentation Storage",
        "x Secondary Capture Image Storage",
        "Dice",
        "picture of the overlay",
    ):
        assert expected in done.output
    (picture,) = (tmp_path / "demo" / "spool" / "work").glob("*/overlay.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not list(picture.parent.glob("*.volume")), "intermediate volumes are cleared away"


def test_the_demo_touches_no_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(ConfigurationInvalid):
        empty_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_the_demo_makes_its_own_folder_anew(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    (tmp_path / "old").touch()
    empty_folder(tmp_path)
    assert not (tmp_path / "old").exists()
