"""Port probes, half-open connections, garbage, lies and lost senders: no harm, nothing left."""

import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from node.net.scu import echo
from tests.support.dicom_objects import mr_dataset
from tests.support.listening import (
    answer_to,
    association,
    connect,
    count_of,
    listening,
    peer_of,
)
from tests.support.peers import wait_until


def is_hung_up_on(connection: socket.socket) -> bool:
    """Wait until the listener closes; what it says before does not matter."""
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        return True
    return True


def test_a_thousand_bare_connections_leave_nothing_behind(tmp_path: Path) -> None:
    ignored = count_of("associations_total", '{outcome="ignored"}')
    with listening(tmp_path / "spool") as heard:
        threads = threading.active_count()
        for _ in range(1000):
            connect(heard).close()
        wait_until(
            lambda: count_of("associations_total", '{outcome="ignored"}') == ignored + 1000,
            "all are seen",
            20,
        )
        assert threading.active_count() == threads
        echo(peer_of(heard))


def test_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    with listening(tmp_path / "spool", max_associations=2) as heard:
        threads = threading.active_count()
        waiting = [connect(heard) for _ in range(200)]
        echo(peer_of(heard))
        assert threading.active_count() <= threads + 2
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01\x00",
        struct.pack(">BBI", 1, 0, 200) + bytes(100),
    ],
)
def test_a_connection_that_does_not_ask_in_time_is_closed(tmp_path: Path, sent: bytes) -> None:
    with listening(tmp_path / "spool", patience_s=0.2) as heard, connect(heard) as slow:
        slow.sendall(sent)
        assert is_hung_up_on(slow)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",  # TLS
        struct.pack(">BBI", 1, 0, 2**32 - 1),
        struct.pack(">BBI", 4, 0, 10) + bytes(10),
        struct.pack(">BBI", 1, 0, 80) + bytes(80),  # a request without anything in it
    ],
)
def test_other_languages_are_hung_up_on(tmp_path: Path, sent: bytes) -> None:
    with listening(tmp_path / "spool") as heard:
        with connect(heard) as other:
            other.sendall(sent)
            assert is_hung_up_on(other)
        echo(peer_of(heard))


def raw(caller: Any) -> socket.socket:
    found: socket.socket = caller.dul.socket.socket
    return found


def test_a_pdu_of_absurd_length_ends_its_association_only(tmp_path: Path) -> None:
    with listening(tmp_path / "spool") as heard:
        with association(heard) as honest, association(heard) as liar:
            raw(liar).sendall(struct.pack(">BBI", 4, 0, 2**32 - 1) + bytes(1000))
            wait_until(lambda: not liar.is_established, "the liar is cut off", 10)
            assert honest.is_established
        assert answer_to(heard, mr_dataset()).Status == 0


def test_a_sender_lost_within_a_data_set_leaves_nothing_behind(tmp_path: Path) -> None:
    with listening(tmp_path / "spool") as heard:
        with association(heard) as caller:
            pdv = struct.pack(">IBB", 1002, 1, 0) + bytes(1000)
            raw(caller).sendall(struct.pack(">BBI", 4, 0, len(pdv)) + pdv[:500])
            raw(caller).shutdown(socket.SHUT_RDWR)
        wait_until(lambda: count_of("associations_open") == 0, "the association is gone", 10)
        assert heard.news == []
        assert answer_to(heard, mr_dataset()).Status == 0
