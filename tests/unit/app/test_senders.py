"""What `segnode senders` tells, and when it gives a hint."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.app.cli.main import app
from node.app.cli.senders import as_plain, hints, sender_lines
from node.app.settings import read_settings
from node.app.wiring import ledger_of
from node.domain.ids import AETitle
from node.store.senders import SenderRecord
from node.store.visits import SenderVisit
from tests.support.dicom_objects import DEFLATED, EXPLICIT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_sender(**changes: Any) -> SenderRecord:
    made = SenderRecord(
        calling_ae_title=AETitle("MR1"),
        address="10.0.0.1",
        first_at=NOW,
        last_at=NOW,
        associations=20,
        aborted=0,
        rejected=0,
        instances=5000,
        duplicates=0,
        refused=0,
        stalled=0,
        size_bytes=10**9,
        busy_seconds=40.0,
        longest_gap_s=1.25,
        max_pdu=16384,
        transfer_syntaxes={EXPLICIT: 10, DEFLATED: 4980, "1.2.3": 10},
    )
    return replace(made, **changes)


def test_a_sender_is_told_in_one_line_with_what_it_does() -> None:
    head, line = sender_lines([a_sender()])
    assert head.split()[0] == "SENDER"
    assert line.split()[:4] == ["MR1", "10.0.0.1", "2026-11-21", "12:00:00"]
    assert "125.0" in line
    assert line.endswith("DeflatedExplicitVRLittleEndian 4980, 1.2.3 10, ExplicitVRLittleEndian 10")


def test_what_is_not_known_of_a_sender_is_a_dash() -> None:
    stranger = a_sender(
        calling_ae_title=AETitle(""), address="", busy_seconds=0.0, transfer_syntaxes={}, max_pdu=0
    )
    line = list(sender_lines([stranger]))[1].split()
    assert line[:2] == ["-", "-"]
    assert line[-1] == "-"
    assert "any" in line


def test_nobody_is_told_as_nobody() -> None:
    assert list(sender_lines([])) == ["nobody has called yet"]


def test_a_sender_that_does_well_gets_no_hint() -> None:
    assert hints(a_sender(aborted=1, duplicates=1, refused=1, stalled=1, rejected=3)) == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"stalled": 500}, "TCP_NODELAY"),
        ({"aborted": 2}, "abort"),
        ({"duplicates": 500}, "again"),
        ({"refused": 250}, "refused"),
        ({"associations": 0, "instances": 0, "rejected": 1}, "listen.callers"),
    ],
)
def test_each_oddity_has_its_hint(changes: dict[str, int], word: str) -> None:
    (hint,) = hints(a_sender(**changes))
    assert word in hint


@pytest.mark.parametrize(
    "changes",
    [{"stalled": 499}, {"stalled": 1, "instances": 3}, {"aborted": 1, "associations": 1}],
)
def test_what_may_be_chance_is_no_hint(changes: dict[str, int]) -> None:
    assert hints(a_sender(**changes)) == ()


def test_hints_stand_below_the_table_with_their_sender() -> None:
    lines = list(sender_lines([a_sender(), a_sender(calling_ae_title=AETitle("MR2"), stalled=900)]))
    assert lines[3] == ""
    assert lines[4].startswith("MR2: 900 of 5000 images came from a sender that waits")


def test_json_holds_every_field_and_the_hints() -> None:
    plain = json.loads(json.dumps(as_plain(a_sender(stalled=900))))
    assert plain["instances_per_second"] == 125
    assert plain["last_at"] == "2026-11-21T12:00:00+00:00"
    assert plain["transfer_syntaxes"][EXPLICIT] == 10
    assert len(plain["hints"]) == 1


def test_the_command_tells_what_the_ledger_holds(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert CliRunner().invoke(app, ["init", str(site)]).exit_code == 0
    command = ["senders", "--config", str(site / "node.yaml")]
    assert CliRunner().invoke(app, command).stdout == "nobody has called yet\n"
    ledger = ledger_of(read_settings(site / "node.yaml"))
    visit = SenderVisit(
        calling_ae_title=AETitle("MR1"), address="10.0.0.1", ended_at=NOW, outcome="released"
    )
    ledger.senders.record(visit)
    ledger.close()
    assert "MR1     10.0.0.1" in CliRunner().invoke(app, command).stdout
    (plain,) = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert plain["associations"] == 1
