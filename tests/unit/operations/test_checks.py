"""What the administrator's checks find."""

import socket
from pathlib import Path

from node.domain.errors import RuleInvalid
from node.domain.ids import AETitle, DestinationName
from node.net.scu import Peer
from node.operations.checks import (
    Grade,
    check_destinations,
    check_port,
    check_rules,
    check_spool,
)
from node.store.spool import Spool


def test_a_free_port_is_fine_and_a_taken_one_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        assert check_port("port", "127.0.0.1", port).grade is Grade.WARN
    assert check_port("port", "127.0.0.1", port).grade is Grade.OK


def test_an_address_that_is_not_ours_is_a_fault() -> None:
    assert check_port("port", "192.0.2.1", 11112).grade is Grade.FAULT


def test_a_spool_with_too_little_room_is_told(tmp_path: Path) -> None:
    assert check_spool(Spool(tmp_path), min_free_bytes=0).grade is Grade.OK
    assert check_spool(Spool(tmp_path), min_free_bytes=2**62).grade is Grade.WARN


def test_a_destination_that_is_down_is_a_fault_with_a_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        peer = Peer(
            ae_title=AETitle("PACS"),
            host="127.0.0.1",
            port=closed.getsockname()[1],
            calling_ae_title=AETitle("SEGNODE"),
            timeout_s=2,
        )
        (found,) = check_destinations({DestinationName("pacs"): peer})
    assert found.grade is Grade.FAULT
    assert found.check == "destination pacs"


def test_no_destination_is_worth_a_warning() -> None:
    assert check_destinations({})[0].grade is Grade.WARN


def test_a_broken_rule_is_a_fault_and_none_is_a_warning(tmp_path: Path) -> None:
    rules = {"glioma": ("pacs",)}
    broken = check_rules(tmp_path, (RuleInvalid("glioma.yaml: roles"),), rules, ("pacs",))
    assert broken.grade is Grade.FAULT
    assert "glioma.yaml" in broken.text
    assert check_rules(tmp_path, (), {}, ()).grade is Grade.WARN
    assert check_rules(tmp_path, (), rules, ("pacs",)).grade is Grade.OK


def test_a_rule_that_sends_to_nobody_known_is_a_fault(tmp_path: Path) -> None:
    found = check_rules(tmp_path, (), {"glioma": ("research",)}, ("pacs",))
    assert found.grade is Grade.FAULT
    assert "research" in found.text
