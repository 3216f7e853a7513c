"""What the words of other programs for sequences and labels mean, where they are known.

Used to notice a manifest that contradicts its model; a word that is not known passes.
Sources: dataset.json of nnU-Net's BraTS tasks, file names of BraTS 2017 to 2024.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from node.domain.errors import BundleInvalid
from node.domain.regions import Role

ROLE_WORDS: Final[Mapping[str, Role]] = {
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1wce", "t1wgd", "t1post"), Role.T1C),
    **dict.fromkeys(("t1", "t1n", "t1w"), Role.T1),
    **dict.fromkeys(("t2", "t2w"), Role.T2),
    **dict.fromkeys(("flair", "t2f", "t2flair"), Role.FLAIR),
}

LABEL_WORDS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("ncr", "necrosis", "necrotic"), 1),
    **dict.fromkeys(("ed", "edema", "oedema", "snfh"), 2),
    **dict.fromkeys(("et", "enhancing", "enhancingtumor", "enhancingtumour"), 3),
}
"""Segnode's number for a word: 1 NCR, 2 ED, 3 ET."""


def check_channels(names: Sequence[str], roles: Sequence[Role], source: str) -> None:
    """Raise BundleInvalid where a channel's name says another sequence than the manifest.

    source: the file that names the channels.
    """
    for place, (name, role) in enumerate(zip(names, roles, strict=False)):
        if ROLE_WORDS.get(_plain(name), role) != role:
            raise BundleInvalid(
                f"{source} names channel {place} {name!r}, the manifest says {role} there"
            )


def check_labels(names: Mapping[str, int], meaning: Mapping[int, int], source: str) -> None:
    """Raise BundleInvalid where a label's name says another part than the manifest.

    names: with the model's own numbers. meaning: from those to Segnode's, of the manifest.
    """
    for name, theirs in names.items():
        wanted = LABEL_WORDS.get(_plain(name))
        if wanted is not None and meaning.get(theirs, wanted) != wanted:
            raise BundleInvalid(
                f"{source} names label {theirs} {name!r}, which is {wanted} in Segnode; "
                f"the manifest says {meaning[theirs]}"
            )


def _plain(name: str) -> str:
    """Return a name in small letters and without punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
