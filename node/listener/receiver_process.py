"""One receiving process: `python -m node.listener.receiver_process CHANNEL GATE`.

Started by `serve` with two inherited descriptors. It has no database, opens no port, and ends
when `serve` does.
"""

import gc
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydicom import config

from node.domain.ids import AETitle
from node.listener.channel import Channel, Message
from node.listener.gate import Gate
from node.listener.receiver import Receiver, ReceiverOptions
from node.listener.remote import RemoteDesk
from node.net.door import more_descriptors
from node.net.storing import ConversationLimits
from node.net.tls import TlsOptions
from node.store.spool import Spool
from node.telemetry.logs import configure_logging


def charge(options: ReceiverOptions, spool: Spool, log_level: str) -> Message:
    """Return the first message to a receiving process: all that it is to know."""
    body: dict[str, Any] = asdict(options)
    if options.tls is not None:
        body["tls"] = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(options.tls).items()
        }
    return {"options": body, "spool": str(spool.root), "log_level": log_level}


def options_from(body: dict[str, Any]) -> ReceiverOptions:
    """Return the options as they were put into the first message."""
    tls = body["tls"]
    if tls is not None:
        tls = TlsOptions(
            certificate=Path(tls["certificate"]),
            key=Path(tls["key"]),
            authorities=None if tls["authorities"] is None else Path(tls["authorities"]),
            client_certificate_required=tls["client_certificate_required"],
        )
    return ReceiverOptions(
        **{
            **body,
            "ae_title": AETitle(body["ae_title"]),
            "limits": ConversationLimits(**body["limits"]),
            "tls": tls,
        }
    )


def main(channel: Channel, gate: Gate) -> None:
    """Serve what is handed on until told to stop, or until nobody is there to tell."""
    for number in (signal.SIGTERM, signal.SIGINT):  # `serve` gets them too, and stops us
        signal.signal(number, signal.SIG_IGN)
    more_descriptors()
    # DCMTK proposes 128 contexts; to match their 1,700 UIDs against a pattern takes 20 ms. What is
    # stored is checked by our own readers, and a UID that is too long is still refused.
    config.settings.reading_validation_mode = config.IGNORE
    first = channel.receive()
    if first is None:
        return
    told = first[0]
    configure_logging(told["log_level"])
    desk = RemoteDesk(channel)
    receiver = Receiver(options_from(told["options"]), Spool(Path(told["spool"])), gate, desk)
    gc.freeze()  # what stands now is never garbage, and need not be looked through for it
    try:
        _obey(channel, receiver, desk)
    finally:
        desk.hang_up()
        receiver.stop()
        desk.finish()
        channel.hang_up()


def _obey(channel: Channel, receiver: Receiver, desk: RemoteDesk) -> None:
    while (received := channel.receive()) is not None:
        message, connection = received
        if "answer" in message:
            desk.answered(message)
        elif connection is not None:
            address = tuple(message["address"])
            try:
                receiver.take(connection, address, tls=message["tls"])
            except RuntimeError:  # no thread to be had; it is closed
                desk.closed()
        elif "stop" in message:
            return


if __name__ == "__main__":
    main(Channel(socket.socket(fileno=int(sys.argv[1]))), Gate(int(sys.argv[2])))
