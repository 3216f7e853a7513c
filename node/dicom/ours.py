"""Whether an object was written by Segnode itself; what we wrote is never input again."""

from typing import Final

from node.domain.header import Header, Identity

MANUFACTURER: Final = "Segnode"
"""Manufacturer (0008,0070) of every object that we write."""

SOFTWARE_PREFIX: Final = "segnode "
"""Beginning of Software Versions (0018,1020) of every object that we write."""


def is_ours(header: Header | Identity) -> bool:
    """Whether the equipment that wrote the object is Segnode (PS3.3 C.7.5.1)."""
    return header.manufacturer.casefold() == MANUFACTURER.casefold() or (
        header.software_versions.casefold().startswith(SOFTWARE_PREFIX)
    )
