"""The listener: C-ECHO and C-STORE for whatever a scanner, archive or workstation sends."""

from dataclasses import dataclass
from typing import Final

from pynetdicom import AE

from node.domain.ids import AETitle
from node.listener.callers import parse_callers
from node.listener.reception import Admit, Reception
from node.net.acceptor import Acceptor
from node.net.dimse import MAX_PDU, VERIFICATION, identify
from node.telemetry import metrics

NO_LIMIT: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOptions:
    """How to listen. port 0: any free one.

    max_associations: at once; more are rejected as transient, local limit exceeded.
    max_pdu: longest PDU asked for, bytes. patience_s: until a connection must ask for an
    association. idle_timeout_s: until a silent association is aborted.
    callers: who may call, see `callers.parse_callers`; empty means everyone.
    """

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: int = 11112
    max_associations: int = 32
    max_pdu: int = MAX_PDU
    patience_s: float = 10.0
    idle_timeout_s: float = 60.0
    require_called_ae_title: bool = False
    callers: tuple[str, ...] = ()


class Listener:
    """A storage SCP that takes every storage class in every transfer syntax.

    What is not stored is refused instance by instance, with a status and a named reason.
    """

    def __init__(self, options: ListenerOptions, admit: Admit) -> None:
        reception = Reception(
            admit, parse_callers(options.callers), max_associations=options.max_associations
        )
        self._acceptor: Final = Acceptor(
            _application_entity(options),
            (options.host, options.port),
            reception.handlers(),
            patience_s=options.patience_s,
            on_ignored=lambda: metrics.association("ignored"),
        )

    @property
    def port(self) -> int:
        """The bound port; the one asked for while not started."""
        return self._acceptor.port

    def start(self) -> None:
        """Bind and listen in the background.

        Raises ConfigurationInvalid when host and port cannot be bound.
        """
        self._acceptor.start()

    def stop(self) -> None:
        """Accept no more, abort every association, wait for all threads.

        What was being admitted is finished; what was not acknowledged stays with its sender.
        """
        self._acceptor.stop()


def _application_entity(options: ListenerOptions) -> AE:
    ae = AE(ae_title=options.ae_title)
    identify(ae)
    ae.maximum_pdu_size = options.max_pdu
    ae.maximum_associations = NO_LIMIT  # the reception has its own
    ae.acse_timeout = options.patience_s
    ae.network_timeout = ae.dimse_timeout = options.idle_timeout_s
    ae.require_called_aet = options.require_called_ae_title
    # Storage needs no entry: every storage context is accepted, see node.net.dimse.
    ae.add_supported_context(VERIFICATION)
    return ae
