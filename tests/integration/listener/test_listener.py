"""The listener over real sockets: what it takes, what it answers, who it lets in."""

import logging
import socket
import threading
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pynetdicom import build_context

from node.domain import errors
from node.domain.errors import (
    ConfigurationInvalid,
    DestinationRefused,
    DestinationUnreachable,
    SegnodeError,
)
from node.domain.ids import AETitle
from node.listener.server import Listener, ListenerOptions
from node.net.dimse import CallingAE
from node.net.scu import echo, send_files
from node.store.admit import Admission, Incoming
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
    Recorder,
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


def test_bytes_come_through_untouched_in_every_transfer_syntax(tmp_path: Path) -> None:
    files, expected = [], []
    for i, syntax in enumerate([IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, *COMPRESSED]):
        made = mr_dataset(i)
        if syntax in COMPRESSED:
            made.PixelData = encapsulate([bytes(range(i)) * 2])
            made["PixelData"].is_undefined_length = True
        files.append(write_file(tmp_path / f"{i}.dcm", made, syntax))
        expected.append((made.SOPInstanceUID, syntax, encode(made, syntax)))
    admit = Recorder()
    with listening(admit) as listener:
        results = send_files(peer_of(listener), files)
    assert {result.status for result in results} == {0}
    assert expected == [(i.sop_instance_uid, i.transfer_syntax_uid, i.data_set) for i in admit.came]
    assert {(i.calling_ae_title, i.sop_class_uid) for i in admit.came} == {("MR1", MR)}


def test_a_data_set_of_many_pdus_comes_in_one_piece(tmp_path: Path) -> None:
    made = mr_dataset(Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)
    admit = Recorder()
    with listening(admit, max_pdu=16384) as listener:
        results = send_files(peer_of(listener), [write_file(tmp_path / "a.dcm", made)])
    assert results[0].status == 0
    assert admit.came[0].data_set == encode(made)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.NotDicom, 0xC000),
        (errors.MissingIdentifier, 0xA900),
        (errors.UnsupportedSopClass, 0x0122),
        (errors.SpoolUnwritable, 0xA700),
        (errors.LedgerUnavailable, 0xA700),
    ],
)
def test_a_refusal_has_its_status_and_names_its_reason(
    kind: type[SegnodeError], status: int
) -> None:
    refused = count_of("refused_total", f'{{code="{kind.code}"}}')
    with listening(Recorder(kind("why"))) as listener:
        answer = answer_to(listener, mr_dataset())
    assert answer.Status == status
    assert answer.ErrorComment == kind.code
    assert count_of("refused_total", f'{{code="{kind.code}"}}') == refused + 1


@pytest.mark.parametrize(
    ("admission", "status"),
    [
        (Admission.STORED, 0),
        (Admission.DUPLICATE, 0),
        (Admission.OURS, 0),
        (Admission.KEPT_ASIDE, 0x0111),
    ],
)
def test_what_was_not_refused_is_counted_by_what_became_of_it(
    admission: Admission, status: int
) -> None:
    label = f'{{outcome="{admission.value}"}}'
    before = count_of("instances_received_total", label)
    with listening(Recorder(admission)) as listener:
        assert answer_to(listener, mr_dataset()).Status == status
    assert count_of("instances_received_total", label) == before + 1


def test_an_unforeseen_error_is_answered_and_its_text_stays_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from node.telemetry.logs import KeyValueFormatter  # noqa: PLC0415

    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(KeyValueFormatter())
    with listening(Recorder(ZeroDivisionError(MARKED_NAME))) as listener:
        answer = answer_to(listener, mr_dataset())
        assert answer.Status == 0x0110
        assert answer_to(listener, mr_dataset()).Status == 0x0110
    assert "ZeroDivisionError" in caplog.text
    assert MARKED_NAME not in caplog.text


@pytest.mark.parametrize("sop_class", [PRIVATE_CLASS, "1.2.840.10008.5.1.4.1.1.9999.1", "1.2.3"])
def test_an_unknown_class_is_negotiated_so_that_it_can_be_refused_by_name(sop_class: str) -> None:
    admit = Recorder(errors.UnsupportedSopClass("why"))
    with listening(admit) as listener:
        answer = answer_to(listener, mr_dataset(SOPClassUID=sop_class))
    assert answer.Status == 0x0122
    assert admit.came[0].sop_class_uid == sop_class


def test_echo_is_answered() -> None:
    with listening(Recorder()) as listener:
        echo(peer_of(listener))


