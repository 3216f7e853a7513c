"""Which SOP classes are stored, and which are looked at for an analysis."""

import re
from typing import Final

from pydicom import uid as pydicom_uid

_NOT_AN_OBJECT: Final = frozenset({"1.2.840.10008.1.3.10"})
"""Media Storage Directory: a DICOMDIR, never sent by C-STORE."""

_STORAGE_NAME: Final = re.compile(r"Storage(?! Commitment)( - For|$| \(Retired\)| SOP Class)")


def _storage_classes() -> frozenset[str]:
    return frozenset(
        str(value)
        for value in vars(pydicom_uid).values()
        if isinstance(value, pydicom_uid.UID)
        and value.type == "SOP Class"
        and _STORAGE_NAME.search(value.name)
    )


STORAGE_CLASSES: Final = _storage_classes() - _NOT_AN_OBJECT
"""Every storage SOP class that the installed dictionary names (PS3.4 section B.5)."""

STORAGE_ARC: Final = "1.2.840.10008.5.1.4.1.1."
"""All that the standard hangs below here is storage, also what is younger than the dictionary."""


def is_storage_class(uid: str) -> bool:
    """Whether objects of this SOP class are stored here; private classes are not."""
    return uid in STORAGE_CLASSES or uid.startswith(STORAGE_ARC)
