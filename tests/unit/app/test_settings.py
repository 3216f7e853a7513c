"""The configuration file: what it may say and how it is refused."""

import re
from pathlib import Path

import pytest

from node.app.cli.initialise import NODE_YAML
from node.app.settings import (
    CallerAddress,
    Destination,
    Drop,
    Http,
    Limits,
    Listen,
    Overload,
    Retry,
    Section,
    Settings,
    Tls,
    Work,
    read_settings,
)
from node.domain.errors import ConfigurationInvalid
from node.listener.callers import parse_callers
from node.net.tls import TlsOptions


def written(folder: Path, text: str) -> Path:
    path = folder / "node.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_that_init_writes_says_the_defaults(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, NODE_YAML))
    assert settings.model_copy(update={"folder": Path(), "listen": Settings().listen}) == Settings()
    assert settings.listen.host == "0.0.0.0"


def test_what_is_commented_out_in_it_can_be_read_too(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?=  )", "", NODE_YAML)
    text = text.replace("peers: {}", "peers:").replace("destinations: {}", "destinations:")
    settings = read_settings(written(tmp_path, text))
    assert settings.listen.tls is not None
    assert "MR1" in settings.listen.peers
    assert "pacs" in settings.destinations


def test_the_example_of_callers_can_be_read() -> None:
    (entries,) = re.findall(r"#   callers: \[(.*)\]", NODE_YAML)
    assert len(parse_callers(entries.split(","))) == 3


def test_every_key_stands_in_the_file_that_init_writes() -> None:
    sections: tuple[type[Section], ...] = (
        *(Settings, Listen, Limits, Tls, CallerAddress, Http, Drop, Overload, Destination),
        *(Work, Retry),
    )
    keys = {key for section in sections for key in section.model_fields}
    absent = {key for key in keys if not re.search(rf"(?m)^#? *{key}:", NODE_YAML)}
    assert absent <= {"folder"}  # set by the reader


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
        ("listen: {callers: [MR1@host]}", "listen.callers"),
        ("listen: {processes: 65}", "listen.processes"),
        ("listen: {limits: {instance_mib: 0}}", "listen.limits.instance_mib"),
        ("listen: {peers: {MR1: {host: mr1}}}", "listen.peers.MR1.port"),
        ("listen: {peers: {'MR1;': {host: mr1, port: 104}}}", "listen.peers"),
        ("listen: {tls: {certificate: a.pem}}", "listen.tls.key"),
        ("listen: {tls: {certificate: a.pem, key: k.pem}}", "authorities"),
        ("listen: {port: 1, tls: {port: 1, certificate: a, key: k, authorities: c}}", "differ"),
        ("http: {stow_from: [everywhere]}", "http.stow_from"),
        ("overload: {most_unsettled: 0}", "overload.most_unsettled"),
        ("overload: 7", "overload"),
        ("{min_free_mib: 1, overload: {min_free_mib: 2}}", "min_free_mib is said twice"),
        ("{min_free_mib: 1, overload: 7}", "overload"),
        ("min_free_mib: -1", "overload.min_free_mib"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings(written(tmp_path, text))
    assert named in caught.value.what


def test_nobody_is_let_in_by_default() -> None:
    listen = Settings().listen
    assert listen.callers == ()
    assert listen.require_called_ae_title
    assert listen.tls is None
    assert Settings().http.stow_from == ()
    assert Settings().drop.folder is None


def test_the_watermark_of_free_space_is_also_read_at_its_old_place(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, "{min_free_mib: 7, overload: {most_unsettled: 9}}"))
    assert settings.overload == Overload(min_free_mib=7, most_unsettled=9)
    assert settings.min_free_mib == 7


def test_the_files_of_tls_lie_beside_the_configuration(tmp_path: Path) -> None:
    text = "listen: {tls: {certificate: node.pem, key: /k.pem, authorities: tls/ca.pem}}"
    settings = read_settings(written(tmp_path, text))
    assert settings.listen.tls is not None
    assert settings.listen.tls.port == 2762
    assert settings.tls_options == TlsOptions(
        certificate=tmp_path / "node.pem", key=Path("/k.pem"), authorities=tmp_path / "tls/ca.pem"
    )
    assert read_settings(written(tmp_path, "")).tls_options is None


def test_strangers_to_tls_may_be_let_in_without_certificates(tmp_path: Path) -> None:
    text = "listen: {tls: {certificate: c, key: k, client_certificate_required: false}}"
    options = read_settings(written(tmp_path, text)).tls_options
    assert options is not None
    assert options.authorities is None
    assert not options.client_certificate_required


def test_callers_may_be_told_where_they_listen(tmp_path: Path) -> None:
    text = "listen: {peers: {'MR 1': {host: mr1.example.org, port: 104}}}"
    (peer,) = read_settings(written(tmp_path, text)).listen.peers.items()
    assert peer == ("MR 1", CallerAddress(host="mr1.example.org", port=104))


def test_an_absent_file_is_a_named_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        read_settings(tmp_path / "node.yaml")
