"""When the node takes no more in, and how other processes see it."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.listener import gate as gate_module
from node.listener.gate import WORDS, Gate, Load, Watermarks, overload
from node.telemetry.outcomes import REFUSING_CAUSES

MARKS = Watermarks(free_bytes=1000, free_inodes=100, unsettled=10, waiting_analyses=5)
EASY = Load(free_bytes=1000, free_inodes=100, unsettled=10, waiting_analyses=5)


def test_on_its_marks_the_node_still_takes_images() -> None:
    assert overload(EASY, MARKS) is None
    assert overload(replace(EASY, free_inodes=None), MARKS) is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"free_bytes": None}, "spool"),
        ({"free_bytes": 999}, "space"),
        ({"free_inodes": 99}, "inodes"),
        ({"waiting_analyses": None}, "ledger"),
        ({"unsettled": 11}, "unsettled"),
        ({"waiting_analyses": 6}, "unfinished"),
        ({"stuck": "spool"}, "spool"),
        ({"stuck": "ledger", "free_bytes": 0}, "ledger"),
    ],
)
def test_beyond_a_mark_it_says_which(change: dict[str, Any], cause: str) -> None:
    assert overload(replace(EASY, **change), MARKS) == cause


numbers = st.one_of(st.none(), st.integers(0, 2000))


@given(numbers, numbers, st.integers(0, 20), numbers)
def test_more_room_and_less_work_never_close_the_gate(
    free_bytes: int | None, free_inodes: int | None, unsettled: int, waiting: int | None
) -> None:
    load = Load(
        free_bytes=free_bytes,
        free_inodes=free_inodes,
        unsettled=unsettled,
        waiting_analyses=waiting,
    )
    easier = Load(
        free_bytes=None if free_bytes is None else free_bytes + 1,
        free_inodes=None if free_inodes is None else free_inodes + 1,
        unsettled=max(unsettled - 1, 0),
        waiting_analyses=None if waiting is None else max(waiting - 1, 0),
    )
    if overload(load, MARKS) is None:
        assert overload(easier, MARKS) is None


def test_every_cause_has_words() -> None:
    assert set(WORDS) == set(REFUSING_CAUSES)


def test_a_gate_is_closed_until_somebody_opens_it_and_says_why() -> None:
    gate = Gate()
    assert gate.closed() == "unwatched"
    gate.set(None)
    assert gate.closed() is None
    for cause in REFUSING_CAUSES:
        gate.set(cause)
        assert gate.closed() == cause
    gate.close()


def test_a_gate_that_nobody_sets_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.set(None)
    monkeypatch.setattr(gate_module, "STALE_S", -1.0)
    assert gate.closed() == "unwatched"
    gate.close()


def test_another_process_sees_what_is_set() -> None:
    gate = Gate()
    gate.set("inodes")
    program = f"from node.listener.gate import Gate; print(Gate({gate.descriptor}).closed())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        pass_fds=[gate.descriptor],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert found.stdout.strip() == "inodes"
    gate.close()
