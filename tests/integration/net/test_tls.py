"""Handshakes on real sockets: with whom, with whom not, and for how long."""

import contextlib
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from node.net.tls import ClientTls, ServerTls, TlsOptions, TlsRefused, subject_of
from tests.support.certificates import DAY, NOW, Authority
from tests.support.peers import program

LIMIT_S = 20.0
Outcome = str | TlsRefused


@pytest.fixture
def hospital(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(hospital: Authority) -> ServerTls:
    return ServerTls(hospital.issue("segnode"))


def answer(tls: ServerTls, connection: socket.socket, within_s: float) -> Outcome:
    """Shake hands and send back what comes; return the caller's subject, or the refusal."""
    try:
        secured = tls.shake_hands(connection, within_s)
    except TlsRefused as refused:
        assert connection.fileno() == -1
        return refused
    with secured:
        assert secured.gettimeout() is None
        with contextlib.suppress(OSError):  # a caller that hangs up at once
            secured.sendall(secured.recv(100))
        return subject_of(secured)


@contextlib.contextmanager
def meeting(
    tls: ServerTls, *, within_s: float = LIMIT_S
) -> Iterator[tuple[socket.socket, Callable[[], Outcome]]]:
    """Connect to a server that shakes hands; yield also how to wait for what it made of it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as pool,
        socket.create_connection(listening.getsockname()) as calling,
    ):
        accepted, _ = listening.accept()
        calling.settimeout(LIMIT_S)
        outcome = pool.submit(answer, tls, accepted, within_s)
        yield calling, lambda: outcome.result(LIMIT_S)


def say_hello(context: ssl.SSLContext, calling: socket.socket) -> bytes:
    """Shake hands as a client and return what is sent back; b"" when the server refuses."""
    try:
        with context.wrap_socket(calling) as secured:
            secured.sendall(b"hello")
            return secured.recv(100)
    except OSError:
        return b""


def outcome_for(tls: ServerTls, context: ssl.SSLContext) -> Outcome:
    with meeting(tls) as (calling, outcome):
        echoed = say_hello(context, calling)
        found = outcome()
        assert echoed == (b"hello" if isinstance(found, str) else b"")
        return found


def kind_for(tls: ServerTls, context: ssl.SSLContext) -> str:
    found = outcome_for(tls, context)
    return found.kind if isinstance(found, TlsRefused) else f"let in: {found}"


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Let a client speak one version; also one that nobody should."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def a_client(options: TlsOptions) -> ssl.SSLContext:
    return ClientTls(options).context


def without_certificate(hospital: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=hospital.path)
    context.check_hostname = False
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_a_certified_caller_is_let_in_and_known_by_name(
    tmp_path: Path, version: ssl.TLSVersion, key_type: trustme.KeyType
) -> None:
    hospital = Authority(tmp_path, key_type=key_type)
    tls = ServerTls(hospital.issue("segnode"))
    subject = outcome_for(tls, only(a_client(hospital.issue("MR1")), version))
    assert isinstance(subject, str)
    assert subject.endswith("commonName=MR1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_without_a_certificate_is_refused(
    hospital: Authority, tls: ServerTls, version: ssl.TLSVersion
) -> None:
    assert kind_for(tls, only(without_certificate(hospital), version)) == "no-certificate"


def test_a_site_may_let_callers_in_without_a_certificate(hospital: Authority) -> None:
    lax = ServerTls(hospital.issue("segnode", required=False))
    assert outcome_for(lax, without_certificate(hospital)) == ""


def test_a_bad_certificate_is_worse_than_none(tmp_path: Path, hospital: Authority) -> None:
    lax = ServerTls(hospital.issue("segnode", required=False))
    stranger = Authority(tmp_path, "stranger").issue("MR1")
    context = a_client(replace(stranger, authorities=hospital.path))
    assert kind_for(lax, context) == "untrusted"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_of_another_authority_is_refused(
    tmp_path: Path, hospital: Authority, tls: ServerTls, version: ssl.TLSVersion
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("MR1")
    context = a_client(replace(stranger, authorities=hospital.path))
    assert kind_for(tls, only(context, version)) == "untrusted"


def test_a_certificate_out_of_its_time_is_refused(hospital: Authority, tls: ServerTls) -> None:
    assert kind_for(tls, a_client(hospital.issue_expired("MR1"))) == "expired"
    early = hospital.issue("MR2", not_before=NOW + DAY, not_after=NOW + 2 * DAY)
    assert kind_for(tls, a_client(early)) == "expired"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_version_is_refused(
    hospital: Authority, tls: ServerTls, version: ssl.TLSVersion
) -> None:
    assert kind_for(tls, only(a_client(hospital.issue("MR1")), version)) == "version"


@pytest.mark.parametrize(
    "cipher", ["AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384"]
)
def test_a_cipher_without_forward_secrecy_or_aead_is_refused(
    hospital: Authority, tls: ServerTls, cipher: str
) -> None:
    context = only(a_client(hospital.issue("MR1")), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(cipher)
    assert kind_for(tls, context) == "version"


def test_a_caller_that_does_not_trust_us_is_told_apart(
    tmp_path: Path, hospital: Authority, tls: ServerTls
) -> None:
    ours = hospital.issue("MR1")
    stranger = Authority(tmp_path, "stranger")
    refused = outcome_for(tls, a_client(replace(ours, authorities=stranger.path)))
    assert isinstance(refused, TlsRefused)
    assert (refused.kind, refused.detail) == ("other", "TLSV1_ALERT_UNKNOWN_CA")


def test_our_own_client_is_named_the_reason_too(hospital: Authority, tmp_path: Path) -> None:
    stranger = ServerTls(Authority(tmp_path, "stranger").issue("segnode"))
    client = ClientTls(hospital.issue("MR1"))
    with meeting(stranger) as (calling, outcome):
        with pytest.raises(TlsRefused, match="untrusted"):
            client.shake_hands(calling, LIMIT_S)
        assert isinstance(outcome(), TlsRefused)


@pytest.mark.parametrize(
    ("name", "taken"), [("segnode.example.org", True), ("pacs.example.org", False)]
)
def test_our_own_client_checks_a_name_where_one_is_given(
    hospital: Authority, tls: ServerTls, name: str, *, taken: bool
) -> None:
    client = ClientTls(hospital.issue("MR1"), name)
    with meeting(tls) as (calling, outcome):
        if taken:
            with client.shake_hands(calling, LIMIT_S) as secured:
                secured.sendall(b"hello")
                assert secured.recv(100) == b"hello"
        else:
            with pytest.raises(TlsRefused, match="untrusted"):
                client.shake_hands(calling, LIMIT_S)
        assert isinstance(outcome(), str) is taken


def test_a_silent_caller_has_its_time(tls: ServerTls) -> None:
    with meeting(tls, within_s=0.2) as (_, outcome):
        refused = outcome()
    assert isinstance(refused, TlsRefused)
    assert refused.kind == "timeout"


def a_hello(hospital: Authority) -> bytes:
    """Return the ClientHello that a caller would send."""
    sent = ssl.MemoryBIO()
    calling = without_certificate(hospital).wrap_bio(ssl.MemoryBIO(), sent)
    with contextlib.suppress(ssl.SSLWantReadError):
        calling.do_handshake()
    return sent.read()


def drip(calling: socket.socket, data: bytes) -> int:
    """Send byte by byte until hung up on; return how many bytes left."""
    pause = threading.Event()
    for number in range(len(data)):
        try:
            calling.sendall(data[number : number + 1])
        except OSError:
            return number
        pause.wait(0.05)
    return len(data)


def test_a_drip_of_bytes_does_not_prolong_the_handshake(
    hospital: Authority, tls: ServerTls
) -> None:
    hello = a_hello(hospital)
    with meeting(tls, within_s=0.5) as (calling, outcome):
        assert drip(calling, hello) < len(hello)
        refused = outcome()
    assert isinstance(refused, TlsRefused)
    assert refused.kind == "timeout"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        bytes.fromhex("0100000000ce0001") + bytes(200),  # A-ASSOCIATE-RQ
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\x40\x00" + b"\xff" * 0x4000,
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_what_is_no_handshake_is_refused(tls: ServerTls, sent: bytes) -> None:
    with meeting(tls) as (calling, outcome):
        calling.sendall(sent)
        calling.shutdown(socket.SHUT_WR)
        refused = outcome()
    assert isinstance(refused, TlsRefused)
    assert refused.kind == "other"


def test_a_caller_that_hangs_up_is_refused(hospital: Authority, tls: ServerTls) -> None:
    with meeting(tls) as (calling, outcome):
        calling.sendall(a_hello(hospital)[:50])
        calling.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        calling.close()
        assert isinstance(outcome(), TlsRefused)


def test_an_authority_that_is_taken_out_lets_nobody_in_any_more(
    tmp_path: Path, hospital: Authority, tls: ServerTls
) -> None:
    caller = a_client(hospital.issue("MR1"))
    assert kind_for(tls, caller).startswith("let in")
    hospital.path.write_bytes(Authority(tmp_path, "successor").path.read_bytes())
    assert kind_for(tls, caller) == "untrusted"


def test_garbage_in_the_files_keeps_nobody_out_who_was_let_in(
    hospital: Authority, tls: ServerTls
) -> None:
    caller = a_client(hospital.issue("MR1"))
    (hospital.folder / "segnode.crt").write_bytes(b"garbage")
    hospital.path.unlink()
    assert kind_for(tls, caller).startswith("let in")
    assert tls.fault is not None


def test_an_open_connection_outlives_its_certificate(hospital: Authority, tls: ServerTls) -> None:
    with meeting(tls) as (calling, outcome):
        with a_client(hospital.issue("MR1")).wrap_socket(calling) as secured:
            hospital.issue("segnode")
            tls.context()
            secured.sendall(b"hello")
            assert secured.recv(100) == b"hello"
        assert isinstance(outcome(), str)


def test_a_subject_is_short_and_printable(hospital: Authority, tls: ServerTls) -> None:
    subject = outcome_for(
        tls, a_client(hospital.issue("MR1", common_name="MR\n1\x1b[31m" + "é" * 20))
    )
    assert isinstance(subject, str)
    assert subject.isprintable()
    assert "MR?1?[31m" in subject


@pytest.mark.system
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_shakes_hands(hospital: Authority, tls: ServerTls, version: str) -> None:
    options = hospital.issue("MR1")
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        command = [
            program("openssl", "openssl"),
            *("s_client", "-connect", f"127.0.0.1:{listening.getsockname()[1]}", version),
            *("-cert", str(options.certificate), "-key", str(options.key)),
            *("-CAfile", str(hospital.path), "-verify_return_error"),
        ]
        accepted = pool.submit(lambda: answer(tls, listening.accept()[0], LIMIT_S))
        done = subprocess.run(
            command, input=b"hello\n", capture_output=True, timeout=LIMIT_S, check=False
        )
        assert isinstance(accepted.result(LIMIT_S), str)
    said = done.stdout.decode(errors="replace")
    assert "Verify return code: 0 (ok)" in said
    assert "Secure Renegotiation IS" in said
    assert "Compression: NONE" in said
