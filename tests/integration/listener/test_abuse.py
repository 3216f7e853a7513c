"""Port probes, half-open connections, garbage, lies and lost senders: no harm, nothing left."""

import logging
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import build_context

from node.domain.errors import SpoolUnwritable
from node.listener import receiver
from node.net.dimse import CallingAE
from node.net.scu import echo
from node.store.journal import Journal
from tests.support.conversing import association_request, command, data, store_command
from tests.support.dicom_objects import MR, mr_dataset
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


def warnings_of(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == text]


def test_why_we_hung_up_is_said_in_one_line_that_quotes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(tmp_path / "spool") as heard:
        with connect(heard) as stranger:
            stranger.sendall(struct.pack(">BBI", 1, 0, 80) + b"DOE^JANE" * 10)
            assert is_hung_up_on(stranger)
        with association(heard) as liar:
            raw(liar).sendall(struct.pack(">BBI", 4, 0, 2**31))
            wait_until(lambda: not liar.is_established, "the liar is cut off", 10)
        wait_until(
            lambda: len(warnings_of(caplog, "an association was cut off")) == 2, "it is said", 10
        )
    for record in warnings_of(caplog, "an association was cut off"):
        assert (vars(record)["why"], vars(record)["address"]) == ("protocol-error", "127.0.0.1")


def test_a_full_disk_is_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refill(_: Journal) -> None:
        tried.append(1)
        raise SpoolUnwritable("The spool cannot be written: No space left on device.")

    monkeypatch.setattr(receiver, "TIDY_S", 0.001)
    monkeypatch.setattr(Journal, "refill", refill)
    with listening(tmp_path / "spool") as heard:
        wait_until(lambda: len(tried) > 10, "it was tried often", 10)
        assert answer_to(heard, mr_dataset()).Status == 0
    assert len(warnings_of(caplog, "no blanks can be made")) == 1


def test_memory_is_given_back_after_a_crowd_and_not_while_honest_senders_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(receiver, "TIDY_S", 0.001)
    monkeypatch.setattr(receiver, "CROWD", 5)
    monkeypatch.setattr(receiver, "give_memory_back", lambda: given.append(1))
    with listening(tmp_path / "spool", max_associations=3) as heard:
        for number in range(8):
            assert answer_to(heard, mr_dataset(number)).Status == 0
        assert given == []
        crowd = [connect(heard) for _ in range(10)]
        for one in crowd:
            one.sendall(association_request())
        wait_until(lambda: all(one.recv(1, socket.MSG_PEEK) for one in crowd), "all heard", 20)
        for one in crowd:
            one.close()
        wait_until(lambda: given, "memory is given back", 20)


def test_giving_memory_back_leaves_what_is_in_use() -> None:
    kept = [bytes([number % 256]) * 1000 for number in range(1000)]
    receiver.give_memory_back()
    assert all(one == bytes([number % 256]) * 1000 for number, one in enumerate(kept))


def test_transfer_syntaxes_that_are_made_up_do_not_make_a_visit_longer(tmp_path: Path) -> None:
    contexts = [build_context(MR, f"1.2.3.{number}") for number in range(40)]
    with listening(tmp_path / "spool") as heard:
        caller = CallingAE("CALLER", timeout_s=20).associate(
            "127.0.0.1", heard.port, contexts=contexts
        )
        assert len(caller.accepted_contexts) == 40
        for context in caller.accepted_contexts:
            raw(caller).sendall(command(store_command(), context.context_id))
            raw(caller).sendall(data(b"no data set", context.context_id))
        wait_until(lambda: len(heard.news) == 40, "all are refused", 10)
        caller.abort()
        wait_until(lambda: heard.visits, "the visit is over", 10)
    (visit,) = heard.visits
    assert len(visit.transfer_syntaxes) == 17
    assert visit.transfer_syntaxes["other"] == 24
