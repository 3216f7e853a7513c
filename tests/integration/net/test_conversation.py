"""Conversations with honest peers: pynetdicom, DCMTK, and one that speaks in bytes."""

import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import evt

from node.net.conversation import converse
from node.net.dimse import VERIFICATION
from node.net.storing import Ending, StoreAnswer
from node.net.tls import ClientTls, ServerTls, TlsOptions
from tests.support.certificates import Authority
from tests.support.conversing import (
    STORAGE,
    UID,
    Keeper,
    Kept,
    application_entity,
    caller,
    calling,
    command,
    data,
    limits,
    pdu,
    pdv,
    status_of,
    store_command,
    talking,
)
from tests.support.dicom_objects import EXPLICIT, IMPLICIT, MR, encode, mr_dataset, write_file

STORESCU = "/usr/bin/storescu"


def sent(association: Any, made: Dataset) -> int:
    encode(made)
    made["PixelData"].VR = "OW"
    return int(association.send_c_store(made).Status)


def test_an_echo_is_answered() -> None:
    handlers = [(evt.EVT_C_ECHO, lambda _: 0)]
    with talking(handlers=handlers) as talk, calling(talk, VERIFICATION) as association:
        assert association.send_c_echo().Status == 0
    assert talk.endings == [Ending.RELEASED]


def test_what_is_stored_is_what_was_sent_with_all_that_is_known_of_it() -> None:
    keeper = Keeper()
    handlers = [(evt.EVT_C_ECHO, lambda _: 0)]
    with talking(keeper, handlers) as talk, calling(talk, MR, VERIFICATION) as association:
        assert [sent(association, mr_dataset(i)) for i in range(3)] == [0, 0, 0]
        assert association.send_c_echo().Status == 0
        assert sent(association, mr_dataset(3)) == 0
    assert talk.endings == [Ending.RELEASED]
    for number, kept in enumerate(keeper.kept):
        made = mr_dataset(number)
        assert kept.request.sop_instance_uid == made.SOPInstanceUID
        assert kept.request.sop_class_uid == MR
        assert kept.request.transfer_syntax_uid == EXPLICIT
        assert kept.data == encode(made)
        assert (kept.party.calling_ae_title, kept.party.called_ae_title) == ("CALLER", "ANY-SCP")
        assert kept.party.address == "127.0.0.1"
        assert kept.party.max_pdu == 16382
        assert kept.timing is not None
        assert 0 <= kept.timing.longest_wait_s <= kept.timing.seconds
        assert not kept.is_abandoned


@pytest.mark.skipif(not Path(STORESCU).exists(), reason="DCMTK is not installed")
@pytest.mark.parametrize("pdu_length", ["4096", "16384", "131072"])
@pytest.mark.parametrize("no_delay", ["0", "1"])
def test_dcmtk_is_understood_in_pdus_of_every_length(
    tmp_path: Path, pdu_length: str, no_delay: str
) -> None:
    made = {str(i): mr_dataset(i, Rows=300, PixelData=bytes([i]) * 500_000) for i in range(4)}
    for name, data_set in made.items():
        write_file(tmp_path / name, data_set, IMPLICIT)
    keeper = Keeper()
    with talking(keeper) as talk:
        subprocess.run(
            [STORESCU, "+sd", "-pdu", pdu_length, "127.0.0.1", str(talk.address[1]), str(tmp_path)],
            check=True,
            env={"TCP_NODELAY": no_delay},
            timeout=60,
        )
    assert talk.endings == [Ending.RELEASED]
    assert {kept.request.sop_instance_uid for kept in keeper.kept} == {
        made[name].SOPInstanceUID for name in made
    }
    for kept in keeper.kept:
        name = kept.request.sop_instance_uid.rpartition(".")[2]
        assert made[name].PixelData in kept.data


