"""`segnode init` writes what an administrator starts from."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.app.cli.main import app
from node.app.settings import read_settings
from node.domain.errors import ConfigurationInvalid
from node.rules.files import RuleBook


def test_init_writes_a_configuration_and_a_rule_that_are_valid(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "site")])
    assert result.exit_code == 0, result.output
    settings = read_settings(tmp_path / "site" / "node.yaml")
    book = RuleBook(settings.resolve(settings.rules))
    assert not book.errors()
    assert [rule.name for rule in book.current()] == ["glioma"]


def test_init_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("ae_title: MINE", encoding="utf-8")
    result = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert (tmp_path / "node.yaml").read_text(encoding="utf-8") == "ae_title: MINE"


def test_init_keeps_a_rule_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "glioma.yaml").write_text("# mine", encoding="utf-8")
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "rules" / "glioma.yaml").read_text(encoding="utf-8") == "# mine"


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "@host:104", "PACS@host:http", "A" * 17 + "@h:1"]
)
def test_a_peer_that_cannot_be_read_is_refused_by_name(text: str) -> None:
    result = CliRunner().invoke(app, ["send", ".", "--to", text])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert "AE@host:port" in result.exception.what
