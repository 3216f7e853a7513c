"""A real `segnode serve` for benchmarks: its configuration, its process group, its ledger."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from node.app.demo import SEGNODE, configure
from node.dicom.part10 import read_file_meta
from tests.support.peers import free_port

STOP_LIMIT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A configured node. port: of DICOM."""

    folder: Path
    ae_title: str
    port: int

    def start(self) -> "subprocess.Popen[bytes]":
        """Start `segnode serve` as the leader of a process group; its output goes to serve.log."""
        with (self.folder / "serve.log").open("ab") as log:
            command = [*SEGNODE, "serve", "--config", str(self.folder / "node.yaml")]
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def settled(self) -> int:
        """Return how many instances stand in the ledger; 0 while there are no tables."""
        with suppress(sqlite3.OperationalError), closing(self._connect()) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM segnode_instances").fetchone()
            return int(count)
        return 0

    def paths(self, first: str = "", last: str = "~") -> dict[str, Path]:
        """Return the file of each instance in the ledger, from one SOP Instance UID to another."""
        query = (
            "SELECT sop_instance_uid, path FROM segnode_instances"
            " WHERE sop_instance_uid BETWEEN ? AND ?"
        )
        with closing(self._connect()) as connection:
            rows = connection.execute(query, (first, last))
            return {uid: self.folder / "spool" / path for uid, path in rows}

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{self.folder / 'segnode.sqlite'}?mode=ro", uri=True, timeout=60
        )


def make_site(folder: Path, *, callers: Sequence[str], **listen: Any) -> Site:
    """Configure a node with a spool and a SQLite ledger in a folder; listen: further keys."""
    made = configure(folder, free_port())
    content = yaml.safe_load(made.configuration.read_text(encoding="utf-8"))
    content["listen"] |= {"callers": list(callers), **listen}
    # Nothing shall be judged while it is measured.
    for path in (folder / "rules").glob("*.yaml"):
        rule = yaml.safe_load(path.read_text(encoding="utf-8"))
        rule["completion"] |= {"quiet_s": 3600, "give_up_s": 7200}
        path.write_text(yaml.safe_dump(rule, allow_unicode=True), encoding="utf-8")
    made.configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Site(folder=folder, ae_title=made.settings.ae_title, port=content["listen"]["port"])


def data_set_of(path: Path) -> bytes:
    """Return the bytes of a stored file after its meta information."""
    with path.open("rb") as stream:
        stream.seek(read_file_meta(stream).offset)
        return stream.read()


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it has started, as a power cut would; also what it has left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_LIMIT_S)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end, and wait until it has."""
    process.terminate()
    process.wait(STOP_LIMIT_S)


def tree(process: "subprocess.Popen[bytes]") -> Iterator[psutil.Process]:
    """Yield a process and all its descendants."""
    parent = psutil.Process(process.pid)
    yield parent
    yield from parent.children(recursive=True)
