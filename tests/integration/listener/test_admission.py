"""From the socket to spool and ledger: listener, journal, clerk and store together."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from node.dicom.part10 import read_file_meta
from node.domain.errors import DestinationUnreachable
from node.domain.ids import SOPInstanceUID
from node.net.scu import send_files
from tests.support.dicom_objects import DEFLATED, EXPLICIT, encode, mr_dataset, write_file
from tests.support.listening import association, peer_of
from tests.support.peers import wait_until
from tests.support.receiving import Node, a_node


@pytest.fixture(params=[0, 2], ids=["in this process", "in two processes"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    with a_node(tmp_path, request.param) as made:
        yield made


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
    assert node.heard.outcomes() == ["stored", "duplicate"]


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
    assert node.objects() == []


def test_a_class_that_is_not_stored_is_refused_and_the_rest_goes_on(node: Node) -> None:
    odd = write_file(node.folder / "a.dcm", mr_dataset(1, SOPClassUID="1.3.12.2.1107.5.9.1"))
    good = write_file(node.folder / "b.dcm", mr_dataset(2))
    assert [result.status for result in node.send(odd, good)] == [0x0122, 0]
    assert node.refusal_codes() == {"unsupported-sop-class": 1}


def test_our_own_objects_come_home_and_are_no_input(node: Node) -> None:
    ours = mr_dataset(Manufacturer="Segnode", SoftwareVersions="segnode 0.1.0")
    assert node.send(write_file(node.folder / "a.dcm", ours))[0].status == 0
    assert node.ledger.health.counts().instances == 0
    assert node.objects() == []


def test_a_closed_gate_refuses_at_the_door_and_in_the_room(node: Node) -> None:
    files = [write_file(node.folder / f"{i}.dcm", mr_dataset(i)) for i in range(2)]
    assert node.send(files[0])[0].status == 0
    with association(node.heard) as caller:
        node.heard.gate.set("space")
        assert caller.send_c_store(files[1]).Status == 0xA700
        with pytest.raises(DestinationUnreachable, match="congestion"):
            node.send(files[1])
        node.heard.gate.set(None)
        assert caller.send_c_store(files[1]).Status == 0
    wait_until(lambda: node.ledger.health.counts().instances == 2, "both are settled", 20)


def test_what_is_acknowledged_while_the_ledger_is_away_is_settled_when_it_is_back(
    tmp_path: Path,
) -> None:
    with a_node(tmp_path, 0) as node:
        with node.ledger.engine.connect() as blocker:
            blocker.exec_driver_sql("BEGIN EXCLUSIVE")
            results = send_files(
                peer_of(node.heard), [write_file(tmp_path / "a.dcm", mr_dataset())]
            )
            assert results[0].status == 0
            assert node.clerk.unsettled == 1
            blocker.rollback()
        wait_until(lambda: node.clerk.is_idle, "it is settled", 20)
        assert node.ledger.health.counts().instances == 1


def test_a_receiver_that_is_killed_is_replaced_and_what_it_took_is_settled(tmp_path: Path) -> None:
    with a_node(tmp_path, 1) as node:
        first, second = (write_file(tmp_path / f"{i}.dcm", mr_dataset(i)) for i in range(2))
        results = send_files(peer_of(node.heard), [first])
        (receiver,) = psutil.Process().children()
        receiver.kill()  # most often before it could report
        assert results[0].status == 0
        wait_until(lambda: node.ledger.health.counts().instances == 1, "it is settled", 30)
        wait_until(lambda: _status(node, second) == 0, "another receiver is there", 30)
        wait_until(lambda: node.ledger.health.counts().instances == 2, "both are settled", 30)


def _status(node: Node, path: Path) -> int | None:
    with contextlib.suppress(DestinationUnreachable):
        return send_files(peer_of(node.heard), [path])[0].status
    return None
