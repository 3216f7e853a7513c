"""TLS files: which are taken, how they are proved, and how they change under way."""

import logging
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.errors import ConfigurationInvalid
from node.net.tls import (
    CIPHERS_1_2,
    ClientTls,
    ServerTls,
    TlsOptions,
    _refused,
    certificate_end,
    server_context,
)
from tests.support.certificates import DAY, NOW, Authority


def fault_of(tls: ServerTls) -> str | None:
    return tls.fault


@pytest.fixture
def hospital(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def node(hospital: Authority) -> TlsOptions:
    return hospital.issue("segnode")


def test_only_what_the_profile_names_is_offered(node: TlsOptions) -> None:
    context = server_context(node)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.num_tickets == 0
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_NO_TICKET):
        assert context.options & option
    offered = context.get_ciphers()
    assert {entry["name"] for entry in offered if entry["protocol"] == "TLSv1.2"} == set(
        CIPHERS_1_2
    )
    assert all(entry["aead"] for entry in offered)
    assert {entry["protocol"] for entry in offered} == {"TLSv1.2", "TLSv1.3"}


def test_a_caller_without_a_certificate_is_asked_for_one_or_not(node: TlsOptions) -> None:
    lax = replace(node, client_certificate_required=False)
    assert server_context(lax).verify_mode is ssl.CERT_OPTIONAL
    assert server_context(replace(lax, authorities=None)).verify_mode is ssl.CERT_NONE
    with pytest.raises(ConfigurationInvalid, match="no authorities"):
        server_context(replace(node, authorities=None))


@pytest.mark.parametrize("part", ["certificate", "key", "authorities"])
@pytest.mark.parametrize(
    "content", [None, b"", b"garbage \xff\x00", b"-----BEGIN CERTIFICATE-----"]
)
def test_a_file_that_cannot_be_used_is_named(
    node: TlsOptions, part: str, content: bytes | None
) -> None:
    path: Path = getattr(node, part)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationInvalid) as caught:
        ServerTls(node)
    assert str(path) in caught.value.what


def test_a_key_of_another_certificate_is_refused(hospital: Authority, node: TlsOptions) -> None:
    other = hospital.issue("other")
    with pytest.raises(ConfigurationInvalid, match="key values mismatch"):
        ServerTls(replace(node, key=other.key))


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(node: TlsOptions) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = serialization.load_pem_private_key(node.key.read_bytes(), None)
    node.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for kind in (ServerTls, ClientTls):
        with pytest.raises(ConfigurationInvalid, match="passphrase"):
            kind(node)


def test_the_same_context_serves_while_nothing_changes(node: TlsOptions) -> None:
    tls = ServerTls(node)
    assert tls.context() is tls.context()
    assert tls.fault is None


def test_new_files_are_in_force_at_the_next_handshake(
    hospital: Authority, node: TlsOptions
) -> None:
    tls = ServerTls(node)
    old = tls.context()
    hospital.issue("segnode")
    assert tls.context() is not old
    assert tls.context() is tls.context()


def test_a_replaced_file_is_noticed_as_well_as_a_rewritten_one(
    hospital: Authority, node: TlsOptions
) -> None:
    tls = ServerTls(node)
    old = tls.context()
    again = node.authorities
    assert again is not None
    renewed = again.with_suffix(".new")
    renewed.write_bytes(again.read_bytes())
    renewed.replace(again)
    assert tls.context() is not old


@pytest.mark.parametrize("part", ["certificate", "key", "authorities"])
@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_bad_new_files_leave_the_old_ones_in_force(
    hospital: Authority,
    node: TlsOptions,
    part: str,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tls = ServerTls(node)
    old = tls.context()
    path: Path = getattr(node, part)
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with caplog.at_level(logging.INFO, "node.net.tls"):
        assert all(tls.context() is old for _ in range(5))
        assert str(path) in (fault_of(tls) or "")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        path.write_bytes(good)
        assert tls.context() is not old
    assert fault_of(tls) is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_certificate_without_its_key_waits_for_it(hospital: Authority, node: TlsOptions) -> None:
    tls = ServerTls(node)
    old = tls.context()
    old_key = node.key.read_bytes()
    hospital.issue("segnode")
    new_key = node.key.read_bytes()
    node.key.write_bytes(old_key)
    assert tls.context() is old
    node.key.write_bytes(new_key)
    assert tls.context() is not old
    assert tls.fault is None


@given(cut=st.floats(0, 0.99))
def test_a_half_written_certificate_is_never_in_force(
    tmp_path_factory: pytest.TempPathFactory, cut: float
) -> None:
    node = Authority(tmp_path_factory.mktemp("tls")).issue("segnode")
    tls = ServerTls(node)
    old = tls.context()
    whole = node.certificate.read_bytes().rstrip()
    node.certificate.write_bytes(whole[: int(len(whole) * cut)])
    assert tls.context() is old
    assert tls.fault is not None


def test_the_end_of_a_certificate_is_read_by_using_it(hospital: Authority) -> None:
    end = (NOW + 40 * DAY).replace(microsecond=0)
    assert certificate_end(hospital.issue("segnode", not_after=end)) == end


def test_the_end_is_also_read_from_a_chain(hospital: Authority, node: TlsOptions) -> None:
    assert node.authorities is not None
    chain = node.certificate.read_bytes() + node.authorities.read_bytes()
    node.certificate.write_bytes(chain)
    assert certificate_end(node) > NOW


def test_a_certificate_that_no_peer_would_take_is_told(hospital: Authority) -> None:
    with pytest.raises(ConfigurationInvalid, match="has expired"):
        certificate_end(hospital.issue_expired("segnode"))
    with pytest.raises(ConfigurationInvalid, match="not yet valid"):
        certificate_end(hospital.issue("segnode", not_before=NOW + DAY, not_after=NOW + 2 * DAY))


@given(st.sampled_from([OSError, ConnectionResetError, ssl.SSLError, ssl.SSLEOFError, ValueError]))
def test_whatever_ends_a_handshake_has_a_kind(error: type[Exception]) -> None:
    assert _refused(error("anything")).kind == "other"
