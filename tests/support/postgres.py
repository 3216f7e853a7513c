"""A private PostgreSQL for tests: a cluster of its own in a temporary folder, on a socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql")


def _binary(name: str) -> str:
    found = sorted(BINARIES.glob(f"*/bin/{name}"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    return str(found[-1])


def _as_postgres(command: list[str]) -> None:
    """Run a command as a user that PostgreSQL accepts: it refuses root."""
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/")


@contextmanager
def private_postgres() -> Iterator[str]:
    """Start a cluster and yield the URL of its database; skips where there is no PostgreSQL."""
    initdb, control = _binary("initdb"), _binary("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="segnode-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = str(folder / "data")
        _as_postgres([initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"])
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=60"
        log = str(folder / "log")
        _as_postgres([control, "-D", data, "-o", options, "-l", log, "-w", "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _as_postgres([control, "-D", data, "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
