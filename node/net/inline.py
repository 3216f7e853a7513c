"""pynetdicom's association in one thread: what it would do in two loops is done in line.

The stock association has a thread that polls the socket and runs the state machine, and
another that polls for messages and serves them. Here the one thread of a `Conversation` reads,
runs the state machine and calls the handlers, one after the other; nothing is waited for by
sleeping. Parts that are replaced are named in tests/unit/net/test_inline.py.
"""

import logging
import queue
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.transport import AddressInformation

from node.net.storing import INVALID_PARAMETER, Ending, Hangup
from node.net.wire import Wire

logger: Final = logging.getLogger(__name__)

IDLE: Final = "Sta1"
AWAITING_REQUEST: Final = "Sta2"
RELEASE_ASKED: Final = "Sta8"
CLOSING: Final = "Sta13"

CONNECTED: Final = "Evt5"
CLOSED: Final = "Evt17"
TIMED_OUT: Final = "Evt18"
UNRECOGNISED: Final = "Evt19"
"""Events of PS3.8 table 9-10 that come from the connection."""

_OF_USER: Final = frozenset({"Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"})

Handler = tuple[Any, Callable[[evt.Event], Any]]

_ACSE: Final = (A_ASSOCIATE, A_RELEASE, A_ABORT, A_P_ABORT)


class Transport:
    """The wire as pynetdicom's state machine knows it (its AssociationSocket)."""

    def __init__(self, association: Any, wire: Wire) -> None:
        self._association: Final = association
        self._wire: Final = wire
        self.socket: Any = wire.connection

    def send(self, data: bytes) -> None:
        """Send a PDU; a lost connection becomes an event."""
        try:
            self._wire.send(data)
        except OSError:
            self._association.dul.event_queue.put(CLOSED)
        else:
            evt.trigger(self._association, evt.EVT_DATA_SENT, {"data": data})

    def close(self) -> None:
        """Close; the state machine does it where it goes to its first state."""
        self._wire.close()
        self.socket = None

    _shutdown_socket = close


class InlineProvider(DULServiceProvider):  # type: ignore[misc]
    """The upper layer, run by whoever sends or has received something."""

    pump: Callable[[float | None], None]
    """Reads until something is there for the user, at most so many seconds."""

    version_refused = False
    """Whether the state machine has rejected the request by itself, for its version."""

    @property
    def state(self) -> str:
        """State of PS3.8 9.2."""
        return str(self.state_machine.current_state)

    def send_pdu(self, primitive: Any) -> None:
        """Send a primitive now."""
        if isinstance(primitive, _ACSE):
            evt.trigger(self.assoc, evt.EVT_ACSE_SENT, {"primitive": primitive})
        self.to_provider_queue.put(primitive)
        self._process_recv_primitive()
        self._run()

    def take(self, pdu: bytes) -> None:
        """Take a PDU from the peer."""
        try:
            decoded, event = self._decode_pdu(bytearray(pdu))
        except Exception:  # noqa: BLE001 - whatever a decoder may raise for garbage
            self.happen(UNRECOGNISED)
            return
        self.version_refused = getattr(decoded, "protocol_version", 1) != 1
        self._recv_pdu.put(decoded)
        try:
            self.happen(event)
        except Exception as error:  # pynetdicom cannot make sense of what it has decoded
            raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER) from error

    def happen(self, event: str) -> None:
        """Let the state machine see an event; one that cannot be in its state is nothing."""
        self.event_queue.put(event)
        self._run()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """Return what the upper layer has for the user; None when there is nothing."""
        if wait and self.to_user_queue.empty():
            self.pump(timeout)
        return super().receive_pdu(wait=False)

    def _run(self) -> None:
        while True:
            try:
                event = self.event_queue.get_nowait()
            except queue.Empty:
                return
            if (event, self.state) in TRANSITION_TABLE:
                self.state_machine.do_action(event)
            elif event in _OF_USER:
                self.to_provider_queue.get_nowait()


