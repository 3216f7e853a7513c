"""Stage results on disk: a stage that finds its artefacts valid does not compute again.

Each stage leaves its files and, last, `<stage>.json`: the hash of every file, the hash of the
previous stage's record and the parameters that the result depends on. A record is valid only
while all of that still holds, so an update of the bundle or of the software computes anew.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from node.domain.errors import SpoolDamaged
from node.imaging.artefacts import write_durably


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
    try:
        whole = all(
            (folder / name).is_file() and file_sha256(folder / name) == sha256
            for name, sha256 in content["files"].items()
        )
        record = StageRecord(seconds=content["seconds"], summary=content["summary"])
    except (KeyError, TypeError, AttributeError):  # written by somebody else
        return None
    return record if whole else None


def record_key(folder: Path, stage: str) -> str | None:
    """Return the key under which a stage's record was made; None when there is none."""
    try:
        content = json.loads(_record_path(folder, stage).read_bytes())
    except (OSError, ValueError):
        return None
    key = content.get("key") if isinstance(content, dict) else None
    return key if isinstance(key, str) else None


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


def stage_key(upstream: str, parameters: dict[str, str]) -> str:
    """Hash of all that a stage's result depends on."""
    text = json.dumps([upstream, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
