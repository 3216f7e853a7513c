"""STOW-RS over a real socket: who may, what is taken, and what is answered otherwise."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.domain.clock import SystemClock
from node.domain.errors import (
    ConfigurationInvalid,
    LedgerUnavailable,
    MissingIdentifier,
    Overloaded,
)
from node.listener import files
from node.store.admit import Admission, Admitter, Incoming
from node.store.ledger import open_ledger
from node.store.spool import Spool
from node.web.server import HttpServer, make_app
from node.web.stow import StowOptions, stow_router
from tests.support.admitting import Recorder
from tests.support.dicom_objects import DEFLATED, EXPLICIT, IMPLICIT, encode, mr_dataset
from tests.support.listening import count_of
from tests.support.peers import free_port
from tests.support.stow import (
    BOUNDARY,
    CONTENT_TYPE,
    a_stow_server,
    an_image,
    multipart,
    part10,
    post,
)

STUDY = "1.2.826.0.1.3680043.10.9.1"


def test_every_object_of_a_body_is_admitted_as_it_came(tmp_path: Path) -> None:
    admit = Recorder()
    made = [mr_dataset(1), mr_dataset(2), mr_dataset(3)]
    syntaxes = [EXPLICIT, IMPLICIT, DEFLATED]
    with a_stow_server(tmp_path, admit) as port:
        answer = post(port, multipart(map(part10, made, syntaxes)))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert [came.data_set for came in admit.came] == list(map(encode, made, syntaxes))
    assert [came.transfer_syntax_uid for came in admit.came] == syntaxes
    assert {came.calling_ae_title for came in admit.came} == {"STOW-RS"}
    told = [item.ReferencedSOPInstanceUID for item in answer.data_set().ReferencedSOPSequence]
    assert told == [item.SOPInstanceUID for item in made]


def test_a_body_in_chunks_of_any_size_is_the_same(tmp_path: Path) -> None:
    admit = Recorder()
    body = multipart([an_image(1), an_image(2)])
    with a_stow_server(tmp_path, admit) as port:
        answer = post(port, (body[at : at + 7] for at in range(0, len(body), 7)))
    assert answer.status == 200
    assert len(admit.came) == 2


def test_a_large_object_goes_by_a_temporary_file_and_comes_whole(tmp_path: Path) -> None:
    admit = Recorder()
    large = mr_dataset(1, Rows=1024, Columns=1024, PixelData=bytes(range(256)) * 8192)
    with a_stow_server(tmp_path, admit, memory_bytes=1000) as port:
        assert post(port, multipart([part10(large)])).status == 200
    assert admit.came[0].data_set == encode(large)


def test_repeats_are_acknowledged_and_conflicts_are_not(tmp_path: Path) -> None:
    for outcome, status in (
        (Admission.DUPLICATE, 200),
        (Admission.OURS, 200),
        (Admission.KEPT_ASIDE, 409),
    ):
        with a_stow_server(tmp_path, Recorder(outcome)) as port:
            answer = post(port, multipart([an_image()]))
        assert answer.status == status
    assert answer.data_set().FailedSOPSequence[0].FailureReason == 0x0111


def test_the_reasons_of_a_refusal_are_told_for_each_object(tmp_path: Path) -> None:
    def admit(incoming: Incoming) -> Admission:
        if incoming.sop_instance_uid.endswith(".2"):
            raise MissingIdentifier("no series")
        return Admission.STORED

    with a_stow_server(tmp_path, admit) as port:
        answer = post(port, multipart([an_image(1), an_image(2), b"no DICOM"]))
    assert answer.status == 202
    told = answer.data_set()
    assert [i.ReferencedSOPInstanceUID[-2:] for i in told.ReferencedSOPSequence] == [".1"]
    assert [i.FailureReason for i in told.FailedSOPSequence] == [0xA900]
    assert [i.FailureReason for i in told.OtherFailuresSequence] == [0xC000]


def test_a_site_that_cannot_store_says_come_again(tmp_path: Path) -> None:
    with a_stow_server(tmp_path, Recorder(LedgerUnavailable("locked"))) as port:
        answer = post(port, multipart([an_image()]))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.data_set().FailedSOPSequence[0].FailureReason == 0xA700


def test_an_overloaded_site_says_so_before_it_reads_the_body(tmp_path: Path) -> None:
    def ready() -> None:
        raise Overloaded("no room")

    admit = Recorder()
    with a_stow_server(tmp_path, admit, ready=ready) as port:
        answer = post(port, multipart([an_image()]))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert admit.came == []


def test_an_admission_that_crashes_is_a_failure_without_its_text(tmp_path: Path) -> None:
    with a_stow_server(tmp_path, Recorder(ValueError("Zzyzx^Marked"))) as port:
        answer = post(port, multipart([an_image()]))
    assert answer.status == 409
    assert answer.data_set().FailedSOPSequence[0].FailureReason == 0x0110
    assert b"Zzyzx" not in answer.body


def test_objects_of_another_study_than_the_one_named_are_refused(tmp_path: Path) -> None:
    admit = Recorder()
    body = multipart([an_image(1), an_image(2, StudyInstanceUID="1.2.3")])
    with a_stow_server(tmp_path, admit) as port:
        answer = post(port, body, path=f"/dicomweb/studies/{STUDY}")
        assert post(port, body, path="/dicomweb/studies/no-uid").status == 400
    assert answer.status == 202
    assert [i.FailureReason for i in answer.data_set().FailedSOPSequence] == [0xA900]
    assert len(admit.came) == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (CONTENT_TYPE.replace("application/dicom", "application/dicom+json"), 415),
        (CONTENT_TYPE.replace("application/dicom", "application/dicom+xml"), 415),
        (CONTENT_TYPE.replace("related", "form-data"), 415),
        ("application/dicom", 415),
        ("", 415),
        ("multipart/related; type=application/dicom", 400),
        ('multipart/related; type=application/dicom; boundary="a\tb"', 400),
        (f"multipart/related; boundary={BOUNDARY}", 200),
    ],
)
def test_only_binary_objects_are_taken(tmp_path: Path, content_type: str, status: int) -> None:
    with a_stow_server(tmp_path, Recorder()) as port:
        assert post(port, multipart([an_image()]), content_type=content_type).status == status


def test_a_part_of_metadata_in_a_body_of_objects_is_refused(tmp_path: Path) -> None:
    admit = Recorder()
    body = multipart([b"[{}]"], content_type="application/dicom+json")
    with a_stow_server(tmp_path, admit) as port:
        assert post(port, body).status == 415
    assert admit.came == []


def test_a_compressed_body_is_refused(tmp_path: Path) -> None:
    with a_stow_server(tmp_path, Recorder()) as port:
        headers = {"Content-Encoding": "gzip"}
        assert post(port, multipart([an_image()]), headers=headers).status == 415


@pytest.mark.parametrize(
    ("said", "status"), [(EXPLICIT, 200), ("*", 200), (IMPLICIT, 409), ("", 409)]
)
def test_a_part_must_not_contradict_the_transfer_syntax_of_its_file(
    tmp_path: Path, said: str, status: int
) -> None:
    content_type = f'application/dicom; transfer-syntax="{said}"'
    with a_stow_server(tmp_path, Recorder()) as port:
        assert post(port, multipart([an_image()], content_type=content_type)).status == status


def test_a_data_set_without_file_meta_group_is_refused(tmp_path: Path) -> None:
    with a_stow_server(tmp_path, Recorder()) as port:
        answer = post(port, multipart([encode(mr_dataset())]))
    assert answer.status == 409
    assert answer.data_set().OtherFailuresSequence[0].FailureReason == 0xC000


def test_the_answer_comes_in_the_form_that_was_asked_for(tmp_path: Path) -> None:
    with a_stow_server(tmp_path, Recorder()) as port:
        body = multipart([an_image()])
        xml = post(port, body, headers={"Accept": "image/png, application/dicom+xml;q=0.9"})
        none = post(port, body, headers={"Accept": "image/png"})
    assert xml.headers["content-type"] == "application/dicom+xml"
    assert xml.body.startswith(b"<?xml")
    assert none.status == 406


def test_an_address_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    admit = Recorder()
    for networks in (("192.0.2.0/24",), ()):
        with a_stow_server(tmp_path, admit, networks=networks) as port:
            forwarded = {"X-Forwarded-For": "192.0.2.1"}
            assert post(port, multipart([an_image()]), headers=forwarded).status == 403
    assert admit.came == []


def test_a_token_is_asked_for_where_there_is_one_and_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n", encoding="utf-8")
    body = multipart([an_image()])

    def status(port: int, authorization: str) -> int:
        return post(port, body, headers={"Authorization": authorization}).status

    with a_stow_server(tmp_path, Recorder(), token_file=token) as port:
        first = post(port, body)
        assert first.status == 401
        assert first.headers["www-authenticate"] == "Bearer"
        assert status(port, "Bearer wrong") == 401
        assert status(port, "Basic secret") == 401
        assert status(port, "Bearer secret") == 200
        token.write_text("other", encoding="utf-8")
        assert status(port, "Bearer secret") == 401
        assert status(port, "bearer other") == 200
        token.write_text("", encoding="utf-8")
        assert status(port, "Bearer ") == 503


def test_a_token_file_that_cannot_be_used_is_a_named_reason(tmp_path: Path) -> None:
    for content in (None, ""):
        token = tmp_path / "token"
        if content is not None:
            token.write_text(content, encoding="utf-8")
        options = StowOptions(networks=(), temporary=tmp_path, token_file=token)
        with pytest.raises(ConfigurationInvalid, match="token file"):
            stow_router(options, Recorder())


def test_an_object_over_the_limit_is_refused_and_the_others_are_taken(tmp_path: Path) -> None:
    admit = Recorder()
    large = part10(mr_dataset(2, PixelData=bytes(100_000)))
    with a_stow_server(tmp_path, admit, instance_bytes=50_000) as port:
        mixed = post(port, multipart([an_image(1), large, an_image(3)]))
        alone = post(port, multipart([large]))
    assert (mixed.status, alone.status) == (202, 413)
    assert len(admit.came) == 2


def test_a_body_over_the_limit_is_refused_and_what_was_taken_is_told(tmp_path: Path) -> None:
    admit = Recorder()
    body = multipart([an_image(1), bytes(400_000)])
    with a_stow_server(tmp_path, admit, request_bytes=200_000) as port:
        answer = post(port, (body[at : at + 50_000] for at in range(0, len(body), 50_000)))
        assert post(port, multipart([an_image(2)] * 3)).status == 200
    assert answer.status == 413
    assert len(answer.data_set().ReferencedSOPSequence) == 1


def test_a_body_that_is_announced_too_long_is_not_read(tmp_path: Path) -> None:
    admit = Recorder()
    with a_stow_server(tmp_path, admit, request_bytes=200_000) as port:
        assert post(port, multipart([an_image(1), bytes(400_000)])).status == 413
    assert admit.came == []


def test_more_objects_than_one_request_may_bring_are_not_read(tmp_path: Path) -> None:
    admit = Recorder()
    with a_stow_server(tmp_path, admit, most_parts=2) as port:
        answer = post(port, multipart([an_image(number) for number in range(1, 6)]))
    assert answer.status == 413
    assert len(admit.came) == 2


@pytest.mark.parametrize("body", [b"", b"nonsense", f"--{BOUNDARY}--\r\n".encode()])
def test_a_body_without_an_object_is_a_bad_request(tmp_path: Path, body: bytes) -> None:
    with a_stow_server(tmp_path, Recorder()) as port:
        assert post(port, body).status == 400


def test_a_body_that_ends_early_is_a_bad_request_and_tells_what_was_taken(tmp_path: Path) -> None:
    admit = Recorder()
    body = multipart([an_image(1), an_image(2)])[: -len(BOUNDARY) - 100]
    with a_stow_server(tmp_path, admit) as port:
        answer = post(port, body)
    assert answer.status == 400
    assert len(answer.data_set().ReferencedSOPSequence) == len(admit.came) == 1


def open_request(port: int, declared: int, sent: bytes) -> socket.socket:
    """Begin a request and send only a part of what is declared."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = (
        f"POST /dicomweb/studies HTTP/1.1\r\nHost: here\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {declared}\r\n\r\n"
    )
    connection.sendall(head.encode() + sent)
    return connection


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


