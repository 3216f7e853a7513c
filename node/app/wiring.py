"""From settings to rooms: the only place where frozen options are made of the configuration."""

import os
import secrets
from pathlib import Path

from node import __version__
from node.app.defaults import default_bundles
from node.app.settings import Destination, Settings
from node.domain.clock import SystemClock
from node.domain.errors import SpoolUnwritable
from node.domain.ids import AETitle, DestinationName
from node.net.scu import Peer
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool


def ledger_of(settings: Settings) -> Ledger:
    """Open the ledger. Raises LedgerUnavailable."""
    return open_ledger(settings.database_url)


def spool_of(settings: Settings) -> Spool:
    """Open the spool that `segnode init` made.

    Its mark tells it from the empty folder that a lost mount leaves behind, on which images
    would be stored where nobody looks for them. Raises SpoolUnwritable.
    """
    root = settings.resolve(settings.spool)
    if not (root / SITE_KEY).is_file():
        message = (
            f"{root} is not a spool of Segnode: a mount is missing, or `segnode init` was not run"
        )
        raise SpoolUnwritable(message)
    return Spool(root)


def make_spool(root: Path) -> None:
    """Make a spool: the folder and its mark, the site's secret that turns UIDs into digits.

    Leaves a spool that is there as it is. Raises SpoolUnwritable.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / SITE_KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        message = f"the spool cannot be made: {error.strerror}"
        raise SpoolUnwritable(message) from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))


def site_key(spool: Spool) -> bytes:
    """Return the site's secret. Raises SpoolUnwritable when it is gone."""
    try:
        return (spool.root / SITE_KEY).read_bytes()
    except OSError as error:
        message = "the spool's mark is gone: a mount is missing"
        raise SpoolUnwritable(message) from error


def bundle_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders in which bundles are looked for: the site's, then those that come with Segnode."""
    return (*(settings.resolve(path) for path in settings.bundles), default_bundles())


def peer_of(settings: Settings, destination: Destination) -> Peer:
    """Return the network side of a destination."""
    return Peer(
        ae_title=AETitle(destination.ae_title),
        host=destination.host,
        port=destination.port,
        calling_ae_title=AETitle(settings.ae_title),
        timeout_s=destination.timeout_s,
    )


def peers_of(settings: Settings) -> dict[DestinationName, Peer]:
    """Return every destination's network side by its name."""
    return {
        DestinationName(name): peer_of(settings, destination)
        for name, destination in settings.destinations.items()
    }


SITE_KEY = "site.key"
SOFTWARE_VERSION = f"segnode {__version__}"
CLOCK = SystemClock()