class InlineMessages(DIMSEServiceProvider):  # type: ignore[misc]
    """Messages: an answer that is waited for is read by whoever waits."""

    pump: Callable[[float | None], None]

    def get_msg(self, block: bool = False) -> Any:
        """Return context and message that came, (None, None) when there is none."""
        if block and self.msg_queue.empty():
            self.pump(self.dimse_timeout)
        try:
            return self.msg_queue.get_nowait()
        except queue.Empty:
            return None, None


class InlineAssociation(Association):  # type: ignore[misc]
    """An accepted association that is never started as a thread.

    ending: how it ended, None while it lasts.
    """

    def __init__(self, ae: Any, wire: Wire) -> None:
        super().__init__(ae, "acceptor")
        self.ending: Ending | None = None
        self._wire: Final = wire
        self._afterwards: list[Callable[[], None]] = []
        self.dul = InlineProvider(self)
        self.dimse = InlineMessages(self)
        # These two are set by the base class through properties, on the provider it had.
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout
        self.dul.socket = Transport(self, wire)

    @property
    def _is_paused(self) -> bool:
        """Whether a message can be sent: always, there is no other thread."""
        return True

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass

    def is_alive(self) -> bool:
        """Whether the association has not ended."""
        return bool(self.dul.state != IDLE)

    def after_response(self, act: Callable[[], None]) -> None:
        """Call something when the request in hand is done with and its response has left.

        From there, messages can be sent on this association, as an N-EVENT-REPORT; the
        association may have ended meanwhile (`is_established`), or its peer may want to
        (`is_peer_leaving`).
        """
        self._afterwards.append(act)

    def is_peer_leaving(self) -> bool:
        """Whether the peer's next word is a release or an abort, or the connection is lost.

        False also where it has not said anything yet, and always for TLS.
        """
        return self._wire.is_peer_leaving()

    def end(self, ending: Ending) -> None:
        """Note how it ends; the first word counts."""
        if self.ending is None:
            self.ending = ending

    def serve(self, message: Any, context_id: int) -> None:
        """Answer a request, and do what is to be done after."""
        self._serve_request(message, context_id)
        while self._afterwards:
            act = self._afterwards.pop(0)
            try:
                act()
            except Exception as error:  # the edge: the association goes on
                logger.error("what follows a response crashed", exc_info=error)  # noqa: TRY400 -- its text stays out

    def _abort_blocking(self, block: bool = True) -> None:  # noqa: ARG002 - never waits
        """Abort, once."""
        if not (self._sent_abort or self.is_released):
            self.abort_as(0, 0)

    def abort_as(self, source: int, reason: int) -> None:
        """Abort with a source and reason of PS3.8 table 9-26."""
        self._sent_abort = True
        self.end(Ending.ABORTED)
        if source:
            self.acse.send_ap_abort(reason)
        else:
            self.acse.send_abort(source)
        evt.trigger(self, evt.EVT_ABORTED, {})
        self.kill()

    def _handle_no_response(self) -> None:
        """Abort when the peer does not answer a request of ours, unless it is leaving."""
        if self.dul.state != RELEASE_ASKED:
            super()._handle_no_response()


def accepted(ae: Any, wire: Wire, address: Any, handlers: Sequence[Handler]) -> InlineAssociation:
    """Make an association as pynetdicom's RequestHandler does."""
    association = InlineAssociation(ae, wire)
    acceptor = association.acceptor
    acceptor.maximum_length = ae.maximum_pdu_size
    acceptor.ae_title = ae.ae_title
    acceptor.address_info = AddressInformation.from_tuple(wire.connection.getsockname())
    acceptor.implementation_class_uid = ae.implementation_class_uid
    acceptor.implementation_version_name = ae.implementation_version_name
    acceptor.supported_contexts = deepcopy(ae.supported_contexts)
    association.requestor.address_info = AddressInformation.from_tuple(address)
    for event, function in handlers:
        association.bind(event, function)
    return association
