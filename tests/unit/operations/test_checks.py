"""What the administrator's checks find."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from node.domain.errors import RuleInvalid
from node.domain.ids import AETitle, DestinationName
from node.net.scu import Peer
from node.operations.checks import (
    Grade,
    check_callers,
    check_certificate,
    check_destinations,
    check_machine,
    check_port,
    check_rules,
    check_spool,
)
from node.segmentation.machine import Machine
from node.store.spool import Spool
from tests.support.certificates import DAY, NOW, Authority


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


def test_a_spool_with_too_few_inodes_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    found = check_spool(spool, min_free_bytes=0, min_free_inodes=2**62)
    counted = spool.room().free_inodes is not None
    assert found.grade is (Grade.WARN if counted else Grade.OK)


@pytest.mark.parametrize(
    ("callers", "grade", "told"),
    [
        ([], Grade.WARN, "nobody"),
        (["MR1@10.0.0.1", "*"], Grade.WARN, "everybody"),
        (["MR1@10.0.0.1", "CT"], Grade.WARN, "CT"),
        (["MR1@10.0.0.1", "*@10.0.1.0/24"], Grade.OK, "2 may send"),
    ],
)
def test_a_list_that_lets_in_nobody_or_everybody_is_told(
    callers: list[str], grade: Grade, told: str
) -> None:
    found = check_callers(callers)
    assert found.grade is grade
    assert told in found.text


def test_a_certificate_is_fine_until_it_is_to_be_renewed(tmp_path: Path) -> None:
    options = Authority(tmp_path).issue("segnode", not_after=NOW + 40 * DAY)
    assert check_certificate(options, NOW).grade is Grade.OK
    soon = check_certificate(options, NOW + 11 * DAY)
    assert soon.grade is Grade.WARN
    assert f"{NOW + timedelta(days=40):%Y-%m-%d}" in soon.text


def test_a_key_that_everybody_may_read_is_told(tmp_path: Path) -> None:
    options = Authority(tmp_path).issue("segnode")
    options.key.chmod(0o644)
    found = check_certificate(options, NOW)
    assert found.grade is Grade.WARN
    assert str(options.key) in found.text


def test_a_certificate_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    hospital = Authority(tmp_path)
    expired = check_certificate(hospital.issue_expired("segnode"), NOW)
    assert expired.grade is Grade.FAULT
    assert "expired" in expired.text
    hospital.path.write_text("garbage")
    assert check_certificate(hospital.issue("segnode"), NOW).grade is Grade.FAULT


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


def test_the_machine_is_described_with_what_an_analysis_would_use() -> None:
    machine = Machine(cores=2, free_ram_bytes=8 << 30, total_ram_bytes=16 << 30)
    found = check_machine(machine)
    assert found.grade is Grade.OK
    assert "8.0 GiB of 16.0 GiB" in found.text
    assert "analyses use cpu" in found.text


def test_little_free_memory_is_warned_of() -> None:
    machine = Machine(cores=2, free_ram_bytes=1 << 30, total_ram_bytes=16 << 30)
    assert check_machine(machine).grade is Grade.WARN
