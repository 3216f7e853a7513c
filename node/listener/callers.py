"""Who may call: AE titles, addresses, or both (pure)."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from node.domain.errors import ConfigurationInvalid

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYONE = "*"


@dataclass(frozen=True, slots=True)
class Caller:
    """One entry of the list; None stands for any."""

    ae_title: str | None
    network: Network | None

    def admits(self, ae_title: str, address: str) -> bool:
        """Whether a caller with this AE title at this numeric address is meant."""
        if self.ae_title is not None and self.ae_title != ae_title:
            return False
        return self.network is None or _plain(address) in self.network


def parse_callers(entries: Iterable[str]) -> tuple[Caller, ...]:
    """Read entries `AE`, `AE@address`, `AE@network/bits`, `*@address` or `*`.

    Raises ConfigurationInvalid naming the entry.
    """
    return tuple(map(_parse, entries))


def may_call(callers: tuple[Caller, ...], ae_title: str, address: str) -> bool:
    """Whether the list admits the caller; an empty list admits everyone."""
    return not callers or any(caller.admits(ae_title, address) for caller in callers)


def _parse(entry: str) -> Caller:
    title, at, address = (part.strip() for part in entry.partition("@"))
    if not 0 < len(title) <= 16 or (at and not address):
        raise ConfigurationInvalid(f"caller {entry!r} is not of the form AE@address, AE or *")
    try:
        network = ipaddress.ip_network(address, strict=False) if address else None
    except ValueError as error:
        raise ConfigurationInvalid(f"caller {entry!r} names no numeric address") from error
    return Caller(None if title == ANYONE else title, network)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; an IPv4 one also where a dual-stack socket shows it as IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
