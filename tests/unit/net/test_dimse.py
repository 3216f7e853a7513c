"""The inner parts of pynetdicom that are replaced are still where they were."""

import socket
from types import SimpleNamespace

import pytest
from pynetdicom import AE, __version__, _config
from pynetdicom.transport import AssociationSocket

from node.net import dimse
from node.net.dimse import LONGEST_PDU, CallingAE, PeerSocket, resolve


def test_the_version_is_the_one_that_was_looked_into() -> None:
    assert __version__.startswith("3.0.")


@pytest.mark.parametrize(
    ("stock", "ours", "names"),
    [
        (AssociationSocket, PeerSocket, ["recv", "_shutdown_socket"]),
        (AE, CallingAE, ["_create_socket"]),
    ],
)
def test_what_is_replaced_exists(stock: type, ours: type, names: list[str]) -> None:
    assert issubclass(ours, stock)
    for name in names:
        assert name in vars(stock)
        assert name in vars(ours)


def test_the_settings_of_the_process_are_made() -> None:
    assert dimse.MAX_PDU < LONGEST_PDU
    assert _config.UNRESTRICTED_STORAGE_SERVICE
    assert _config.STORE_SEND_CHUNKED_DATASET
    assert _config.LOG_HANDLER_LEVEL == "none"


def peer_socket(connection: socket.socket) -> PeerSocket:
    events = SimpleNamespace(put=lambda _: None)
    association = SimpleNamespace(dul=SimpleNamespace(event_queue=events))
    return PeerSocket(association, client_socket=connection)


def test_a_read_waits_for_all_and_gives_what_there_is_at_the_end() -> None:
    here, there = socket.socketpair()
    with here, there:
        reader = peer_socket(here)
        there.sendall(b"abcdef")
        assert reader.recv(4) == b"abcd"
        there.shutdown(socket.SHUT_WR)
        assert reader.recv(4) == b"ef"
        assert reader.recv(4) == b""


def test_a_read_of_absurd_length_takes_no_memory() -> None:
    here, there = socket.socketpair()
    with here, there, pytest.raises(OSError, match="longer than any"):
        peer_socket(here).recv(2**32 - 1)


def test_a_connection_that_was_had_is_not_denied() -> None:
    here, there = socket.socketpair()
    with here, there:
        connected = peer_socket(here)
        connected.close()
        assert connected.socket is None
        assert connected._is_connected
        assert not connected.ready


def test_names_become_numeric_addresses() -> None:
    assert resolve("127.0.0.1", 104) == "127.0.0.1"
    assert resolve("localhost", 104) == "127.0.0.1"
    assert resolve("", 104) == "0.0.0.0"
    assert resolve("::1", 104) == "::1"
    with pytest.raises(OSError, match=r"."):
        resolve("no.such.host.invalid", 104)
