"""Unique identifiers of our own, derived from what they name, so that a repeat is the same."""

import hashlib
import re
import uuid
from typing import Final

from node import __version__

UID_ROOT: Final = "2.25."
"""Root of UIDs that are derived from a UUID (PS3.5 section B.2)."""

_UID: Final = re.compile(r"[0-9.]{1,64}")


def derived_uid(*parts: str) -> str:
    """Return the UID that stands for these parts, always the same one, at most 44 characters.

    The UUID under the root is the head of SHA-256 over the parts; lengths are hashed too, so
    that ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return UID_ROOT + str(uuid.UUID(bytes=digest.digest()[:16], version=5).int)


def is_uid(text: str) -> bool:
    """Whether the text can be taken as a UID (PS3.5 section 9.1).

    Leading zeros in a component are forgiven, because scanners write them.
    """
    return _UID.fullmatch(text) is not None


IMPLEMENTATION_CLASS_UID: Final = derived_uid("segnode", "implementation class")
"""Sent in every association and written into every file meta group."""

IMPLEMENTATION_VERSION_NAME: Final = f"SEGNODE_{__version__}"[:16]