@pytest.mark.parametrize("callers", [("MR1",), ("MR1@127.0.0.1",), ("*@127.0.0.0/8",), ()])
def test_an_invited_caller_gets_in(callers: tuple[str, ...]) -> None:
    with listening(Recorder(), callers=callers) as listener:
        echo(peer_of(listener))


@pytest.mark.parametrize("callers", [("CT1",), ("MR1@10.0.0.1",), ("*@10.0.0.0/8",)])
def test_a_stranger_is_rejected_with_the_right_reason(callers: tuple[str, ...]) -> None:
    rejected = count_of("associations_total", '{outcome="rejected"}')
    with (
        listening(Recorder(), callers=callers) as listener,
        pytest.raises(DestinationRefused, match="Calling AE title not recognised"),
    ):
        echo(peer_of(listener))
    assert count_of("associations_total", '{outcome="rejected"}') == rejected + 1


def test_a_caller_that_cannot_be_read_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigurationInvalid, match="nowhere"):
        Listener(ListenerOptions(ae_title=AETitle("A"), callers=("MR1@nowhere",)), Recorder())


def test_a_wrong_called_title_is_rejected_only_if_asked_for() -> None:
    with listening(Recorder()) as listener:
        echo(peer_of(listener, called="OTHER"))
    with listening(Recorder(), require_called_ae_title=True) as listener:
        echo(peer_of(listener))
        with pytest.raises(DestinationRefused, match="Called AE title not recognised"):
            echo(peer_of(listener, called="OTHER"))


def test_one_association_too_many_is_rejected_for_now() -> None:
    with listening(Recorder(), max_associations=1) as listener:
        with association(listener) as first:
            assert first.is_established
            with pytest.raises(DestinationUnreachable, match="Local limit exceeded"):
                echo(peer_of(listener))
        wait_until(lambda: count_of("associations_open") == 0, "it is released", 10)
        echo(peer_of(listener))


def test_a_port_in_use_is_named() -> None:
    with listening(Recorder()) as listener:
        second = Listener(ListenerOptions(ae_title=AETitle("B"), port=listener.port), Recorder())
        with pytest.raises(
            ConfigurationInvalid, match=f"cannot listen on 127.0.0.1:{listener.port}"
        ):
            second.start()
        second.stop()


def test_associations_are_counted_from_open_to_end() -> None:
    released = count_of("associations_total", '{outcome="released"}')
    aborted = count_of("associations_total", '{outcome="aborted"}')
    with listening(Recorder()) as listener:
        with association(listener):
            assert count_of("associations_open") == 1
        with association(listener) as second:
            second.abort()
        with association(listener) as third:
            third.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: count_of("associations_open") == 0, "all have ended", 10)
    assert count_of("associations_total", '{outcome="released"}') == released + 1
    assert count_of("associations_total", '{outcome="aborted"}') == aborted + 2


def test_stopping_ends_every_association() -> None:
    with listening(Recorder()) as listener:
        ae = CallingAE("CALLER", timeout_s=20)
        callers = [
            ae.associate("127.0.0.1", listener.port, contexts=[build_context(MR)]) for _ in range(3)
        ]
        listener.stop()
        for caller in callers:
            caller.join(10)
            assert not caller.is_established
        with pytest.raises(DestinationUnreachable):
            echo(peer_of(listener))


def test_what_is_being_admitted_is_finished_before_stop_returns() -> None:
    inside, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def admit(incoming: Incoming) -> Admission:
        inside.set()
        go_on.wait(10)
        done.set()
        return Admission.STORED

    with listening(admit) as listener:
        sender = threading.Thread(target=lambda: answer_to(listener, mr_dataset()))
        sender.start()
        assert inside.wait(10)
        stopper = threading.Thread(target=listener.stop)
        stopper.start()
        go_on.set()
        stopper.join(20)
        assert done.is_set()
        sender.join(20)


def test_several_senders_at_once_all_get_their_answers(tmp_path: Path) -> None:
    files = [write_file(tmp_path / f"{i}.dcm", mr_dataset(i)) for i in range(40)]
    admit = Recorder()
    answers: list[int | None] = []
    with listening(admit) as listener:
        senders = [
            threading.Thread(
                target=lambda part: answers.extend(
                    result.status for result in send_files(peer_of(listener), part)
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
    assert {i.sop_instance_uid for i in admit.came} == {
        mr_dataset(i).SOPInstanceUID for i in range(40)
    }
