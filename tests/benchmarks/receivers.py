"""The receivers that are compared, each started anew on a free port in a folder of its own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil

from node import __version__
from tests.benchmarks.corpus import CALLING
from tests.benchmarks.raw_scu import RawSender, Refused
from tests.benchmarks.segnode_site import Site, make_site
from tests.support.peers import START_LIMIT_S, free_port, orthanc

LONGEST_PDU: Final = 131072
STOP_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A receiver that answers. held: how many instances it has and will show."""

    ae_title: str
    port: int
    process: psutil.Process
    held: Callable[[], int]

    def cpu_seconds(self) -> float:
        """Return what the process and its children, also those that ended, have used so far."""
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # its parent has its time by now, or will have
            total += times.user + times.system + times.children_user + times.children_system
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A kind of receiver. synced: whether an answer means that the image is on the disk."""

    title: str
    synced: str
    version: Callable[[], str]
    start: Callable[[Path], AbstractContextManager[Running]]


def dcmtk(name: str) -> str:
    """Return the path of a program of DCMTK; pynetdicom installs others of the same names.

    Raises FileNotFoundError when there is none.
    """
    for path in (f"/usr/bin/{name}", f"/usr/local/bin/{name}", shutil.which(name) or ""):
        if path and Path(path).exists() and "dcmtk" in _first_line(path, "--version"):
            return path
    message = f"DCMTK's {name} is absent (Debian package dcmtk)"
    raise FileNotFoundError(message)


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[psutil.Process]:
    """Run a receiver with its output in a log, end it with its children."""
    environment = {"TCP_NODELAY": "1", "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    process = psutil.Process(started.pid)
    try:
        yield process
    finally:
        children = process.children(recursive=True)
        started.terminate()
        started.wait(STOP_LIMIT_S)
        for child in children:
            if child.is_running():
                child.terminate()


def wait_until_answering(ae_title: str, port: int) -> None:
    """Wait until an association is accepted. Raises TimeoutError."""
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit:
        try:
            RawSender(port, called=ae_title).release()
        except (OSError, Refused):
            time.sleep(0.05)
        else:
            return
    message = f"{ae_title} does not answer"
    raise TimeoutError(message)


@contextmanager
def _storescp(folder: Path, *, preserving: bool) -> Iterator[Running]:
    port, stored = free_port(), folder / "stored"
    stored.mkdir()
    command = [dcmtk("storescp"), "--fork", "-aet", "STORESCP", "-pdu", str(LONGEST_PDU)]
    command += ["+B"] if preserving else []
    with _process([*command, "-od", str(stored), str(port)], folder) as process:
        wait_until_answering("STORESCP", port)
        yield Running(ae_title="STORESCP", port=port, process=process, held=lambda: _files(stored))


@contextmanager
def _stock(folder: Path) -> Iterator[Running]:
    port, stored = free_port(), folder / "stored"
    stored.mkdir()
    script = str(Path(__file__).with_name("stock_receiver.py"))
    command = [sys.executable, script, str(port), str(stored), str(LONGEST_PDU)]
    with _process(command, folder) as process:
        wait_until_answering("STOCK", port)
        yield Running(ae_title="STOCK", port=port, process=process, held=lambda: _files(stored))


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


@contextmanager
def _orthanc(folder: Path) -> Iterator[Running]:
    with orthanc(folder) as peer:
        (process,) = (p for p in psutil.Process().children() if p.name() == "Orthanc")
        wait_until_answering(peer.ae_title, peer.dicom_port)
        yield Running(
            ae_title=peer.ae_title,
            port=peer.dicom_port,
            process=process,
            held=lambda: int(peer.get("/statistics")["CountInstances"]),
        )


@contextmanager
def _segnode(folder: Path) -> Iterator[Running]:
    site: Site = make_site(folder, callers=[f"{CALLING}@127.0.0.1"])
    started = site.start()
    try:
        wait_until_answering(site.ae_title, site.port)
        yield Running(
            ae_title=site.ae_title,
            port=site.port,
            process=psutil.Process(started.pid),
            held=site.settled,
        )
    finally:
        started.terminate()
        started.wait(STOP_LIMIT_S)


RECEIVERS: Final[Mapping[str, Receiver]] = MappingProxyType(
    {
        "storescp": Receiver(
            title="DCMTK storescp --fork",
            synced="no",
            version=lambda: _first_line(dcmtk("storescp"), "--version"),
            start=lambda folder: _storescp(folder, preserving=False),
        ),
        "storescp+B": Receiver(
            title="DCMTK storescp --fork +B",
            synced="no",
            version=lambda: _first_line(dcmtk("storescp"), "--version"),
            start=lambda folder: _storescp(folder, preserving=True),
        ),
        "orthanc": Receiver(
            title="Orthanc",
            synced="by its defaults",
            version=lambda: _first_line(
                shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc", "--version"
            ),
            start=_orthanc,
        ),
        "pynetdicom": Receiver(
            title="stock pynetdicom",
            synced="no",
            version=lambda: f"pynetdicom {version('pynetdicom')}",
            start=_stock,
        ),
        "segnode": Receiver(
            title="Segnode",
            synced="yes",
            version=lambda: f"segnode {__version__}, SQLite ledger",
            start=_segnode,
        ),
    }
)
