"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.domain.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from node.app.settings import Settings
    from node.net.scu import Peer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file (else $SEGNODE_CONFIG, else ./node.yaml)."
    ),
]


def settings_from(config: Path | None) -> "Settings":
    """Read the configuration that the option, the environment or the folder names."""
    from node.app.settings import find_configuration, read_settings  # noqa: PLC0415

    return read_settings(find_configuration(config))


def parse_peer(text: str, calling_ae_title: str) -> "Peer":
    """Read AE@host:port. Raises ConfigurationInvalid."""
    from node.domain.ids import AETitle  # noqa: PLC0415
    from node.net.scu import Peer  # noqa: PLC0415

    ae_title, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (at and colon and host and port.isdecimal() and 0 < len(ae_title) <= 16):
        message = f"{text!r} is not of the form AE@host:port"
        raise ConfigurationInvalid(message)
    return Peer(
        ae_title=AETitle(ae_title),
        host=host.strip("[]"),
        port=int(port),
        calling_ae_title=AETitle(calling_ae_title),
    )
