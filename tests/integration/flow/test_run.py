"""`segnode run` watches over both halves."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import free_port, wait_until

pytestmark = pytest.mark.slow

NAMES = ("serve", "work")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with a_node(tmp_path / "node", free_port()) as running:
        running.start("run")
        wait_until_listening(running)
        yield running


def halves(node: Running) -> dict[str, int]:
    """Process ids of the halves that live, by name."""
    found: dict[str, int] = {}
    for child in psutil.Process(node.processes["run"].pid).children():
        with suppress(psutil.Error):  # it ended while it was looked at
            found |= {name: child.pid for name in child.cmdline() if name in NAMES}
    return found


def test_a_half_that_dies_is_started_again_and_the_other_goes_on(node: Running) -> None:
    wait_until(lambda: len(halves(node)) == 2, "both halves live", 60)
    before = halves(node)
    os.kill(before["work"], signal.SIGKILL)
    wait_until(lambda: halves(node).get("work") not in {None, before["work"]}, "work is back", 60)
    assert halves(node)["serve"] == before["serve"]


def test_both_halves_end_with_the_one_that_watches(node: Running) -> None:
    wait_until(lambda: len(halves(node)) == 2, "both halves live", 60)
    pids = list(halves(node).values())
    process: subprocess.Popen[bytes] = node.processes["run"]
    process.terminate()
    process.wait(60)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_node_whose_spool_lost_its_mark_does_not_serve(tmp_path: Path) -> None:
    with a_node(tmp_path / "node", free_port()) as stopped:
        (stopped.folder / "spool" / "site.key").unlink()
        done = stopped.segnode("serve")
    assert done.returncode == 1
    assert "spool-unwritable" in done.stderr
    assert "mount" in done.stderr


@pytest.mark.parametrize("taken", ["listen", "http"])
def test_a_node_that_cannot_have_a_port_does_not_half_serve(tmp_path: Path, taken: str) -> None:
    with a_node(tmp_path / "node", free_port()) as stopped, socket.socket() as other:
        other.bind(("127.0.0.1", getattr(stopped.settings, taken).port))
        other.listen()
        done = stopped.segnode("serve")
    assert done.returncode == 2
    assert "cannot" in done.stderr
