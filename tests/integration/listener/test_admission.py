"""From the socket to spool and ledger: listener and store together."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.dicom.part10 import read_file_meta, write_part10
from node.domain.clock import SystemClock
from node.domain.ids import AETitle, SOPInstanceUID
from node.listener.server import Listener, ListenerOptions
from node.net.scu import Peer, SendResult, send_files
from node.store.admit import Admitter
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool
from tests.support.dicom_objects import DEFLATED, EXPLICIT, MR, encode, mr_dataset, write_file


@dataclass(frozen=True, slots=True)
class Node:
    """A listener over a real spool and ledger."""

    folder: Path
    spool: Spool
    ledger: Ledger
    peer: Peer

    def send(self, *paths: Path) -> tuple[SendResult, ...]:
        return send_files(self.peer, paths)

    def send_raw(self, data_set: bytes, **meta: str) -> int | None:
        """Send bytes as they are under a command that says what meta says."""
        path = self.folder / "raw.dcm"
        with path.open("wb") as target:
            write_part10(
                target,
                data_set=data_set,
                sop_class_uid=meta.get("sop_class_uid", MR),
                sop_instance_uid=meta.get("sop_instance_uid", "1.2.3.4"),
                transfer_syntax_uid=meta.get("transfer_syntax_uid", EXPLICIT),
                source_ae_title="MR1",
            )
        return self.send(path)[0].status

    def refusal_codes(self) -> dict[str, int]:
        return {code: n for code, n in self.ledger.health.counts().refusals.items() if n}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    spool = Spool(tmp_path / "spool")
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    options = ListenerOptions(ae_title=AETitle("SEGNODE"), port=0)
    listener = Listener(options, Admitter(spool, ledger, SystemClock()).admit)
    listener.start()
    peer = Peer(
        ae_title=AETitle("SEGNODE"),
        host="127.0.0.1",
        port=listener.port,
        calling_ae_title=AETitle("MR1"),
    )
    try:
        yield Node(tmp_path, spool, ledger, peer)
    finally:
        listener.stop()
        ledger.engine.dispose()


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_an_acknowledged_image_lies_in_the_spool_byte_for_byte(node: Node, syntax: str) -> None:
    made = mr_dataset(7)
    result = node.send(write_file(node.folder / "a.dcm", made, syntax))[0]
    assert result.status == 0
    stored = node.ledger.intake.find_instance(SOPInstanceUID(made.SOPInstanceUID))
    assert stored is not None
    with node.spool.path(stored.path).open("rb") as file:
        offset = read_file_meta(file).offset
        file.seek(offset)
        assert file.read() == encode(made, syntax)


def test_the_same_image_twice_is_acknowledged_and_stored_once(node: Node) -> None:
    path = write_file(node.folder / "a.dcm", mr_dataset())
    assert node.send(path)[0].status == 0
    assert node.send(path)[0].status == 0
    assert node.ledger.health.counts().instances == 1


def test_another_image_under_a_known_uid_is_kept_aside(node: Node) -> None:
    node.send(write_file(node.folder / "a.dcm", mr_dataset()))
    other = write_file(node.folder / "b.dcm", mr_dataset(EchoTime="12"))
    assert node.send(other)[0].status == 0x0111
    assert node.ledger.health.counts().instances == 1
    assert node.refusal_codes() == {"duplicate-differs": 1}


def test_bytes_that_are_no_data_set_are_refused_and_on_record(node: Node) -> None:
    assert node.send_raw(b"this is a text and no data set at all") == 0xC000
    assert node.refusal_codes() == {"not-dicom": 1}


def test_a_data_set_cut_short_is_refused(node: Node) -> None:
    made = mr_dataset()
    assert node.send_raw(encode(made)[:-8], sop_instance_uid=made.SOPInstanceUID) == 0xC000


def test_a_command_that_names_another_uid_than_the_data_set_is_refused(node: Node) -> None:
    assert node.send_raw(encode(mr_dataset()), sop_instance_uid="1.2.3") == 0xA900
    assert node.refusal_codes() == {"missing-identifier": 1}


@pytest.mark.parametrize("uid", [b"../../../etc/passwd", b"1.2\x00.3", b"<script>", b"1.2 3"])
def test_a_uid_that_is_none_is_refused_and_leaves_the_spool(node: Node, uid: bytes) -> None:
    made = mr_dataset()
    study = made.StudyInstanceUID.encode()
    data_set = encode(made).replace(study, uid.ljust(len(study), b"/"))
    assert node.send_raw(data_set, sop_instance_uid=made.SOPInstanceUID) == 0xA900
    assert [path for path in node.spool.root.rglob("*") if path.is_file()] == []


def test_a_class_that_is_not_stored_is_refused_and_the_rest_goes_on(node: Node) -> None:
    odd = write_file(node.folder / "a.dcm", mr_dataset(1, SOPClassUID="1.3.12.2.1107.5.9.1"))
    good = write_file(node.folder / "b.dcm", mr_dataset(2))
    assert [result.status for result in node.send(odd, good)] == [0x0122, 0]
    assert node.refusal_codes() == {"unsupported-sop-class": 1}


def test_our_own_objects_come_home_and_are_no_input(node: Node) -> None:
    ours = mr_dataset(Manufacturer="Segnode", SoftwareVersions="segnode 0.1.0")
    assert node.send(write_file(node.folder / "a.dcm", ours))[0].status == 0
    assert node.ledger.health.counts().instances == 0


def test_nothing_is_acknowledged_while_the_spool_cannot_be_written(node: Node) -> None:
    path = write_file(node.folder / "a.dcm", mr_dataset())
    node.spool.root.write_text("a file where the folder was")
    assert node.send(path)[0].status == 0xA700
    node.spool.root.unlink()
    assert node.send(path)[0].status == 0
