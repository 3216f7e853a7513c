"""The listener over real sockets: what it takes, what it answers, who it lets in."""

import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pynetdicom import build_context

from node.dicom.part10 import read_file_meta
from node.domain.errors import ConfigurationInvalid, DestinationRefused, DestinationUnreachable
from node.listener.server import Listener
from node.net.dimse import MAX_PDU, CallingAE
from node.net.scu import echo, send_files
from node.store.journal import Committed, Entry
from node.store.record import read_record
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MARKED_NAME,
    MR,
    encode,
    mr_dataset,
    write_file,
)
from tests.support.listening import (
    Heard,
    answer_to,
    association,
    count_of,
    listening,
    peer_of,
)
from tests.support.peers import wait_until

COMPRESSED = [
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
]
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"


def objects_in(heard: Heard) -> list[tuple[str, str, bytes]]:
    """Return SOP Instance UID, transfer syntax and data set of what lies in the journal."""
    found: list[tuple[str, str, bytes]] = []
    for path in heard.files():
        with path.open("rb") as file:
            meta = read_file_meta(file)
            file.seek(0)
            record = read_record(file.read(128))
            assert record is not None
            file.seek(meta.offset)
            data = file.read(record.length - meta.offset)
        found.append((meta.sop_instance_uid, meta.transfer_syntax_uid, data))
    return found


def test_bytes_come_through_untouched_in_every_transfer_syntax(tmp_path: Path) -> None:
    files, expected = [], []
    for i, syntax in enumerate([IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, *COMPRESSED]):
        made = mr_dataset(i)
        if syntax in COMPRESSED:
            made.PixelData = encapsulate([bytes(range(i)) * 2])
            made["PixelData"].is_undefined_length = True
        files.append(write_file(tmp_path / f"{i}.dcm", made, syntax))
        expected.append((made.SOPInstanceUID, syntax, encode(made, syntax)))
    with listening(tmp_path / "spool") as heard:
        results = send_files(peer_of(heard), files)
    assert {result.status for result in results} == {0}
    assert objects_in(heard) == expected
    assert {news.calling_ae_title for news in heard.news} == {"MR1"}


def test_a_data_set_of_many_pdus_comes_in_one_piece(tmp_path: Path) -> None:
    made = mr_dataset(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)
    with listening(tmp_path / "spool", max_pdu=16384) as heard:
        results = send_files(peer_of(heard), [write_file(tmp_path / "a.dcm", made)])
    assert results[0].status == 0
    assert objects_in(heard)[0][2] == encode(made)


def test_a_refusal_has_its_status_names_its_reason_and_is_counted(tmp_path: Path) -> None:
    before = count_of("refused_total", '{code="unsupported-sop-class"}')
    refused = count_of("instances_received_total", '{outcome="refused"}')
    with listening(tmp_path) as heard:
        answer = answer_to(heard, mr_dataset(SOPClassUID=PRIVATE_CLASS))
    assert answer.Status == 0x0122
    assert answer.ErrorComment == "unsupported-sop-class"
    assert count_of("refused_total", '{code="unsupported-sop-class"}') == before + 1
    assert count_of("instances_received_total", '{outcome="refused"}') == refused + 1


def test_an_unforeseen_error_is_answered_and_its_text_stays_out_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.listener import arrival  # noqa: PLC0415
    from node.telemetry.logs import KeyValueFormatter  # noqa: PLC0415

    def crash(*_: object) -> None:
        raise ZeroDivisionError(MARKED_NAME)

    monkeypatch.setattr(arrival, "check", crash)
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(KeyValueFormatter())
    with listening(tmp_path) as heard:
        assert answer_to(heard, mr_dataset()).Status == 0x0110
        assert answer_to(heard, mr_dataset()).Status == 0x0110
    assert "ZeroDivisionError" in caplog.text
    assert MARKED_NAME not in caplog.text


@pytest.mark.parametrize("sop_class", [PRIVATE_CLASS, "1.2.840.10008.1.1", "1.2.3"])
def test_an_unknown_class_is_negotiated_so_that_it_can_be_refused_by_name(
    tmp_path: Path, sop_class: str
) -> None:
    with listening(tmp_path) as heard:
        answer = answer_to(heard, mr_dataset(SOPClassUID=sop_class))
    assert answer.Status == 0x0122
    assert heard.outcomes() == ["refused"]


def test_an_object_that_is_too_long_is_refused_and_the_association_goes_on(tmp_path: Path) -> None:
    big = mr_dataset(1, Rows=1024, Columns=1024, PixelData=bytes(2**21))
    files = [write_file(tmp_path / f"{i}.dcm", made) for i, made in enumerate([big, mr_dataset(2)])]
    with listening(tmp_path / "spool", longest=2**20) as heard:
        results = send_files(peer_of(heard), files)
    assert [result.status for result in results] == [0xA700, 0]
    assert [news.code for news in heard.news] == ["object-too-large", ""]


def test_echo_is_answered(tmp_path: Path) -> None:
    with listening(tmp_path) as heard:
        echo(peer_of(heard))


@pytest.mark.parametrize("callers", [("MR1",), ("MR1@127.0.0.1",), ("*@127.0.0.0/8",), ("*",)])
def test_an_invited_caller_gets_in(tmp_path: Path, callers: tuple[str, ...]) -> None:
    with listening(tmp_path, callers=callers) as heard:
        echo(peer_of(heard))


