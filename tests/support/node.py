"""A whole node for tests: its two halves as real processes, an archive, and waiting for facts."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from node.app.demo import SEGNODE, configure
from node.app.settings import Settings, read_settings
from node.app.wiring import ledger_of
from node.domain.ids import StudyInstanceUID
from node.net.scu import Peer
from node.store.ledger import Ledger
from node.store.stories import StudyStory

LIMIT_S = 240.0


@dataclass(slots=True)
class Running:
    """A node that runs: where it listens, what it knows, and its processes by half."""

    configuration: Path
    settings: Settings
    scanner: Peer
    ledger: Ledger
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.configuration.parent

    def start(self, half: str) -> None:
        """Start `serve` or `work`; their output goes to a log beside the configuration."""
        with (self.folder / f"{half}.log").open("ab") as log:
            command = [*SEGNODE, half, "--config", str(self.configuration)]
            self.processes[half] = subprocess.Popen(command, stdout=log, stderr=log)

    def signal(self, half: str, number: signal.Signals) -> None:
        os.kill(self.processes[half].pid, number)

    def kill(self, half: str) -> None:
        """End a half as a power cut would."""
        process = self.processes.pop(half)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(60)
        self.processes.clear()

    def story(self, study: str) -> StudyStory:
        """Return what the ledger tells of a study that it must know."""
        story = self.ledger.stories.story(StudyInstanceUID(study))
        assert story is not None
        return story

    def wait_for(
        self,
        study: str,
        condition: Callable[[StudyStory], bool],
        what: str,
        *,
        limit_s: float = LIMIT_S,
    ) -> StudyStory:
        """Wait until the story of a study fulfils a condition; fail with the logs if never."""
        limit = time.monotonic() + limit_s
        while time.monotonic() < limit:
            story = self.ledger.stories.story(StudyInstanceUID(study))
            if story is not None and condition(story):
                return story
            time.sleep(0.02)
        pytest.fail(f"waited in vain until {what}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def segnode_plain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that needs no configuration."""
        return subprocess.run([*SEGNODE, *arguments], capture_output=True, text=True, check=False)

    def segnode(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on this node."""
        command = [*SEGNODE, *arguments, "--config", str(self.configuration)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def a_node(
    folder: Path,
    archive_port: int,
    *,
    quiet_s: float = 1.0,
    give_up_s: float = 2.0,
    **changes: object,
) -> Iterator[Running]:
    """Configure a node that judges soon; changes: top-level keys of node.yaml. Starts nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    made = configure(folder, archive_port)
    content = yaml.safe_load(made.configuration.read_text(encoding="utf-8"))
    content["listen"]["callers"] = ["*"]
    content["retry"] = {"first_s": 0.2, "factor": 1.0, "longest_s": 0.2, "attempts": 3}
    content.update(changes)
    made.configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    for path in (folder / "rules").glob("*.yaml"):
        rule = yaml.safe_load(path.read_text(encoding="utf-8"))
        rule["completion"] = {"quiet_s": quiet_s, "give_up_s": give_up_s}
        path.write_text(yaml.safe_dump(rule, allow_unicode=True), encoding="utf-8")
    settings = read_settings(made.configuration)
    ledger = ledger_of(settings)
    running = Running(
        configuration=made.configuration,
        settings=settings,
        scanner=made.scanner,
        ledger=ledger,
    )
    try:
        yield running
    finally:
        running.stop()
        ledger.close()


def wait_until_listening(running: Running) -> None:
    """Wait until the node accepts connections."""
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        with contextlib.suppress(OSError):
            socket.create_connection((running.scanner.host, running.scanner.port), 1).close()
            return
        time.sleep(0.05)
    pytest.fail(f"the node does not listen\n{running.logs()}")
