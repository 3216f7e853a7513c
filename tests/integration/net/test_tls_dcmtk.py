"""DCMTK over TLS, in both directions: what hospitals have been using for long."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from pynetdicom import AE

from node.net.archive import FolderArchive
from node.net.dimse import VERIFICATION
from node.net.tls import ClientTls, ServerTls, TlsOptions, TlsRefused
from tests.support.certificates import Authority
from tests.support.dicom_objects import mr_dataset, write_file
from tests.support.peers import free_port, program, wait_until

pytestmark = pytest.mark.system

LIMIT_S = 30.0


def dcmtk(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program(name, "dcmtk"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def identity(options: TlsOptions) -> tuple[object, ...]:
    """Return DCMTK's arguments for a certificate and for whom it trusts."""
    return ("+tls", options.key, options.certificate, "+cf", options.authorities)


def pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way until one side has had enough."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def in_front_of(archive: FolderArchive, tls: ServerTls) -> Iterator[tuple[int, list[str]]]:
    """Serve TLS before an archive that speaks none; yields the port and the refusals."""
    refused: list[str] = []

    def serve(connection: socket.socket) -> None:
        try:
            secured = tls.shake_hands(connection, LIMIT_S)
        except TlsRefused as refusal:
            refused.append(refusal.kind)
            return
        with secured, socket.create_connection((archive.host, archive.port)) as behind:
            back = threading.Thread(target=pump, args=(behind, secured))
            back.start()
            pump(secured, behind)
            back.join()

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by the test
            while True:
                pool.submit(serve, listening.accept()[0])

    archive.start()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(8) as pool:
        pool.submit(accept, listening)
        try:
            yield listening.getsockname()[1], refused
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    archive.stop()


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_storescu_sends_over_tls_with_each_of_its_profiles(
    tmp_path: Path, key_type: trustme.KeyType, profile: str
) -> None:
    hospital = Authority(tmp_path, key_type=key_type)
    archive = FolderArchive(tmp_path / "archive")
    sent = write_file(tmp_path / "a.dcm", mr_dataset())
    with in_front_of(archive, ServerTls(hospital.issue("segnode"))) as (port, refused):
        caller = identity(hospital.issue("MR1"))
        done = dcmtk("storescu", *caller, profile, "-aec", "ARCHIVE", "127.0.0.1", port, sent)
    assert done.returncode == 0, done.stderr
    assert refused == []
    assert len(archive.received) == 1


def test_dcmtk_without_a_certificate_is_refused(tmp_path: Path) -> None:
    hospital = Authority(tmp_path)
    archive = FolderArchive(tmp_path / "archive")
    with in_front_of(archive, ServerTls(hospital.issue("segnode"))) as (port, refused):
        done = dcmtk("echoscu", "+tla", "-ic", "-aec", "ARCHIVE", "127.0.0.1", port)
        wait_until(lambda: refused == ["no-certificate"], "the refusal is known", LIMIT_S)
    assert done.returncode != 0


def test_dcmtk_of_another_hospital_is_refused(tmp_path: Path) -> None:
    hospital, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    archive = FolderArchive(tmp_path / "archive")
    caller = replace(stranger.issue("MR1"), authorities=hospital.path)
    with in_front_of(archive, ServerTls(hospital.issue("segnode"))) as (port, refused):
        done = dcmtk("echoscu", *identity(caller), "-aec", "ARCHIVE", "127.0.0.1", port)
        wait_until(lambda: refused == ["untrusted"], "the refusal is known", LIMIT_S)
    assert done.returncode != 0


def test_dcmtk_with_the_retired_profile_is_refused(tmp_path: Path) -> None:
    hospital = Authority(tmp_path, key_type=trustme.KeyType.RSA)
    archive = FolderArchive(tmp_path / "archive")
    caller = identity(hospital.issue("MR1"))
    with in_front_of(archive, ServerTls(hospital.issue("segnode"))) as (port, refused):
        done = dcmtk("echoscu", *caller, "+pa", "-aec", "ARCHIVE", "127.0.0.1", port)
        wait_until(lambda: refused == ["version"], "the refusal is known", LIMIT_S)
    assert done.returncode != 0


def test_our_client_calls_storescp_over_tls(tmp_path: Path) -> None:
    hospital = Authority(tmp_path)
    port = free_port()
    command = [program("storescp", "dcmtk"), *map(str, identity(hospital.issue("pacs")))]
    client = ClientTls(hospital.issue("segnode"))
    with subprocess.Popen([*command, "-od", str(tmp_path), str(port)]) as storescp:
        try:
            wait_until(lambda: is_open(port), "storescp listens", LIMIT_S)
            ae = AE(ae_title="SEGNODE")
            ae.add_requested_context(VERIFICATION)
            association = ae.associate(
                "127.0.0.1", port, ae_title="PACS", tls_args=(client.context, None)
            )
            assert association.is_established
            assert association.send_c_echo().Status == 0
            association.release()
        finally:
            storescp.terminate()


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
