"""Checks of `segnode doctor` and `/readyz`: one finding each, in words."""

import os
import socket
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from node.domain.errors import ConfigurationInvalid, SegnodeError
from node.domain.ids import DestinationName
from node.listener.callers import ANYONE
from node.net.scu import Peer, echo
from node.net.tls import TlsOptions, certificate_end
from node.segmentation.machine import Machine, describe, efforts
from node.store.ledger import Ledger
from node.store.spool import Spool

MIB = 1024 * 1024
CERTIFICATE_NOTICE = timedelta(days=30)
LEAST_FREE_RAM = 4 * 1024 * MIB
"""An analysis of four series of 1 mm, with the system beside it."""


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    grade: Grade
    text: str


def finding_of(check: str, probe: Callable[[], str]) -> Finding:
    """Run a probe that answers in words or raises a named error."""
    try:
        return Finding(check=check, grade=Grade.OK, text=probe())
    except SegnodeError as error:
        return Finding(check=check, grade=Grade.FAULT, text=f"{error.what}. {error.remedy}")


def check_spool(spool: Spool, *, min_free_bytes: int, min_free_inodes: int = 0) -> Finding:
    """Check that the spool can be written and has room."""

    def probe() -> str:
        spool.check_writable()
        return f"{spool.free_bytes() // MIB} MiB free"

    found = finding_of("spool", probe)
    if found.grade is not Grade.OK:
        return found
    room = spool.room()
    if room.free_bytes < min_free_bytes:
        text = f"{found.text}, less than the {min_free_bytes // MIB} MiB wanted"
        return Finding(check="spool", grade=Grade.WARN, text=text)
    if room.free_inodes is not None and room.free_inodes < min_free_inodes:
        text = f"{room.free_inodes} inodes free, fewer than the {min_free_inodes} wanted"
        return Finding(check="spool", grade=Grade.WARN, text=text)
    return found


def check_database(ledger: Ledger) -> Finding:
    """Check that the database answers."""

    def probe() -> str:
        ledger.health.ping()
        return ledger.engine.dialect.name

    return finding_of("database", probe)


def check_machine(machine: Machine) -> Finding:
    """Say what the machine has, and what an analysis would use of it."""
    first = efforts(machine)[0]
    text = f"{machine}; analyses use {describe(first)}"
    if machine.free_ram_bytes < LEAST_FREE_RAM:
        text += f"; with less than {LEAST_FREE_RAM // MIB} MiB free they may not fit"
        return Finding(check="machine", grade=Grade.WARN, text=text)
    return Finding(check="machine", grade=Grade.OK, text=text)


def check_brain_methods(methods: Collection[str]) -> Finding:
    """Say which ways to find the brain there are."""
    if not methods:
        text = "none is installed, so that only skull-stripped series can be analysed"
        return Finding(check="brain extraction", grade=Grade.FAULT, text=text)
    return Finding(check="brain extraction", grade=Grade.OK, text=", ".join(sorted(methods)))


def check_callers(callers: Sequence[str]) -> Finding:
    """Check that somebody may send, and not everybody."""
    check = "callers"
    if not callers:
        text = "listen.callers names nobody, so that nobody can send"
        return Finding(check=check, grade=Grade.WARN, text=text)
    if ANYONE in callers:
        text = "everybody may send; name AE titles with their addresses"
        return Finding(check=check, grade=Grade.WARN, text=text)
    loose = [entry for entry in callers if "@" not in entry]
    if loose:
        text = f"let in from every address: {', '.join(loose)}"
        return Finding(check=check, grade=Grade.WARN, text=text)
    return Finding(check=check, grade=Grade.OK, text=f"{len(callers)} may send")


def check_certificate(options: TlsOptions, now: datetime) -> Finding:
    """Check that the TLS files can be used, by using them, and for how long they can.

    What is true of the files is in force: the listener reads them anew when they change.
    """
    check = "TLS certificate"
    try:
        end = certificate_end(options)
    except ConfigurationInvalid as error:
        return Finding(check=check, grade=Grade.FAULT, text=f"{error.what}. {error.remedy}")
    text = f"{options.certificate} ends on {end:%Y-%m-%d}"
    if end - now < CERTIFICATE_NOTICE:
        return Finding(check=check, grade=Grade.WARN, text=f"{text}; renew it")
    if _is_for_all_to_read(options.key):
        text = f"everybody on this machine may read {options.key}"
        return Finding(check=check, grade=Grade.WARN, text=text)
    return Finding(check=check, grade=Grade.OK, text=text)


def _is_for_all_to_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def check_port(check: str, host: str, port: int) -> Finding:
    """Check that the port can be listened on, or that somebody listens already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if _answers(host, port):
                text = f"{host}:{port} is in use, by a running node or by another program"
                return Finding(check=check, grade=Grade.WARN, text=text)
            text = f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}"
            return Finding(check=check, grade=Grade.FAULT, text=text)
    return Finding(check=check, grade=Grade.OK, text=f"{host}:{port} is free")


def _answers(host: str, port: int) -> bool:
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    try:
        with socket.create_connection((target, port), timeout=2):
            return True
    except OSError:
        return False


def check_destinations(peers: Mapping[DestinationName, Peer]) -> Sequence[Finding]:
    """C-ECHO every destination."""
    if not peers:
        text = "none is configured, so no study is analysed"
        return (Finding(check="destinations", grade=Grade.WARN, text=text),)

    def echoed(peer: Peer) -> str:
        echo(peer)
        return f"{peer.ae_title}@{peer.host}:{peer.port} answers"

    return tuple(
        finding_of(f"destination {name}", lambda peer=peer: echoed(peer))  # type: ignore[misc]
        for name, peer in peers.items()
    )


def check_bundles(
    wanted: Mapping[str, str], find_and_verify: Callable[[str], str]
) -> Sequence[Finding]:
    """Verify every bundle that a rule names. wanted: rule name to bundle name."""
    return tuple(
        finding_of(f"bundle {bundle}", lambda bundle=bundle: find_and_verify(bundle))  # type: ignore[misc]
        for bundle in sorted(set(wanted.values()))
    )


def check_rules(
    folder: Path,
    errors: Sequence[SegnodeError],
    destinations: Mapping[str, Sequence[str]],
    known: Collection[str],
) -> Finding:
    """Check that there are valid rules. destinations: by rule name; known: those configured."""
    names = list(destinations)
    unknown = {name for wanted in destinations.values() for name in wanted} - set(known)
    if unknown:
        text = f"rules name destinations that are not configured: {', '.join(sorted(unknown))}"
        return Finding(check="rules", grade=Grade.FAULT, text=text)
    if errors:
        text = "; ".join(error.what for error in errors)
        return Finding(check="rules", grade=Grade.FAULT, text=text)
    if not names:
        text = f"no rule in {folder}, so no study is analysed"
        return Finding(check="rules", grade=Grade.WARN, text=text)
    return Finding(check="rules", grade=Grade.OK, text=", ".join(names))
