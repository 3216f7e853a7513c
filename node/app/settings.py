"""node.yaml: the one configuration, read here and nowhere else.

Relative paths are relative to the file's folder. Unknown keys are errors, so that a
misspelt one is not silently without effect.
"""

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from node.domain.errors import ConfigurationInvalid

AETitleText = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_\-. ]{1,16}$", strip_whitespace=True)
]
Port = Annotated[int, Field(ge=0, le=65535)]
DestinationKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]

MIB = 1024 * 1024


class Section(BaseModel):
    """A part of the file; frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Listen(Section):
    """Where images come in.

    callers: who may send, as AE, AE@address, AE@network/bits or *@address; empty means all.
    """

    host: str = "127.0.0.1"
    port: Port = 11112
    callers: tuple[str, ...] = ()
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    idle_timeout_s: Annotated[float, Field(gt=0)] = 60.0


class Http(Section):
    """Where health and metrics are read."""

    host: str = "127.0.0.1"
    port: Port = 8080


class Destination(Section):
    """An archive that results are sent to."""

    ae_title: AETitleText
    host: str
    port: Port
    timeout_s: Annotated[float, Field(gt=0)] = 30.0


class Work(Section):
    """The executing half.

    executor_id: differs between machines and stays the same over restarts; by default the
    host's name, and "local" on SQLite, where there is one.
    """

    executor_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{0,64}$")] = ""
    analyses_at_once: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    polling_s: Annotated[float, Field(gt=0, le=60)] = 0.2


class Retry(Section):
    """How delivery to a destination that does not answer is repeated."""

    first_s: Annotated[float, Field(gt=0)] = 5.0
    factor: Annotated[float, Field(ge=1)] = 2.0
    longest_s: Annotated[float, Field(gt=0)] = 900.0
    attempts: Annotated[int, Field(ge=1, le=1000)] = 12


class Settings(Section):
    """The whole of node.yaml."""

    ae_title: AETitleText = "SEGNODE"
    database: str = "sqlite:///segnode.sqlite"
    spool: Path = Path("spool")
    rules: Path = Path("rules")
    bundles: tuple[Path, ...] = (Path("bundles"),)
    listen: Listen = Listen()
    http: Http = Http()
    destinations: dict[DestinationKey, Destination] = {}
    work: Work = Work()
    retry: Retry = Retry()
    overlay_thickness_mm: Annotated[float, Field(gt=0, le=20)] = 3.0
    min_free_mib: Annotated[int, Field(ge=0)] = 1024
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    folder: Path = Path()
    """The folder of the file; set by the reader, not by the administrator."""

    def resolve(self, path: Path) -> Path:
        """Return a path of the file as an absolute one."""
        return path if path.is_absolute() else (self.folder / path).resolve()

    @property
    def database_url(self) -> str:
        """The database URL with a relative SQLite file made absolute."""
        prefix = "sqlite:///"
        if self.database.startswith(prefix) and self.database != prefix:
            return prefix + str(self.resolve(Path(self.database.removeprefix(prefix))))
        return self.database

    @property
    def executor_id(self) -> str:
        """The name under which this machine's work is taken up again after a restart."""
        return self.work.executor_id or ("local" if self.is_embedded else socket.gethostname())

    @property
    def is_embedded(self) -> bool:
        """Whether the database is SQLite, which allows one executor only."""
        return self.database.startswith("sqlite")


def find_configuration(given: Path | None) -> Path:
    """Return the file to read: as given, or SEGNODE_CONFIG, or node.yaml here."""
    return given or Path(os.environ.get("SEGNODE_CONFIG", "node.yaml"))


def read_settings(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises ConfigurationInvalid naming the file and each wrong key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ConfigurationInvalid(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not YAML: {error}"
        raise ConfigurationInvalid(message) from error
    if content is None:
        content = {}
    if not isinstance(content, dict) or "folder" in content:
        message = f"{path} must be a mapping of the documented keys"
        raise ConfigurationInvalid(message)
    try:
        return Settings.model_validate({**content, "folder": path.resolve().parent})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        )
        message = f"{path}: {problems}"
        raise ConfigurationInvalid(message) from error
