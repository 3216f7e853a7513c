"""Real peers for system tests: Orthanc, DCMTK, PostgreSQL; skipped with a reason when absent."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_LIMIT_S = 60.0


def program(name: str, package: str) -> str:
    """Return the path of a program, or skip the test with the package that holds it.

    The system's first: pynetdicom installs programs of the same names as DCMTK's.
    """
    path = shutil.which(name, path="/usr/sbin:/usr/bin") or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is absent (Debian package {package})")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthanc:
    """A running Orthanc and how to ask it."""

    ae_title: str
    dicom_port: int
    http_port: int

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def raw(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def instances(self, modality: str) -> list[bytes]:
        """Return the DICOM files of all series of a modality."""
        found = []
        for series in self.get("/series?expand"):
            if series["MainDicomTags"].get("Modality") == modality:
                found += [self.raw(f"/instances/{i}/file") for i in sorted(series["Instances"])]
        return found


@contextmanager
def orthanc(folder: Path, more: Mapping[str, Any] | None = None) -> Iterator[Orthanc]:
    """Run an Orthanc in a folder while the context lasts.

    more: entries of its configuration, which take the place of ours.
    """
    binary = program("Orthanc", "orthanc")
    made = Orthanc(ae_title="ORTHANC", dicom_port=free_port(), http_port=free_port())
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": "test",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "Plugins": [],
                "DicomAet": made.ae_title,
                "DicomPort": made.dicom_port,
                "HttpPort": made.http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomServerEnabled": True,
                **(more or {}),
            }
        ),
        encoding="utf-8",
    )
    (folder / "storage").mkdir()
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([binary, str(configuration)], stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(made), "Orthanc answers", START_LIMIT_S)
            yield made
        finally:
            process.terminate()
            process.wait(30)


def _answers(peer: Orthanc) -> bool:
    try:
        peer.get("/system")
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until(condition: Any, what: str, limit_s: float) -> None:
    """Wait for a condition, or fail saying what was waited for."""
    limit = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > limit:
            pytest.fail(f"waited {limit_s:.0f} s in vain until {what}")
        time.sleep(0.05)
