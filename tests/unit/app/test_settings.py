"""The configuration file: what it may say and how it is refused."""

from pathlib import Path

import pytest

from node.app.cli.initialise import NODE_YAML
from node.app.settings import Settings, read_settings
from node.domain.errors import ConfigurationInvalid


def written(folder: Path, text: str) -> Path:
    path = folder / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_that_init_writes_says_the_defaults(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, NODE_YAML))
    assert settings.model_copy(update={"folder": Path(), "listen": Settings().listen}) == Settings()
    assert settings.listen.host == "0.0.0.0"


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, "")).ae_title == "SEGNODE"


def test_relative_paths_lie_beside_the_file(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "spool: images"))
    assert settings.resolve(settings.spool) == tmp_path / "images"
    assert settings.database_url == f"sqlite:///{tmp_path}/segnode.sqlite"


def test_a_server_database_is_left_as_it_is(tmp_path: Path) -> None:
    url = "postgresql+psycopg://segnode@db/segnode"
    settings = read_settings(written(tmp_path, f"database: {url}"))
    assert settings.database_url == url
    assert not settings.is_embedded


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("spol: images", "spol"),
        ("listen: {port: 99999}", "listen.port"),
        ("ae_title: far too long for an AE title", "ae_title"),
        ("destinations: {PACS!: {ae_title: A, host: h, port: 1}}", "destinations"),
        ("listen: [1", "not YAML"),
        ("- a list", "mapping"),
        ("folder: /", "mapping"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings(written(tmp_path, text))
    assert named in caught.value.what


def test_an_absent_file_is_a_named_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        read_settings(tmp_path / "node.yaml")
