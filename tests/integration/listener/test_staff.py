"""Receiving processes that misbehave, cannot be started, or are late: replaced, or told to go."""

import errno
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from node.listener import staff
from node.listener.staff import Colleague, Staff
from node.net.scu import echo
from tests.support.conversing import association_request
from tests.support.listening import Heard, connect, listening, peer_of
from tests.support.peers import wait_until


def receivers() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def test_a_receiver_that_nobody_understands_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "PAUSES_S", (0.0,))
    with listening(tmp_path / "spool", processes=1) as heard:
        echo(peer_of(heard))
        before = receivers()
        with monkeypatch.context() as broken:
            broken.setattr(Staff, "_file", lambda *_: 1 / 0)
            _answers(heard)  # whatever it reports is not understood
            wait_until(lambda: set(receivers()).isdisjoint(before), "it is gone", 20)
        wait_until(lambda: _answers(heard), "another one serves", 20)
        assert len(receivers()) == 1


def test_a_receiver_that_cannot_be_started_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "PAUSES_S", (0.0, 0.05))
    failures: list[int] = []
    start = subprocess.Popen

    def often_not(*args: Any, **options: Any) -> Any:
        if len(failures) < 3:
            failures.append(1)
            raise OSError(errno.EMFILE, "no descriptor is left")
        return start(*args, **options)

    with listening(tmp_path / "spool", processes=1) as heard:
        echo(peer_of(heard))
        monkeypatch.setattr(subprocess, "Popen", often_not)
        for child in psutil.Process().children():
            child.kill()
        wait_until(lambda: _answers(heard), "another one serves", 20)
    assert len(failures) == 3


def test_a_receiver_that_is_hired_while_all_is_stopped_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "PAUSES_S", (0.0,))
    hire = Staff._hire
    hired: list[Colleague] = []
    is_replaced = threading.Event()

    def hire_late(self: Staff, name: str) -> Colleague:
        if hired:
            is_replaced.set()
            self._stopping.wait(20)
        hired.append(hire(self, name))
        return hired[-1]

    monkeypatch.setattr(Staff, "_hire", hire_late)
    with listening(tmp_path / "spool", processes=1):
        for child in psutil.Process().children():
            child.kill()
        assert is_replaced.wait(20)
    assert [colleague.process.poll() for colleague in hired] == [-9, 0]


def _answers(heard: Heard) -> bool:
    """Whether a request for an association is accepted."""
    with connect(heard) as connection:
        connection.sendall(association_request())
        try:
            return connection.recv(1) == b"\2"
        except ConnectionResetError:
            return False
