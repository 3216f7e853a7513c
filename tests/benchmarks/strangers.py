"""What strangers and rude senders cost: `python -m tests.benchmarks.strangers`.

10,000 bare TCP connections, 1,000 associations that are aborted (one half at once, the other in
the middle of a data set) and 500 connections that say nothing, each against resident memory,
threads and descriptors of all processes of `segnode serve`, before and after; and what an honest
sender needs meanwhile. Then, on the TLS port, the time of a study with and without clients that
connect and stay silent.
"""

import argparse
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.corpus import CALLING, SIDE, Template, templates, uid_of
from tests.benchmarks.raw_scu import SUCCESS, RawSender, Refused
from tests.benchmarks.receivers import wait_until_answering
from tests.benchmarks.segnode_site import Site, make_site, stop, tree
from tests.support.certificates import Authority
from tests.support.peers import free_port

MIB: Final = 2**20
WARM_UP: Final = 400
REST_S: Final = 2.0
REST_LIMIT_S: Final = 60.0
RETRY_S: Final = 0.01
HALF_OPEN: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What all processes of the node hold. unique: pages that no other process shares, bytes."""

    processes: int
    resident: int
    unique: int
    threads: int
    descriptors: int

    def __str__(self) -> str:
        return (
            f"{self.resident / MIB:.1f} MiB resident ({self.unique / MIB:.1f} of its own), "
            f"{self.threads} threads, {self.descriptors} descriptors, {self.processes} processes"
        )


def footprint(process: "subprocess.Popen[bytes]") -> Footprint:
    """Look at a node and all that it has started."""
    found = list(tree(process))
    memory = [one.memory_full_info() for one in found]
    return Footprint(
        processes=len(found),
        resident=sum(m.rss for m in memory),
        unique=sum(m.uss for m in memory),
        threads=sum(one.num_threads() for one in found),
        descriptors=sum(one.num_fds() for one in found),
    )


def at_rest(process: "subprocess.Popen[bytes]") -> Footprint:
    """Return the footprint once threads and descriptors stay the same for a while."""
    limit = time.monotonic() + REST_LIMIT_S
    last = footprint(process)
    while time.monotonic() < limit:
        time.sleep(REST_S)
        now = footprint(process)
        if (now.threads, now.descriptors) == (last.threads, last.descriptors):
            return now
        last = now
    return last


class Honest:
    """A sender that behaves; every image is another one."""

    def __init__(self, site: Site, tls_port: int, tls: ssl.SSLContext) -> None:
        self._site = site
        self._tls_port = tls_port
        self._tls = tls
        self._template: Template = templates([SIDE])[0]
        self._number = 0

    def send(self, images: int, *, tls: bool = False) -> float:
        """Send so many images in an association of its own; return the seconds it took."""
        started = time.perf_counter()
        port = self._tls_port if tls else self._site.port
        with RawSender(port, tls=self._tls if tls else None) as sender:
            for _ in range(images):
                uid = uid_of(self._number)
                self._number += 1
                status = sender.store(uid, self._template.data_set(uid))
                if status != SUCCESS:
                    message = f"an honest sender is refused: 0x{status:04X}"
                    raise RuntimeError(message)
        return time.perf_counter() - started


def bare_connects(port: int, number: int) -> None:
    """Connect and hang up, as the probes of a load balancer do."""
    for _ in range(number):
        socket.create_connection(("127.0.0.1", port), 30).close()


def patient_sender(port: int) -> RawSender:
    """Associate, later when there are too many: the node may not have read the last aborts yet."""
    limit = time.monotonic() + REST_LIMIT_S
    while True:
        try:
            return RawSender(port)
        except Refused:
            if time.monotonic() > limit:
                raise
            time.sleep(RETRY_S)


def aborted_associations(port: int, number: int) -> None:
    """Abort at once, or amid a data set, in turn."""
    (template,) = templates([SIDE])
    for index in range(number):
        sender = patient_sender(port)
        if index % 2:
            uid = uid_of(10**9 + index)
            request = sender.request(uid, template.data_set(uid))
            sender.socket.sendall(request[: len(request) // 2])
        sender.abort()


@contextmanager
def silent(port: int, number: int) -> Iterator[None]:
    """Hold connections open that say nothing."""
    held = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(number)]
    try:
        yield
    finally:
        for one in held:
            one.close()


def change(before: float, after: float) -> str:
    """Write a change as a share."""
    return f"{(after - before) / before:+.1%}"


def compare(title: str, process: "subprocess.Popen[bytes]", act: Callable[[], None]) -> Footprint:
    """Print the footprint before and after an act, and the time that it took."""
    before = at_rest(process)
    started = time.perf_counter()
    act()
    seconds = time.perf_counter() - started
    after = at_rest(process)
    print(f"{title}: {seconds:.1f} s")
    print(f"  before  {before}")
    print(f"  after   {after}")
    print(
        f"  change  resident {change(before.resident, after.resident)}, "
        f"of its own {change(before.unique, after.unique)}, "
        f"threads {change(before.threads, after.threads)}",
        flush=True,
    )
    return after


def while_silent(
    title: str, honest: Honest, port: int, options: argparse.Namespace, *, tls: bool
) -> None:
    """Print the time of a study with more and more silent connections on the same port."""
    for number in (0, 1, HALF_OPEN):
        with silent(port, number):
            times = [honest.send(options.images, tls=tls) for _ in range(options.rounds)]
        print(
            f"{title}, {number} silent: {options.images} images in "
            f"{statistics.median(times):.2f} s ({min(times):.2f}-{max(times):.2f})",
            flush=True,
        )


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        node, client = authority.issue("localhost"), authority.issue("bench")
        port = free_port()
        site = make_site(
            _made(folder / "site"),
            callers=[f"{CALLING}@127.0.0.1"],
            tls={
                "port": port,
                "certificate": str(node.certificate),
                "key": str(node.key),
                "authorities": str(node.authorities),
            },
        )
        context = ssl.create_default_context(cafile=str(authority.path))
        context.load_cert_chain(client.certificate, client.key)
        context.check_hostname = False  # the certificate names localhost.example.org
        honest = Honest(site, port, context)
        process = site.start()
        try:
            wait_until_answering(site.ae_title, site.port)
            _measure(process, site, honest, port, options)
        finally:
            stop(process)


def _measure(
    process: "subprocess.Popen[bytes]",
    site: Site,
    honest: Honest,
    tls_port: int,
    options: argparse.Namespace,
) -> None:
    honest.send(WARM_UP)
    honest.send(WARM_UP // 10, tls=True)
    for _ in range(4):  # every receiving process has had one of the rude, too
        aborted_associations(site.port, 10)
    compare(
        f"{options.connects} bare connections",
        process,
        lambda: bare_connects(site.port, options.connects),
    )
    compare(
        f"{options.connects} bare connections on the TLS port",
        process,
        lambda: bare_connects(tls_port, options.connects),
    )
    compare(
        f"{options.aborts} aborted associations",
        process,
        lambda: aborted_associations(site.port, options.aborts),
    )
    with silent(site.port, HALF_OPEN):
        print(f"with {HALF_OPEN} silent connections: {footprint(process)}")
    while_silent("plain port", honest, site.port, options, tls=False)
    while_silent("TLS port", honest, tls_port, options, tls=True)
    print(f"at the end: {at_rest(process)}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connects", type=int, default=10_000)
    parser.add_argument("--aborts", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100, help="of a study")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
