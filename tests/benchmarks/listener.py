"""Images a second of Segnode and its peers: `python -m tests.benchmarks.listener`.

DCMTK storescp, Orthanc, stock pynetdicom and Segnode receive the same study of MR images of
200 kB in turn, each started anew for each run, from DCMTK's storescu over loopback with one and
with several associations. Every run begins with a few other images, so that nobody pays for his
start, and after a sync, so that nobody pays for what another left unwritten. The order is
another one in each round. Seconds count from the start of the senders to the end of the last;
CPU is that of the receiver with all its processes, until everything is in its index or ledger.

`--only` names receivers; further ones than those that run by default: storescp+B.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.corpus import CALLING, SIDE, templates, uid_of, write_corpus
from tests.benchmarks.raw_scu import SUCCESS, RawSender
from tests.benchmarks.receivers import LONGEST_PDU, RECEIVERS, Running, dcmtk

WARM_UP: Final = 20
SETTLE_LIMIT_S: Final = 300.0
LOOK_S: Final = 0.02
SHORT_PDU: Final = 16384
DEFAULT: Final = ("storescp", "orthanc", "pynetdicom", "segnode")
REFERENCES: Final = ("orthanc", "storescp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How is sent.

    nagle: the sender leaves Nagle's algorithm on, and makes the short PDUs that are common, with
    which it waits for an acknowledgement in each image.
    """

    associations: int
    images: int
    nagle: bool = False

    def __str__(self) -> str:
        many = f"{self.associations} association" + "s" * (self.associations > 1)
        how = f", no TCP_NODELAY, PDUs of {SHORT_PDU}" if self.nagle else ""
        return f"{many}, {self.images} images{how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measurement. settled_s: from the first byte until all is in the index or ledger."""

    receiver: str
    setting: Setting
    seconds: float
    settled_s: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Acknowledged images a second."""
        return self.setting.images / self.seconds


def send(running: Running, folders: Sequence[Path], *, nagle: bool) -> float:
    """Send each folder with a storescu of its own, all at once; return the seconds it took.

    Raises RuntimeError when one does not get everything through.
    """
    command = [dcmtk("storescu"), "-aet", CALLING, "-aec", running.ae_title]
    command += ["+sd", "-pdu", str(LONGEST_PDU)]
    command += ["--max-send-pdu", str(SHORT_PDU)] if nagle else []
    environment = {**os.environ, "TCP_NODELAY": "0" if nagle else "1"}
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [*command, "127.0.0.1", str(running.port), str(folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    complaints = [sender.communicate()[1].decode() for sender in senders]
    seconds = time.perf_counter() - started
    if any(sender.returncode for sender in senders):
        message = f"{running.ae_title} did not take all: {' '.join(complaints)[-500:]}"
        raise RuntimeError(message)
    return seconds


def warm_up(running: Running) -> None:
    """Send a few images that are not measured."""
    (template,) = templates([SIDE], study="1.2.826.0.1.3680043.10.9.77.9")
    with RawSender(running.port, called=running.ae_title) as sender:
        for uid in map(uid_of, range(WARM_UP)):
            if sender.store(uid, template.data_set(uid)) != SUCCESS:
                message = f"{running.ae_title} refuses images"
                raise RuntimeError(message)
    wait_until_held(running, WARM_UP)


def wait_until_held(running: Running, images: int) -> None:
    """Wait until the receiver has so many images for good. Raises TimeoutError."""
    limit = time.monotonic() + SETTLE_LIMIT_S
    while (held := running.held()) != images:
        if time.monotonic() > limit:
            message = f"{running.ae_title} has {held} of {images} images"
            raise TimeoutError(message)
        time.sleep(LOOK_S)


def measure(name: str, setting: Setting, folders: Sequence[Path], scratch: Path) -> Run:
    """Start a receiver, send to it, wait until it has everything, and end it.

    Its files stay until all is measured: ext4 looks through the inodes of files that were
    removed in the last seconds whenever it makes one, which would be charged to the next.
    """
    with RECEIVERS[name].start(Path(tempfile.mkdtemp(dir=scratch))) as running:
        warm_up(running)
        os.sync()
        cpu = running.cpu_seconds()
        started = time.perf_counter()
        seconds = send(running, folders, nagle=setting.nagle)
        wait_until_held(running, WARM_UP + setting.images)
        settled = time.perf_counter() - started
        return Run(
            receiver=name,
            setting=setting,
            seconds=seconds,
            settled_s=settled,
            cpu_seconds=running.cpu_seconds() - cpu,
        )


def rotated(names: Sequence[str], by: int) -> Sequence[str]:
    """Return the names, beginning with another one in each round."""
    by %= len(names)
    return [*names[by:], *names[:by]]


def table(setting: Setting, names: Sequence[str], runs: Iterable[Run]) -> Iterator[str]:
    """Lay the medians of a setting out, with ratios to the references."""
    of: dict[str, list[Run]] = {name: [] for name in names}
    for run in runs:
        if run.setting == setting:
            of[run.receiver].append(run)
    rates = {name: statistics.median(run.rate for run in of[name]) for name in names}
    references = [name for name in REFERENCES if name in rates]
    heads = [f"x {RECEIVERS[name].title}" for name in references]
    yield ""
    yield f"### {setting}"
    yield ""
    columns = ["receiver", "synced", "images/s", "least-most", "CPU ms/image", "all settled, s"]
    yield f"| {' | '.join([*columns, *heads])} |"
    yield "|---" * len([*columns, *heads]) + "|"
    for name in names:
        found = of[name]
        images = setting.images
        cpu = statistics.median(1000 * run.cpu_seconds / images for run in found)
        settled = statistics.median(run.settled_s for run in found)
        spread = f"{min(r.rate for r in found):.0f}-{max(r.rate for r in found):.0f}"
        cells = [
            RECEIVERS[name].title,
            RECEIVERS[name].synced,
            f"{rates[name]:.0f}",
            spread,
            f"{cpu:.2f}",
            f"{settled:.2f}",
            *(f"{rates[name] / rates[reference]:.2f}" for reference in references),
        ]
        yield f"| {' | '.join(cells)} |"


def settings_of(options: argparse.Namespace) -> list[Setting]:
    """Return the settings that the options ask for."""
    images = options.images
    found = [Setting(associations=n, images=images) for n in options.associations]
    if options.nagle_images:
        found.append(Setting(associations=1, images=options.nagle_images, nagle=True))
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    options = _options(arguments)
    names = options.only
    os.environ["TCP_NODELAY"] = "1"  # for the receivers that are made of DCMTK, too
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load before: {' '.join(f'{load:.2f}' for load in os.getloadavg())}", flush=True)
    for name in names:
        print(f"{RECEIVERS[name].title}: {RECEIVERS[name].version()}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder_name:
        folder = Path(folder_name)
        settings = settings_of(options)
        parts = {
            setting: write_corpus(
                folder / f"corpus{number}", images=setting.images, parts=setting.associations
            )
            for number, setting in enumerate(settings)
        }
        runs = []
        for number in range(options.rounds):
            for setting in settings:
                for name in rotated(names, number):
                    runs.append(measure(name, setting, parts[setting], folder))
                    _tell(number + 1, runs[-1])
    for setting in settings:
        print("\n".join(table(setting, names, runs)))


def _tell(number: int, run: Run) -> None:
    print(
        f"round {number}: {run.receiver}, {run.setting}: {run.rate:.0f}/s, "
        f"{1000 * run.cpu_seconds / run.setting.images:.2f} ms CPU/image, "
        f"settled after {run.settled_s:.2f} s",
        file=sys.stderr,
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--nagle-images", type=int, default=60, help="for the sender without TCP_NODELAY; 0: none"
    )
    parser.add_argument("--only", nargs="+", choices=list(RECEIVERS), default=list(DEFAULT))
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one")
    options = parser.parse_args(arguments)
    if any(options.images % number for number in options.associations):
        parser.error("--images must be a multiple of each number of --associations")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
