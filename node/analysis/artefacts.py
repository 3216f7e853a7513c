"""Stage results on disk: a stage that finds its artefacts valid does not compute again.

Each stage leaves its files and, last, `<stage>.json`: the hash of every file, the hash of the
previous stage's record and the parameters that the result depends on. A record is valid only
while all of that still holds, so an update of the bundle or of the software computes anew.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from node.domain.errors import SpoolDamaged, SpoolUnwritable


def file_sha256(path: Path) -> str:
    """Hash a file without reading it into memory at once."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _record_path(folder: Path, stage: str) -> Path:
    return folder / f"{stage}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What a stage found (JSON-able) and how long it took."""

    seconds: float
    summary: dict[str, object]


def read_record(folder: Path, stage: str, *, key: str | None) -> StageRecord | None:
    """Return a stage's record when it was made under this key and its files are whole.

    key: None accepts a record of any key.
    """
    try:
        content = json.loads(_record_path(folder, stage).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or key not in {None, content.get("key")}:
        return None
    files: dict[str, str] = content["files"]
    whole = all(
        (folder / name).is_file() and file_sha256(folder / name) == sha256
        for name, sha256 in files.items()
    )
    record = StageRecord(seconds=content["seconds"], summary=content["summary"])
    return record if whole else None


def record_sha256(folder: Path, stage: str) -> str:
    """Hash of a stage's record. Raises SpoolDamaged when there is none."""
    try:
        return file_sha256(_record_path(folder, stage))
    except OSError as error:
        message = f"the artefacts of stage {stage} are gone from the spool"
        raise SpoolDamaged(message) from error


def write_record(
    folder: Path, stage: str, record: StageRecord, *, key: str, names: tuple[str, ...]
) -> None:
    """Close a stage: hash its files and write the record, durable before it is visible.

    Raises SpoolUnwritable.
    """
    files = {name: file_sha256(folder / name) for name in names}
    text = json.dumps({"key": key, "files": files, **asdict(record)}, indent=1)
    write_durably(_record_path(folder, stage), text.encode())


def write_durably(path: Path, content: bytes) -> None:
    """Write, fsync and rename into place. Raises SpoolUnwritable."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        message = f"an artefact could not be written: {error.strerror}"
        raise SpoolUnwritable(message) from error


def stage_key(upstream: str, parameters: dict[str, str]) -> str:
    """Hash of all that a stage's result depends on."""
    text = json.dumps([upstream, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