def test_a_data_set_in_the_smallest_pieces_comes_whole() -> None:
    keeper = Keeper()
    usual = store_command()
    with talking(keeper) as talk, caller(talk) as peer:
        for byte in usual[:-1]:
            peer.say(command(bytes([byte]), control=1))
        peer.say(command(usual[-1:], control=3))
        for number in range(100):
            peer.say(data(bytes([number]), control=0))
        peer.say(data(b"", control=2))
        assert peer.statuses(1) == [0]
        peer.say(pdu(5))
        assert peer.hear() == (6, bytes(4))
    assert keeper.kept[0].data == bytes(range(100))


def test_several_messages_in_one_pdu_are_answered_in_order() -> None:
    keeper = Keeper()
    body = b"".join(
        pdv(STORAGE, 3, store_command(MessageID=i)) + pdv(STORAGE, 2, bytes([i])) for i in range(5)
    )
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(pdu(4, body), pdu(4, body), pdu(5))
        assert peer.statuses(10) == [0] * 10
        assert peer.hear() == (6, bytes(4))
    assert [kept.data for kept in keeper.kept] == [bytes([i]) for i in range(5)] * 2


def test_a_refusal_at_once_leaves_before_the_data_set_and_the_rest_is_drained() -> None:
    class Full(Keeper):
        def begin(self, *_: Any) -> StoreAnswer:
            return StoreAnswer(status=0xA700, comment="no space left")

    with talking(Full()) as talk, caller(talk) as peer:
        peer.say(command(store_command()))
        answer = peer.hear()
        assert answer is not None
        assert status_of(answer[1]) == 0xA700
        assert b"no space left" in answer[1]
        peer.say(data(bytes(9000), control=0), data(bytes(9000)))
        peer.say(command(store_command()), data(b"x"))
        assert peer.statuses(1) == [0xA700]


def test_a_refusal_in_the_middle_leaves_at_once_and_the_sink_hears_no_more() -> None:
    class Picky(Keeper):
        def on_write(self, kept: Kept) -> StoreAnswer | None:
            return StoreAnswer(status=0xC000) if len(kept.fragments) == 2 else None

    keeper = Picky()
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(command(store_command()), data(b"a", control=0), data(b"b", control=0))
        assert peer.statuses(1) == [0xC000]
        peer.say(data(b"c", control=0), data(b"d"), command(store_command()), data(b"e"))
        assert peer.statuses(1) == [0]
    assert [kept.fragments for kept in keeper.kept] == [[b"a", b"b"], [b"e"]]
    assert keeper.kept[0].timing is None
    assert not keeper.kept[0].is_abandoned


@pytest.mark.parametrize("where", ["begin", "on_write", "on_finish"])
def test_a_store_that_crashes_is_answered_and_ends_nothing(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Keeper):
        pass

    def crash(*_: Any) -> None:
        raise RuntimeError("boom")

    keeper = Broken()
    setattr(keeper, where, crash)
    with talking(keeper) as talk, caller(talk) as peer:
        for _ in range(2):
            peer.say(command(store_command()), data(b"a", control=0), data(b"b"))
            assert peer.statuses(1) == [0x0110]
        peer.say(pdu(5))
        assert peer.hear() == (6, bytes(4))
    assert all(kept.is_abandoned for kept in keeper.kept)
    assert talk.endings == [Ending.RELEASED]
    assert "storing crashed" in caplog.text


def test_a_store_without_a_data_set_is_answered() -> None:
    keeper = Keeper()
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(command(store_command(CommandDataSetType=0x0101)))
        peer.say(command(store_command()), data(b"x"))
        assert peer.statuses(2) == [0xA900, 0]
    assert [kept.data for kept in keeper.kept] == [b"x"]


@pytest.mark.parametrize(
    "uid", ["", "../../etc/passwd", "1.2\0.3", "9" * 65, "9" * 4000, "a b", "\xe4"]
)
def test_every_uid_goes_to_the_store_as_it_was_sent(uid: str) -> None:
    keeper = Keeper()
    padded = uid.encode("latin-1") + b"\0" * (len(uid) % 2)
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(command(store_command(AffectedSOPInstanceUID=padded)), data(b"x"))
        assert peer.statuses(1) == [0]
    assert [kept.request.sop_instance_uid for kept in keeper.kept] == [uid]