def test_a_sender_that_falls_silent_in_the_body_is_answered_and_closed(tmp_path: Path) -> None:
    with (
        a_stow_server(tmp_path, Recorder(), idle_s=0.2) as port,
        open_request(port, 10_000, b"--") as connection,
    ):
        assert read_all(connection).startswith(b"HTTP/1.1 408")


def test_a_sender_that_drips_is_ended_by_the_limit_for_the_whole(tmp_path: Path) -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        for byte in multipart([an_image()]):
            if ended.wait(0.02):
                return
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return

    with (
        a_stow_server(tmp_path, Recorder(), request_s=0.3) as port,
        open_request(port, 10_000_000, b"") as connection,
    ):
        thread = threading.Thread(target=drip, args=(connection,))
        thread.start()
        answer = connection.recv(4096)
        ended.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_sender_that_leaves_in_the_middle_leaves_what_was_whole(tmp_path: Path) -> None:
    came = threading.Event()
    admit = Recorder()

    def counted(incoming: Incoming) -> Admission:
        came.set()
        return admit(incoming)

    body = multipart([an_image(1), an_image(2)])
    with a_stow_server(tmp_path, counted) as port:
        with open_request(port, len(body), body[:-200]):
            assert came.wait(30)
        assert post(port, multipart([an_image(3)])).status == 200
    assert len(admit.came) == 2


