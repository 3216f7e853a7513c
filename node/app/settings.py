"""node.yaml: the one configuration, read here and nowhere else.

Relative paths are relative to the file's folder. Unknown keys are errors, so that a
misspelt one is not silently without effect.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from node.domain.errors import ConfigurationInvalid
from node.listener.callers import parse_callers, parse_networks
from node.net.tls import TlsOptions

AETitleText = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_\-. ]{1,16}$", strip_whitespace=True)
]
Port = Annotated[int, Field(ge=0, le=65535)]
DestinationKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]

MIB = 1024 * 1024


class Section(BaseModel):
    """A part of the file; frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Section):
    """What one association may bring. instance_mib: one data set; times in seconds.

    message_s: for one message, from its first byte to its last.
    """

    instance_mib: Annotated[int, Field(ge=1)] = 4096
    instances_per_association: Annotated[int, Field(ge=1)] = 100_000
    association_s: Annotated[float, Field(gt=0)] = 6 * 3600.0
    message_s: Annotated[float, Field(gt=0)] = 600.0


class Tls(Section):
    """A second port that speaks TLS only; PEM files, read anew when they change.

    key: belongs to the certificate, without a passphrase. authorities: whose certificates the
    callers must show.
    """

    port: Port = 2762
    certificate: Path
    key: Path
    authorities: Path | None = None
    client_certificate_required: bool = True

    @model_validator(mode="after")
    def _names_who_is_trusted(self) -> Self:
        if self.client_certificate_required and self.authorities is None:
            message = "authorities must be named when client certificates are required"
            raise ValueError(message)
        return self


class CallerAddress(Section):
    """Where a caller listens itself."""

    host: str
    port: Port


class Listen(Section):
    """Where images come in.

    callers: who may send, as AE, AE@address, AE@network/bits or *@address; empty means nobody.
    processes: that receive; 0 chooses by the machine's cores. patience_s: until a connection
    must ask for an association. peers: where the answers of storage commitment go when a caller
    has left, by its AE title.
    """

    host: str = "127.0.0.1"
    port: Port = 11112
    callers: tuple[str, ...] = ()
    require_called_ae_title: bool = True
    processes: Annotated[int, Field(ge=0, le=64)] = 0
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    max_associations_per_caller: Annotated[int, Field(ge=1, le=1000)] = 16
    patience_s: Annotated[float, Field(gt=0)] = 10.0
    idle_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    limits: Limits = Limits()
    tls: Tls | None = None
    peers: dict[AETitleText, CallerAddress] = {}

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.tls is not None and self.tls.port == self.port != 0:
            message = "port and tls.port must differ"
            raise ValueError(message)
        return self

    @field_validator("callers")
    @classmethod
    def _callers_can_be_read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        return _readable(parse_callers, entries)


class Http(Section):
    """Where health and metrics are read, and images sent by STOW-RS where that is open.

    stow_from: networks that may send images; empty means none. stow_token_file: holds the
    bearer token that they must show; none is asked for without it.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    stow_from: tuple[str, ...] = ()
    stow_token_file: Path | None = None

    @field_validator("stow_from")
    @classmethod
    def _networks_can_be_read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        return _readable(parse_networks, entries)


class Drop(Section):
    """A folder whose files are taken as if they had been sent; none without a name."""

    folder: Path | None = None


class Overload(Section):
    """When new images are refused, until it is better again.

    most_unsettled: instances that are acknowledged and not yet in the ledger.
    most_waiting_analyses: that are queued.
    """

    min_free_mib: Annotated[int, Field(ge=0)] = 1024
    min_free_inodes: Annotated[int, Field(ge=0)] = 10_000
    most_unsettled: Annotated[int, Field(ge=1)] = 20_000
    most_waiting_analyses: Annotated[int, Field(ge=1)] = 5_000


class Destination(Section):
    """An archive that results are sent to."""

    ae_title: AETitleText
    host: str
    port: Port
    timeout_s: Annotated[float, Field(gt=0)] = 30.0


class WorkLimits(Section):
    """Seconds after which a computation is stopped and the analysis fails with that reason."""

    brain_s: Annotated[float, Field(gt=0)] = 600.0
    infer_s: Annotated[float, Field(gt=0)] = 1800.0


class Work(Section):
    """The executing half.

    executor_id: differs between machines and stays the same over restarts; by default the
    host's name, and "local" on SQLite, where there is one. threads: of the computation, 0 for
    one a core. brain_method: how the brain is found; "auto" chooses for each study.
    """

    executor_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{0,64}$")] = ""
    analyses_at_once: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    polling_s: Annotated[float, Field(gt=0, le=60)] = 0.2
    limits: WorkLimits = WorkLimits()
    brain_method: Literal["auto", "hd-bet", "hd-bet-v1", "deepbet"] = "auto"


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
    drop: Drop = Drop()
    overload: Overload = Overload()
    destinations: dict[DestinationKey, Destination] = {}
    work: Work = Work()
    retry: Retry = Retry()
    overlay_thickness_mm: Annotated[float, Field(gt=0, le=20)] = 3.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    folder: Path = Path()
    """The folder of the file; set by the reader, not by the administrator."""

    @model_validator(mode="before")
    @classmethod
    def _take_the_old_place(cls, content: Any) -> Any:
        """Read min_free_mib also where it stood before there was `overload`."""
        if not isinstance(content, dict) or "min_free_mib" not in content:
            return content
        rest = {key: value for key, value in content.items() if key != "min_free_mib"}
        overload = rest.get("overload") or {}
        if not isinstance(overload, dict) or "min_free_mib" in overload:
            message = "min_free_mib is said twice; it belongs into overload"
            raise ValueError(message)
        return {**rest, "overload": {**overload, "min_free_mib": content["min_free_mib"]}}

    @property
    def min_free_mib(self) -> int:
        """Free space below which images are refused, MiB."""
        return self.overload.min_free_mib

    def resolve(self, path: Path) -> Path:
        """Return a path of the file as an absolute one."""
        return path if path.is_absolute() else (self.folder / path).resolve()

    @property
    def tls_options(self) -> TlsOptions | None:
        """How the TLS port is spoken to; None when there is none."""
        tls = self.listen.tls
        if tls is None:
            return None
        return TlsOptions(
            certificate=self.resolve(tls.certificate),
            key=self.resolve(tls.key),
            authorities=None if tls.authorities is None else self.resolve(tls.authorities),
            client_certificate_required=tls.client_certificate_required,
        )

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


def _readable(
    parse: Callable[[tuple[str, ...]], object], entries: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the entries when they can be parsed; the error is one of their key otherwise."""
    try:
        parse(entries)
    except ConfigurationInvalid as error:
        raise ValueError(error.what) from error
    return entries


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
            ": ".join(part for part in (".".join(map(str, problem["loc"])), problem["msg"]) if part)
            for problem in error.errors()
        )
        message = f"{path}: {problems}"
        raise ConfigurationInvalid(message) from error