def test_a_command_of_an_unusual_form_is_read_by_pynetdicom() -> None:
    keeper = Keeper()
    unusual = store_command(ErrorComment="what for?")
    lacking = store_command(AffectedSOPInstanceUID=None)
    with talking(keeper) as talk, caller(talk) as peer:
        peer.say(command(unusual), data(b"x"), command(lacking), data(b"y"))
        assert peer.statuses(2) == [0, 0]
    assert [kept.request.sop_instance_uid for kept in keeper.kept] == [UID, ""]
    assert [kept.data for kept in keeper.kept] == [b"x", b"y"]


def test_a_peer_that_takes_only_short_pdus_gets_short_pdus() -> None:
    with talking() as talk, caller(talk, max_pdu=30) as peer:
        peer.say(command(store_command()), data(b"x"))
        parts: list[bytes] = []
        while not parts or not parts[-1][5] & 2:
            heard = peer.hear()
            assert heard is not None
            parts.append(heard[1])
        peer.say(pdu(5))
        assert peer.hear() == (6, bytes(4))
    assert max(map(len, parts)) <= 30
    assert status_of(b"".join(part[6:] for part in parts)) == 0


def test_an_answer_that_nobody_asked_for_is_nothing() -> None:
    with talking() as talk, caller(talk) as peer:
        peer.say(command(store_command(CommandField=0x8001)), data(b"x"))
        peer.say(command(store_command()), data(b"x"))
        assert peer.statuses(1) == [0]


def test_a_conversation_can_be_ended_from_another_thread() -> None:
    with talking() as talk, caller(talk) as peer:
        talk.conversations[0].end()
        assert peer.hear_all() == [(7, bytes(4))]
    assert talk.endings == [Ending.STOPPED]


def test_what_is_being_stored_is_finished_before_a_conversation_ends() -> None:
    begun, may_finish = threading.Event(), threading.Event()

    class Slow(Keeper):
        def on_finish(self, kept: Kept) -> StoreAnswer:
            begun.set()
            assert may_finish.wait(20)
            return super().on_finish(kept)

    with talking(Slow()) as talk, caller(talk) as peer:
        peer.say(command(store_command()), data(b"x"))
        assert begun.wait(20)
        talk.conversations[0].end()
        may_finish.set()
        assert peer.statuses(1) == [0]
        assert peer.hear_all() == [(7, bytes(4))]


def test_a_conversation_can_be_cut() -> None:
    with talking() as talk, caller(talk) as peer:
        peer.say(command(store_command()), data(b"x", control=0))
        talk.conversations[0].cut()
        peer.hear_all()
    assert talk.endings in ([Ending.STOPPED], [Ending.LOST])


def test_a_conversation_in_the_calling_thread_closes_its_connection() -> None:
    here, there = _connected()
    there.close()
    converse(application_entity(), here, ("127.0.0.1", 1), [], Keeper(), limits())
    assert here.fileno() == -1


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        return server.accept()[0], there


def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = ServerTls(authority.issue("segnode"))
    client: TlsOptions = authority.issue("scanner")
    keeper = Keeper()
    made = mr_dataset(1, Rows=300, PixelData=bytes(500_000))
    with talking(keeper, wrap=lambda connection: server.shake_hands(connection, 10)) as talk:
        context = ClientTls(client).context
        with calling(talk, MR, tls_args=(context, None)) as association:
            assert [sent(association, made) for _ in range(3)] == [0, 0, 0]
        with calling(talk, MR, tls_args=(context, None)) as association:
            talk.conversations[-1].end()
            association.join(20)
            assert association.is_aborted
    assert [kept.data for kept in keeper.kept] == [encode(made)] * 3
    assert talk.endings == [Ending.RELEASED, Ending.STOPPED]
