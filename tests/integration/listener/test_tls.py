"""The listener's TLS port: DCMTK and our own client, strangers, and silence."""

import contextlib
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import build_context

from node.net.dimse import VERIFICATION, CallingAE
from node.net.tls import ClientTls, TlsOptions
from node.telemetry.metrics import render
from tests.support.certificates import Authority
from tests.support.dicom_objects import mr_dataset, write_file
from tests.support.listening import Heard, listening
from tests.support.peers import program, wait_until

LIMIT_S = 30.0


@pytest.fixture
def hospital(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def storescu(heard: Heard, caller: TlsOptions, *paths: Path) -> subprocess.CompletedProcess[str]:
    command = [
        program("storescu", "dcmtk"),
        *("+tls", str(caller.key), str(caller.certificate), "+cf", str(caller.authorities)),
        *("-aet", "MR1", "-aec", "SEGNODE", "127.0.0.1", str(heard.listener.tls_port)),
        *map(str, paths),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def call(heard: Heard, client: ClientTls) -> Any:
    """Ask for an association over TLS."""
    return CallingAE("MR1", timeout_s=LIMIT_S).associate(
        "127.0.0.1",
        heard.listener.tls_port,
        contexts=[build_context(VERIFICATION)],
        tls_args=(client.context, None),
    )


def refused_handshakes() -> float:
    (line,) = (line for line in render()[0].decode().splitlines() if line.startswith(COUNTER))
    return float(line.rsplit(" ", 1)[1])


def a_hello(client: ClientTls) -> bytes:
    """Return the whole ClientHello of a caller."""
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    return sent.read()


COUNTER = 'segnode_rejected_total{kind="tls"}'


@pytest.mark.system
@pytest.mark.parametrize("processes", [0, 1])
def test_storescu_sends_over_tls(tmp_path: Path, hospital: Authority, processes: int) -> None:
    images = [write_file(tmp_path / f"{n}.dcm", mr_dataset(n)) for n in range(1, 4)]
    spool = tmp_path / "spool"
    with listening(spool, tls=hospital.issue("segnode"), processes=processes) as heard:
        done = storescu(heard, hospital.issue("MR1"), *images)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(heard.news) == 3, "all are told", LIMIT_S)
    assert heard.outcomes() == ["stored"] * 3


@pytest.mark.parametrize("processes", [0, 1])
def test_a_stranger_to_tls_gets_no_association(
    tmp_path: Path, hospital: Authority, processes: int
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("MR1")
    before = refused_handshakes()
    node = hospital.issue("segnode")
    with listening(tmp_path / "spool", tls=node, processes=processes) as heard:
        association = call(heard, ClientTls(replace(stranger, authorities=hospital.path)))
        assert not association.is_established
        wait_until(lambda: refused_handshakes() == before + 1, "it is counted", LIMIT_S)
        welcome = call(heard, ClientTls(hospital.issue("MR1")))
        assert welcome.send_c_echo().Status == 0
        welcome.release()


def test_a_certificate_alone_lets_nobody_in(tmp_path: Path, hospital: Authority) -> None:
    node = hospital.issue("segnode")
    with listening(tmp_path / "spool", tls=node, callers=("CT1",)) as heard:
        association = call(heard, ClientTls(hospital.issue("MR1")))
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)


def test_silent_callers_delay_nobody(tmp_path: Path, hospital: Authority) -> None:
    client = ClientTls(hospital.issue("MR1"))
    hello = a_hello(client)
    node = hospital.issue("segnode")
    with listening(tmp_path / "spool", tls=node, patience_s=LIMIT_S) as heard:
        address = ("127.0.0.1", heard.listener.tls_port)
        silent = [socket.create_connection(address) for _ in range(100)]
        for number, one in enumerate(silent):
            one.sendall(hello[:number] if number < 90 else hello)
        association = call(heard, client)
        assert association.send_c_echo().Status == 0
        association.release()
        for one in silent:
            one.close()


def test_a_new_certificate_is_shown_without_a_restart(tmp_path: Path, hospital: Authority) -> None:
    node = hospital.issue("segnode")
    client = ClientTls(hospital.issue("MR1"))
    with listening(tmp_path / "spool", tls=node) as heard:
        shown = []
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", heard.listener.tls_port)) as connection,
                client.shake_hands(connection, LIMIT_S) as secured,
            ):
                shown.append((secured.getpeercert() or {})["serialNumber"])
            hospital.issue("segnode")
    assert shown[0] != shown[1]