class Held:
    """An `admit` that holds until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, incoming: Incoming) -> Admission:
        self.entered.release()
        assert self.go.wait(30)
        return Admission.STORED


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.go.set()


def test_more_requests_than_places_are_told_to_come_again(tmp_path: Path, held: Held) -> None:
    statuses: list[int] = []
    body = multipart([an_image()])
    with a_stow_server(tmp_path, held, requests_at_once=2) as port:
        threads = [
            threading.Thread(target=lambda: statuses.append(post(port, body).status))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert held.entered.acquire(timeout=30)
        third = post(port, body)
        held.go.set()
        for thread in threads:
            thread.join()
        assert post(port, body).status == 200
    assert third.status == 503
    assert "retry-after" in third.headers
    assert statuses == [200, 200]


@pytest.mark.parametrize("size", [files.MAPPED_FROM - 1, 3 * files.MAPPED_FROM])
def test_a_long_object_is_taken_by_a_real_admitter_as_it_came(tmp_path: Path, size: int) -> None:
    long = mr_dataset(1, PixelData=bytes(range(256)) * (size // 256))
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    admitter = Admitter(Spool(tmp_path / "spool"), ledger, SystemClock())
    with a_stow_server(tmp_path / "spool", admitter.admit) as port:
        for _ in range(2):
            assert post(port, multipart([part10(long)])).status == 200
    found = ledger.intake.find_instance(long.SOPInstanceUID)
    assert found is not None
    assert (tmp_path / "spool" / found.path).read_bytes().endswith(encode(long))
    admitter.close()
    ledger.close()


def test_health_is_told_while_bodies_are_being_taken_in(tmp_path: Path, held: Held) -> None:
    with a_stow_server(tmp_path, held) as port:
        thread = threading.Thread(target=post, args=(port, multipart([an_image()])))
        thread.start()
        assert held.entered.acquire(timeout=30)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        held.go.set()
        thread.join()


def test_a_sender_that_asks_first_is_refused_before_it_sends_its_body(tmp_path: Path) -> None:
    with (
        a_stow_server(tmp_path, Recorder(), networks=()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(
            b"POST /dicomweb/studies HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\n"
            b"Content-Type: " + CONTENT_TYPE.encode() + b"\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert read_all(connection).startswith(b"HTTP/1.1 403")


def test_what_comes_is_counted_as_if_it_had_come_by_c_store(tmp_path: Path) -> None:
    before = count_of("instances_received_total", '{outcome="stored"}')
    refused = count_of("refused_total", '{code="not-dicom"}')
    with a_stow_server(tmp_path, Recorder()) as port:
        post(port, multipart([an_image(1), b"no DICOM"]))
    assert count_of("instances_received_total", '{outcome="stored"}') == before + 1
    assert count_of("refused_total", '{code="not-dicom"}') == refused + 1


def test_where_nobody_may_send_the_way_does_not_exist() -> None:
    port = free_port()
    server = HttpServer(make_app(lambda: (b"", ""), tuple), "127.0.0.1", port)
    server.start()
    try:
        assert post(port, multipart([an_image()])).status == 404
    finally:
        server.stop()
