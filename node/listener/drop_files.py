"""The files of a drop folder: which of them count, how they are opened, where bad ones go.

Names of files and folders may hold a patient's name, so they are written nowhere but into the
folder itself.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import BinaryIO, Final

REJECTED: Final = "rejected"
"""Folder below the drop folder for what is not taken."""

REASONS: Final = "reasons.txt"
"""File in it: time, code, file and sentence for each, separated by tabs."""

UNFINISHED: Final = frozenset({".part", ".filepart", ".tmp", ".crdownload"})
"""Endings under which programs write what they rename when it is whole."""


class NotTaken(Exception):
    """The name stands for something that is no plain file: a link, a device, a pipe."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when the content of a file does."""

    inode: int
    size: int
    modified_ns: int


def signature_of(state: os.stat_result) -> Signature:
    """Return the signature of a file."""
    return Signature(state.st_ino, state.st_size, state.st_mtime_ns)


def is_ignored(relative: PurePath) -> bool:
    """Whether a file below the drop folder never counts, by its name or a folder's above it."""
    parts = relative.parts
    return (
        not parts
        or parts[0] == REJECTED
        or any(part.startswith(".") for part in parts)
        or relative.suffix.lower() in UNFINISHED
    )


def files_in(root: Path) -> Iterator[Path]:
    """Yield every plain file that counts, folder by folder; links are not followed.

    A folder that cannot be listed is left out. Raises OSError when the root cannot be.
    """
    with os.scandir(root):
        pass
    folders = [root]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if is_ignored(path.relative_to(root)):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path


def is_reached_plainly(root: Path, path: Path) -> bool:
    """Whether no folder between the root and the file is a symbolic link."""
    try:
        return path.parent.resolve(strict=True) == root.resolve() / path.parent.relative_to(root)
    except OSError:
        return False


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading. Raises NotTaken for what is no plain file, OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotTaken
    # Not to block where a pipe has taken the file's place since.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    source = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        source.close()
        raise NotTaken
    return source


def remove_if_same(path: Path, signature: Signature) -> bool:
    """Remove a file unless it was written to since; False when it was. Raises OSError."""
    try:
        if signature_of(path.lstat()) != signature:
            return False
        path.unlink()
    except FileNotFoundError:
        pass
    return True


def reject(root: Path, path: Path, *, code: str, text: str, now: datetime) -> None:
    """Move a file to the same place below `rejected` and write down why. Raises OSError."""
    relative = path.relative_to(root)
    target = root / REJECTED / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        target = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
    path.rename(target)
    place = str(target.relative_to(root / REJECTED)).encode("utf-8", "backslashreplace")
    line = "\t".join((now.isoformat(timespec="seconds"), code, repr(place.decode())[1:-1], text))
    with (root / REJECTED / REASONS).open("a", encoding="utf-8") as reasons:
        reasons.write(line + "\n")


def remove_empty_folders(root: Path, *, changed_before: float) -> None:
    """Remove folders with nothing in them that were last changed before a time (Unix, s)."""
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if path == root or is_ignored(path.relative_to(root)):
            continue
        with suppress(OSError):
            if path.lstat().st_mtime < changed_before:
                path.rmdir()
