"""SIGKILL at random moments under load: `python -m tests.benchmarks.kill_nine [--rounds 50]`.

In each round `segnode serve` is started, several associations send images of different lengths
as fast as they are answered, and each writes down what was acknowledged. At a random moment the
whole process group is killed; in every fifth round once more while it starts again. After the
restart, every acknowledged instance must be in ledger and spool with the bytes that were sent,
in this round and in all before. Then what was in flight is sent again, as a scanner does, and
must be taken. Ends with exit code 1 when anything is missing or different.

A killed process leaves its writes with the operating system, so this shows nothing about the
loss of power; it shows that an answer is never ahead of what a restart finds.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.corpus import CALLING, Template, templates, uid_of
from tests.benchmarks.raw_scu import SUCCESS, RawSender, Refused
from tests.benchmarks.receivers import wait_until_answering
from tests.benchmarks.segnode_site import Site, data_set_of, kill_group, make_site, stop

SIDES: Final = (48, 316, 200, 640)
"""Images of 5, 200, 80 and 820 kB: shorter and longer than what a receiver may make ahead."""

RECOVERY_LIMIT_S: Final = 120.0
LOOK_S: Final = 0.05
PER_ROUND: Final = 10**9


@dataclass(slots=True)
class Sender:
    """One association that sends without end, and what came of it.

    acknowledged: number of each instance that was answered with success. in_flight: the one that
    had no answer when the connection went.
    """

    port: int
    first: int
    step: int
    templates: tuple[Template, ...]
    acknowledged: list[int] = field(default_factory=list)
    in_flight: int | None = None
    complaint: str = ""

    def run(self) -> None:
        """Send until the receiver is gone."""
        try:
            sender = RawSender(self.port)
        except (OSError, Refused) as error:
            self.complaint = f"no association: {error!r}"
            return
        number = self.first
        try:
            while True:
                self.in_flight = number
                status = sender.store(uid_of(number), image(self.templates, number))
                if status != SUCCESS:
                    self.complaint = f"status 0x{status:04X}"
                    return
                self.acknowledged.append(number)
                number += self.step
        except OSError:
            sender.socket.close()


def image(made: Sequence[Template], number: int) -> bytes:
    """Return the bytes of the number-th instance, the same ones each time."""
    return made[number % len(made)].data_set(uid_of(number))


def load(site: Site, made: tuple[Template, ...], number: int, associations: int) -> list[Sender]:
    """Return the senders of a round; no two numbers of any two rounds are alike."""
    first = number * PER_ROUND
    return [
        Sender(port=site.port, first=first + index, step=associations, templates=made)
        for index in range(associations)
    ]


def wait_until_known(site: Site, numbers: Sequence[int]) -> None:
    """Wait until these instances are in the ledger, or the time is up."""
    wanted = set(map(uid_of, numbers))
    limit = time.monotonic() + RECOVERY_LIMIT_S
    while wanted - _paths(site, numbers).keys() and time.monotonic() < limit:
        time.sleep(LOOK_S)


def faults(site: Site, made: Sequence[Template], numbers: Sequence[int]) -> list[str]:
    """Say which instances are not as they were sent."""
    paths = _paths(site, numbers)
    found = []
    for number in numbers:
        path = paths.get(uid_of(number))
        if path is None:
            found.append(f"instance {number} is not in the ledger")
        elif not path.is_file():
            found.append(f"instance {number} is not in the spool")
        elif data_set_of(path) != image(made, number):
            found.append(f"instance {number} has other bytes")
    return found


def _paths(site: Site, numbers: Sequence[int]) -> dict[str, Path]:
    """Return the files between the first and the last of these; UIDs of one length sort so."""
    if not numbers:
        return {}
    return site.paths(uid_of(min(numbers)), uid_of(max(numbers)))


def resend(site: Site, made: Sequence[Template], numbers: Sequence[int]) -> list[str]:
    """Send what was in flight again, as a scanner does; say which was not taken."""
    found = []
    with RawSender(site.port) as sender:
        for number in numbers:
            status = sender.store(uid_of(number), image(made, number))
            if status != SUCCESS:
                found.append(f"instance {number} sent again: status 0x{status:04X}")
    return found


def kill_under_load(
    process: "subprocess.Popen[bytes]", senders: Sequence[Sender], after_s: float
) -> list[str]:
    """Let the senders run, and kill the process group some time after the first answer.

    Returns what went wrong before the kill.
    """
    threads = [threading.Thread(target=sender.run) for sender in senders]
    for thread in threads:
        thread.start()
    while not any(s.acknowledged for s in senders) and all(t.is_alive() for t in threads):
        time.sleep(0.001)
    time.sleep(after_s)
    ended = [
        s.complaint or "lost" for s, t in zip(senders, threads, strict=True) if not t.is_alive()
    ]
    kill_group(process)
    for thread in threads:
        thread.join()
    return [f"an association ended before the kill: {why}" for why in ended]


@contextmanager
def serving(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `segnode serve` and kill what the context leaves of it; tell its log on an error."""
    process = site.start()
    try:
        yield process
    except BaseException:
        print((site.folder / "serve.log").read_text(encoding="utf-8")[-5000:])
        raise
    finally:
        kill_group(process)


def a_round(
    site: Site, made: tuple[Template, ...], number: int, options: argparse.Namespace
) -> tuple[list[int], list[str]]:
    """Kill once under load; return what was acknowledged and what is wrong afterwards."""
    chance = random.Random(f"{options.seed}:{number}")
    senders = load(site, made, number, options.associations)
    with serving(site) as process:
        wait_until_answering(site.ae_title, site.port)
        found = kill_under_load(process, senders, chance.uniform(0, options.longest_s))
    if number % 5 == 4:
        with serving(site) as process:
            time.sleep(chance.uniform(0, 3))  # amid the start, or the recovery, or after both
            kill_group(process)
    acknowledged = [n for sender in senders for n in sender.acknowledged]
    in_flight = [s.in_flight for s in senders if s.in_flight is not None]
    started = time.monotonic()
    with serving(site) as process:
        wait_until_answering(site.ae_title, site.port)
        wait_until_known(site, acknowledged)
        took = time.monotonic() - started
        found += faults(site, made, acknowledged)
        found += resend(site, made, in_flight)
        wait_until_known(site, [*acknowledged, *in_flight])
        found += faults(site, made, in_flight)
        stop(process)
    print(
        f"round {number + 1}: {len(acknowledged)} acknowledged, "
        f"all known {took:.1f} s after the restart, {len(found)} faults",
        flush=True,
    )
    return acknowledged + in_flight, found


def main(arguments: Sequence[str]) -> int:
    """Run the rounds; return the exit code."""
    options = _options(arguments)
    made = templates(SIDES)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        site = make_site(Path(name), callers=[f"{CALLING}@127.0.0.1"])
        everything: list[int] = []
        found: list[str] = []
        for number in range(options.rounds):
            known, wrong = a_round(site, made, number, options)
            everything += known
            found += [f"round {number + 1}: {fault}" for fault in wrong]
        found += [f"at the end: {fault}" for fault in faults(site, made, everything)]
        left = [p for p in (site.folder / "spool" / "incoming").rglob("*") if p.is_file()]
        print(
            f"{options.rounds} kills, {len(everything)} instances acknowledged in all, "
            f"{len(found)} faults; {len(left)} files left in incoming"
        )
        if found:
            print("\n".join(found[:50]))
            print((site.folder / "serve.log").read_text(encoding="utf-8")[-5000:])
    return int(bool(found))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--longest-s", type=float, default=2.0, help="of load before the kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the disk to try; a temporary one")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
