"""Client and archive against each other, over real sockets, byte for byte."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.encaps import encapsulate
from pynetdicom import AE, evt

from node.dicom.part10 import read_file_meta
from node.domain.errors import ConfigurationInvalid, DestinationRefused, DestinationUnreachable
from node.domain.ids import AETitle
from node.net.archive import FolderArchive
from node.net.scu import NO_CONTEXT, Peer, echo, send_files
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    mr_dataset,
    write_file,
)

HTJ2K = "1.2.840.10008.1.2.4.201"
JPEG_LS = "1.2.840.10008.1.2.4.80"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@contextmanager
def archive(folder: Path, **options: Any) -> Iterator[FolderArchive]:
    running = FolderArchive(folder, **options)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def peer_of(port: int, *, ae_title: str = "ARCHIVE", timeout_s: float = 10) -> Peer:
    return Peer(
        ae_title=AETitle(ae_title),
        host="localhost",
        port=port,
        calling_ae_title=AETitle("SENDER"),
        timeout_s=timeout_s,
    )


def data_set_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[read_file_meta(io.BytesIO(content)).offset :]


def encapsulated(number: int) -> Any:
    made = mr_dataset(number, PixelData=encapsulate([b"not a codestream"]))
    made["PixelData"].is_undefined_length = True
    return made


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """One file in each of six transfer syntaxes."""
    folder = tmp_path / "sources"
    folder.mkdir()
    files = [
        write_file(folder / f"{i}.dcm", mr_dataset(i), syntax)
        for i, syntax in enumerate((IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN))
    ]
    files.append(write_file(folder / "4.dcm", encapsulated(4), JPEG_LS))
    files.append(write_file(folder / "5.dcm", encapsulated(5), HTJ2K))
    return files


def test_what_arrives_is_what_was_sent_in_every_syntax(tmp_path: Path, sources: list[Path]) -> None:
    sent: list[tuple[Path, int]] = []
    before = set(threading.enumerate())
    with archive(tmp_path / "archive") as running:
        results = send_files(
            peer_of(running.port), sources, lambda path, status: sent.append((path, status))
        )
        received = running.received
    assert [(r.path, r.status, r.error) for r in results] == [(p, 0, None) for p in sources]
    assert sent == [(path, 0) for path in sources]
    assert [r.sop_instance_uid for r in results] == [o.sop_instance_uid for o in received]
    for path, arrived in zip(sources, received, strict=True):
        assert data_set_of(arrived.path) == data_set_of(path)
        assert arrived.calling_ae_title == "SENDER"
        with arrived.path.open("rb") as file:
            assert read_file_meta(file).transfer_syntax_uid == arrived.transfer_syntax_uid
    assert set(threading.enumerate()) == before


def test_a_repeat_is_one_object_sent_twice(tmp_path: Path, sources: list[Path]) -> None:
    with archive(tmp_path / "archive") as running:
        for _ in range(2):
            send_files(peer_of(running.port), sources[:2])
        received = running.received
    assert [arrived.times for arrived in received] == [2, 2]
    assert len(list((tmp_path / "archive").iterdir())) == 2


def test_files_that_are_not_dicom_are_told_and_stop_nothing(
    tmp_path: Path, sources: list[Path]
) -> None:
    text = tmp_path / "readme.txt"
    text.write_text("not DICOM")
    with archive(tmp_path / "archive") as running:
        results = send_files(
            peer_of(running.port), [text, sources[0], tmp_path / "absent.dcm", sources[1]]
        )
    assert [result.status for result in results] == [None, 0, None, 0]
    assert results[0].sop_instance_uid is None
    assert results[0].error == "the file is not in the DICOM file format"
    assert results[2].error == "the file cannot be read: No such file or directory"


def test_more_classes_than_an_association_can_hold_take_several(tmp_path: Path) -> None:
    files = [
        write_file(
            tmp_path / f"{i}.dcm", mr_dataset(i, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.9999.{i}")
        )
        for i in range(1, 201)
    ]
    with archive(tmp_path / "archive") as running:
        results = send_files(peer_of(running.port), files)
        received = running.received
    assert {result.status for result in results} == {0}
    assert len(received) == 200


def test_nothing_to_send_calls_nobody() -> None:
    assert send_files(peer_of(1), []) == ()


def test_an_archive_can_be_told_to_answer_badly(tmp_path: Path, sources: list[Path]) -> None:
    seg = write_file(tmp_path / "seg.dcm", mr_dataset(9, SOPClassUID=SEGMENTATION))
    answers: Callable[[str], int] = {SEGMENTATION: 0xA700}.get  # type: ignore[assignment]
    with archive(tmp_path / "archive", answer=lambda uid: answers(uid) or 0xB000) as running:
        results = send_files(peer_of(running.port), [seg, sources[0]])
        received = running.received
    assert [result.status for result in results] == [0xA700, 0xB000]
    assert [arrived.sop_class_uid for arrived in received] == [mr_dataset().SOPClassUID]


def test_echo_is_silent_when_the_archive_is_there(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as running:
        echo(peer_of(running.port))


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as running:
        second = FolderArchive(tmp_path / "other", port=running.port)
        with pytest.raises(ConfigurationInvalid, match=f"127.0.0.1:{running.port}: Address"):
            second.start()
        second.stop()


@contextmanager
def other_peer(**settings: Any) -> Iterator[int]:
    """Run a stock pynetdicom SCP that knows only C-FIND, and give its port."""
    ae = AE(ae_title="OTHER")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.2.1.1")
    for name, value in settings.items():
        setattr(ae, name, value)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_a_peer_without_echo_is_a_refusal() -> None:
    with other_peer() as port, pytest.raises(DestinationRefused, match="does not offer C-ECHO"):
        echo(peer_of(port))


def test_a_rejection_tells_the_peers_reason(sources: list[Path]) -> None:
    with other_peer(require_called_aet=True) as port:
        with pytest.raises(DestinationRefused, match="Called AE title not recognised"):
            echo(peer_of(port))
        with pytest.raises(DestinationRefused, match="Called AE title not recognised"):
            send_files(peer_of(port), sources)


def test_nobody_there_is_unreachable(sources: list[Path]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for call in (lambda: echo(peer_of(port)), lambda: send_files(peer_of(port), sources)):
            with pytest.raises(DestinationUnreachable, match="cannot be reached"):
                call()


def test_an_unknown_host_is_unreachable() -> None:
    peer = Peer(
        ae_title=AETitle("A"), host="no.such.host.invalid", port=104, calling_ae_title=AETitle("B")
    )
    with pytest.raises(DestinationUnreachable, match="not known"):
        echo(peer)


def test_a_peer_that_takes_connections_and_is_silent_is_unreachable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        with pytest.raises(DestinationUnreachable, match="answers no association"):
            echo(peer_of(silent.getsockname()[1], timeout_s=0.5))


def test_a_file_without_an_accepted_context_is_told(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other peer takes everything while this process is unrestricted.
    monkeypatch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)
    with other_peer() as port:
        results = send_files(peer_of(port), sources[:2])
    assert [(result.status, result.error) for result in results] == [(None, NO_CONTEXT)] * 2


def test_an_archive_that_hangs_up_leaves_results_that_say_so(
    tmp_path: Path, sources: list[Path]
) -> None:
    def hang_up(event: Any) -> int:
        event.assoc.abort()
        return 0

    ae = AE(ae_title="RUDE")
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, hang_up)]
    )
    try:
        results = send_files(peer_of(server.server_address[1]), sources[:3])
    finally:
        server.shutdown()
    assert [result.status for result in results] == [None] * 3
    assert all(result.error for result in results)
