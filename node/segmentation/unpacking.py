"""Unpack a ZIP archive that may be hostile: inside one folder, and within bounds."""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from node.domain.errors import BundleInvalid

CHUNK_BYTES: Final = 1024 * 1024
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED: Final = 0x1

DAMAGE: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""What the standard library raises when an archive is not what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """What an archive may hold: members, and bytes of all of them together unpacked."""

    members: int = 200
    total_bytes: int = 4 * 1024**3


def unpack(archive: Path, into: Path, limits: UnpackLimits = UnpackLimits()) -> None:
    """Unpack an archive into an empty folder, which is made.

    Only plain files below the folder come out: no links, no absolute paths, no "..", no two
    members of one name; nothing that is encrypted. Raises BundleInvalid for everything else,
    for a damaged archive and for one beyond the limits; OSError when it cannot be written.
    """
    into.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check(archive.name, members, limits)
            for member in members:
                if not member.is_dir():
                    _extract(opened, member, into / member.filename)
    except DAMAGE as error:
        raise BundleInvalid(f"{archive.name} is no whole ZIP archive") from error


def _check(name: str, members: list[zipfile.ZipInfo], limits: UnpackLimits) -> None:
    """Refuse an archive before a byte of it is written."""
    if len(members) > limits.members:
        raise BundleInvalid(f"{name} holds more than {limits.members} files")
    if sum(member.file_size for member in members) > limits.total_bytes:
        raise BundleInvalid(f"{name} unpacks to more than {limits.total_bytes} bytes")
    for member in members:
        problem = _problem(member)
        if problem:
            raise BundleInvalid(f"{name}: a member {problem}")
    names = {member.filename.rstrip("/").casefold(): member.is_dir() for member in members}
    folders = {str(parent) for one in names for parent in PurePosixPath(one).parents}
    if len(names) < len(members) or any(one in folders and not names[one] for one in names):
        raise BundleInvalid(f"{name} holds two files of one name")


def _problem(member: zipfile.ZipInfo) -> str:
    """Say why a member cannot be taken, or return ""."""
    parts = PurePosixPath(member.filename).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in member.filename or ":" in parts[0]:
        return "lies outside the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in METHODS:
        return "is compressed in an unusual way"
    return ""


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; zipfile gives no more bytes than the member's stated length."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
    if target.stat().st_size != member.file_size:
        raise zipfile.BadZipFile