@pytest.mark.parametrize("callers", [("CT1",), ("MR1@10.0.0.1",), ("*@10.0.0.0/8",), ()])
def test_a_stranger_is_rejected_with_the_right_reason(
    tmp_path: Path, callers: tuple[str, ...]
) -> None:
    rejected = count_of("rejected_total", '{kind="calling-ae-title"}')
    with (
        listening(tmp_path, callers=callers) as heard,
        pytest.raises(DestinationRefused, match="Calling AE title not recognised"),
    ):
        echo(peer_of(heard))
    assert count_of("rejected_total", '{kind="calling-ae-title"}') == rejected + 1


def test_a_wrong_called_title_is_rejected_unless_it_does_not_matter(tmp_path: Path) -> None:
    with listening(tmp_path, require_called_ae_title=False) as heard:
        echo(peer_of(heard, called="OTHER"))
    with listening(tmp_path, require_called_ae_title=True) as heard:
        echo(peer_of(heard))
        with pytest.raises(DestinationRefused, match="Called AE title not recognised"):
            echo(peer_of(heard, called="OTHER"))


@pytest.mark.parametrize(("most", "most_per_caller"), [(1, 64), (64, 1)])
def test_one_association_too_many_is_rejected_for_now(
    tmp_path: Path, most: int, most_per_caller: int
) -> None:
    with listening(
        tmp_path, max_associations=most, max_associations_per_caller=most_per_caller
    ) as heard:
        with association(heard) as first:
            assert first.is_established
            with pytest.raises(DestinationUnreachable, match="Local limit exceeded"):
                echo(peer_of(heard, calling="CALLER"))
        wait_until(lambda: count_of("associations_open") == 0, "it is released", 10)
        echo(peer_of(heard))


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with listening(tmp_path) as heard:
        options = replace(heard.options, port=heard.port)
        second = Listener(options, heard.spool, heard.gate, heard.desk)
        with pytest.raises(ConfigurationInvalid, match=f"cannot listen on 127.0.0.1:{heard.port}"):
            second.start()
        second.stop()


@pytest.mark.parametrize("processes", [0, 1])
def test_associations_are_counted_from_open_to_end(tmp_path: Path, processes: int) -> None:
    released = count_of("associations_total", '{outcome="released"}')
    aborted = count_of("associations_total", '{outcome="aborted"}')
    with listening(tmp_path, processes=processes) as heard:
        with association(heard):
            wait_until(lambda: count_of("associations_open") == 1, "it is counted", 10)
        with association(heard) as second:
            second.abort()
        with association(heard) as third:
            third.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: len(heard.visits) == 3, "all have ended", 10)
        assert count_of("associations_open") == 0
    assert count_of("associations_total", '{outcome="released"}') == released + 1
    assert count_of("associations_total", '{outcome="aborted"}') == aborted + 2


@pytest.mark.parametrize("processes", [0, 1])
def test_a_visit_tells_how_the_sender_did(tmp_path: Path, processes: int) -> None:
    made = mr_dataset(1)
    files = [
        write_file(tmp_path / "a.dcm", made),
        write_file(tmp_path / "b.dcm", mr_dataset(2, SOPClassUID=PRIVATE_CLASS)),
    ]
    with listening(tmp_path / "spool", processes=processes) as heard:
        send_files(peer_of(heard), files)
        wait_until(lambda: heard.visits, "it has ended", 10)
    (visit,) = heard.visits
    assert (visit.calling_ae_title, visit.address, visit.outcome) == (
        "MR1",
        "127.0.0.1",
        "released",
    )
    assert (visit.instances, visit.refused, visit.duplicates) == (2, 1, 0)
    assert visit.size_bytes >= len(encode(made))
    assert visit.max_pdu == MAX_PDU
    assert visit.transfer_syntaxes == {EXPLICIT: 2}
    assert visit.seconds > 0


@pytest.mark.parametrize("processes", [0, 2])
def test_stopping_ends_every_association(tmp_path: Path, processes: int) -> None:
    with listening(tmp_path, processes=processes) as heard:
        ae = CallingAE("CALLER", timeout_s=20)
        callers = [
            ae.associate("127.0.0.1", heard.port, contexts=[build_context(MR)]) for _ in range(3)
        ]
        heard.listener.stop()
        for caller in callers:
            caller.join(10)
            assert not caller.is_established
        with pytest.raises(DestinationUnreachable):
            echo(peer_of(heard))


def test_what_is_being_committed_is_finished_before_stop_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    commit = Entry.commit

    def slow_commit(entry: Entry) -> Committed:
        inside.set()
        go_on.wait(10)
        return commit(entry)

    monkeypatch.setattr(Entry, "commit", slow_commit)
    with listening(tmp_path) as heard:
        sender = threading.Thread(target=lambda: answer_to(heard, mr_dataset()))
        sender.start()
        assert inside.wait(10)
        stopper = threading.Thread(target=heard.listener.stop)
        stopper.start()
        go_on.set()
        stopper.join(20)
        assert heard.outcomes() == ["stored"]
        sender.join(20)


@pytest.mark.parametrize("processes", [0, 2])
def test_several_senders_at_once_all_get_their_answers(tmp_path: Path, processes: int) -> None:
    files = [write_file(tmp_path / f"{i}.dcm", mr_dataset(i)) for i in range(40)]
    answers: list[int | None] = []
    with listening(tmp_path / "spool", processes=processes) as heard:
        senders = [
            threading.Thread(
                target=lambda part: answers.extend(
                    result.status for result in send_files(peer_of(heard), part)
                ),
                args=(files[i::4],),
            )
            for i in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)
    assert answers == [0] * 40
    assert {uid for uid, _, _ in objects_in(heard)} == {
        mr_dataset(i).SOPInstanceUID for i in range(40)
    }
