"""Who may call: AE titles, addresses, or both, and how the others are told no (pure)."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.domain.errors import ConfigurationInvalid
from node.telemetry.outcomes import RejectionKind

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYONE: Final = "*"


@dataclass(frozen=True, slots=True)
class Caller:
    """One entry of the list; None stands for any."""

    ae_title: str | None
    network: Network | None

    def admits(self, ae_title: str, address: str) -> bool:
        """Whether a caller with this AE title at this numeric address is meant."""
        if self.ae_title is not None and self.ae_title != ae_title:
            return False
        return self.network is None or is_within((self.network,), address)


def parse_callers(entries: Iterable[str]) -> tuple[Caller, ...]:
    """Read entries `AE`, `AE@address`, `AE@network/bits`, `*@address` or `*`.

    Raises ConfigurationInvalid naming the entry.
    """
    return tuple(map(_parse, entries))


def may_call(callers: Sequence[Caller], ae_title: str, address: str) -> bool:
    """Whether the list admits the caller; an empty list admits nobody."""
    return any(caller.admits(ae_title, address) for caller in callers)


def may_connect(callers: Sequence[Caller], address: str) -> bool:
    """Whether any entry could admit a caller at this address.

    For a TLS port: whom no entry can admit needs no handshake, which costs more than it tells.
    """
    return any(c.network is None or is_within((c.network,), address) for c in callers)


def parse_networks(entries: Iterable[str]) -> tuple[Network, ...]:
    """Read entries `address` or `network/bits`. Raises ConfigurationInvalid naming the entry."""
    return tuple(_network(entry.strip(), f"network {entry!r}") for entry in entries)


def is_within(networks: Iterable[Network], address: str) -> bool:
    """Whether a numeric address lies in one of the networks; what is no address never does."""
    try:
        plain = _plain(address)
    except ValueError:
        return False
    return any(plain in network for network in networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an A-ASSOCIATE-RQ says about itself. Titles may be padded; address: numeric."""

    protocol_version: int = 1
    called_ae_title: str
    calling_ae_title: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who is let in, and how many associations at once, in all and of one caller."""

    ae_title: str
    callers: tuple[Caller, ...]
    require_called_ae_title: bool = True
    most: int = 32
    most_per_caller: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """Associations that are open, without the one that is asked for; whether more can be done.

    of_caller: those of the same calling AE title.
    """

    open: int = 0
    of_caller: int = 0
    overloaded: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """The fields of an A-ASSOCIATE-RJ, and the kind that it is counted as.

    Source: PS3.8 table 9-21.
    """

    result: int
    source: int
    reason: int
    kind: RejectionKind

    @property
    def is_transient(self) -> bool:
        """Whether the caller may try again later with the same request."""
        return self.result == 2


PROTOCOL_NOT_SUPPORTED: Final = Rejection(1, 2, 2, "protocol")
CALLING_AE_TITLE_UNKNOWN: Final = Rejection(1, 1, 3, "calling-ae-title")
CALLED_AE_TITLE_UNKNOWN: Final = Rejection(1, 1, 7, "called-ae-title")
TEMPORARY_CONGESTION: Final = Rejection(2, 3, 1, "overloaded")
LOCAL_LIMIT_EXCEEDED: Final = Rejection(2, 3, 2, "too-many")


def rejection(request: Request, policy: Policy, occupancy: Occupancy) -> Rejection | None:
    """Return why an association is rejected; None when it is welcome.

    A stranger is told one thing only, whether its title or its address is not on the list, and
    before anything else is looked at: neither the node's own title nor its load can be guessed.
    """
    if not request.protocol_version & 1:  # only the first bit is to be tested, PS3.8 9.3.2
        return PROTOCOL_NOT_SUPPORTED
    if not may_call(policy.callers, request.calling_ae_title.strip(), request.address):
        return CALLING_AE_TITLE_UNKNOWN
    if policy.require_called_ae_title and request.called_ae_title.strip() != policy.ae_title:
        return CALLED_AE_TITLE_UNKNOWN
    if occupancy.overloaded:
        return TEMPORARY_CONGESTION
    if occupancy.open >= policy.most or occupancy.of_caller >= policy.most_per_caller:
        return LOCAL_LIMIT_EXCEEDED
    return None


def _parse(entry: str) -> Caller:
    title, at, address = (part.strip() for part in entry.partition("@"))
    if not 0 < len(title) <= 16 or (at and not address):
        raise ConfigurationInvalid(f"caller {entry!r} is not of the form AE@address, AE or *")
    network = _network(address, f"caller {entry!r}") if address else None
    return Caller(None if title == ANYONE else title, network)


def _network(text: str, named: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigurationInvalid(f"{named} names no numeric address") from error


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; an IPv4 one also where a dual-stack socket shows it as IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
