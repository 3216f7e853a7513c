"""One association on one connection in one thread: read, act, answer (PS3.8 9.2, PS3.7 9 and 10).

pynetdicom negotiates, decodes and answers every message but C-STORE, which has a way of its
own (`node.net.inbox`) without copies, without pydicom and without another thread.
"""

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE

from node.net.commands import StoreCommand, store_response, text_of
from node.net.inbox import Inbox
from node.net.inline import (
    AWAITING_REQUEST,
    CLOSED,
    CLOSING,
    CONNECTED,
    IDLE,
    TIMED_OUT,
    UNRECOGNISED,
    Handler,
    InlineAssociation,
    accepted,
)
from node.net.storing import (
    BY_USER,
    INVALID_PARAMETER,
    LONGEST_COMMENT,
    UNEXPECTED_PDU,
    ConversationLimits,
    Ending,
    Hangup,
    Party,
    Sink,
    StoreAnswer,
    StoreRequest,
    Storing,
    Timing,
)
from node.net.wire import ABORT, HEAD, P_DATA, RELEASE_RQ, Fragment, Wire, fragments

__all__ = [
    "Conversation",
    "ConversationLimits",
    "Ending",
    "Handler",
    "Party",
    "Sink",
    "StoreAnswer",
    "StoreRequest",
    "Storing",
    "Timing",
    "converse",
]

logger: Final = logging.getLogger(__name__)

MOST_REQUESTS_WAITING: Final = 16
"""A peer may ask while we wait for its answer, but not without end."""

PROTOCOL_VERSION: Final = (1, 2, 2)
"""Permanent, by the service provider, protocol version not supported (PS3.8 table 9-21)."""


class Conversation:
    """An association from its request to its end.

    connection: connected, nothing read from it; closed in the end. handlers: (event,
    function) of pynetdicom; they are called in the thread of `run`. EVT_C_STORE is not among
    the events: data sets go to `storing`.
    """

    def __init__(  # noqa: PLR0913 - what one association is made of
        self,
        ae: Any,
        connection: socket.socket,
        address: Any,
        handlers: Sequence[Handler],
        storing: Storing,
        limits: ConversationLimits,
        *,
        tls_subject: str = "",
    ) -> None:
        self._limits: Final = limits
        self._storing: Final = storing
        self._tls_subject: Final = tls_subject
        self._address: Final = address
        self._wire: Final = Wire(connection, limits)
        self._association: Final = accepted(ae, self._wire, address, handlers)
        self._association.dul.pump = self._pump_primitive
        self._association.dimse.pump = self._pump_message
        self._inbox: Inbox | None = None
        self._fragments: deque[Fragment] = deque()
        self._requests: deque[tuple[int, Any]] = deque()
        self._is_stopping = False

    @property
    def association(self) -> InlineAssociation:
        """Pynetdicom's view of it."""
        return self._association

    def run(self) -> None:
        """Serve until the association ends; then the connection is closed."""
        association = self._association
        try:
            self._establish()
            while association.is_established:
                self._step()
                if self._has_news():
                    self._act()
        except Hangup as hangup:
            self._hang_up(hangup)
        except Exception as error:  # the edge: a defect ends this association only
            logger.error("an association crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
            self._hang_up(Hangup(Ending.CRASHED, BY_USER))
        finally:
            self._close()

    def end(self) -> None:
        """Abort from another thread, as soon as what is in hand is finished."""
        self._is_stopping = True
        self._wire.wake()

    def cut(self) -> None:
        """Cut the connection from another thread."""
        self._is_stopping = True
        self._wire.cut()

    def _establish(self) -> None:
        """Read the request, let handlers see it, negotiate."""
        association = self._association
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self._address})
        association.dul.happen(CONNECTED)
        ends_at = self._wire.end_at(time.monotonic() + self._limits.patience_s)
        while association.dul.state == AWAITING_REQUEST:
            self._read_pdu()
        self._wire.message_done()
        self._wire.end_at(ends_at)
        request = association.dul.receive_pdu()
        if request is None:
            self._refused()
            return
        association.requestor.primitive = request
        evt.trigger(association, evt.EVT_REQUESTED, {})
        if not (association.is_aborted or association.is_rejected):
            self._negotiate()
        if association.is_rejected:
            association.end(Ending.REJECTED)
        if association.is_established:
            self._inbox = self._open_inbox()
            self._wire.widen()

    def _negotiate(self) -> None:
        try:
            self._association.acse.negotiate_association()
        except Exception as error:  # whatever pynetdicom may raise for garbage in a request
            raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER) from error

    def _refused(self) -> None:
        """Tell the handlers what the state machine did alone; for a wrong version it is silent."""
        association = self._association
        if not association.dul.version_refused:
            association.end(Ending.ABORTED if association.dul.state == IDLE else Ending.PROTOCOL)
            return
        answer = A_ASSOCIATE()
        answer.result, answer.result_source, answer.diagnostic = PROTOCOL_VERSION
        association.acceptor.primitive = answer
        association.is_rejected = True
        association.end(Ending.REJECTED)
        evt.trigger(association, evt.EVT_REJECTED, {})

    def _open_inbox(self) -> Inbox:
        association = self._association
        party = Party(
            calling_ae_title=association.requestor.ae_title.strip(),
            called_ae_title=association.requestor.primitive.called_ae_title.strip(),
            address=association.requestor.address,
            max_pdu=association.requestor.maximum_length or 0,
            tls_subject=self._tls_subject,
        )
        self._max_pdu = party.max_pdu
        contexts = {
            context.context_id: str(context.transfer_syntax[0])
            for context in association.accepted_contexts
        }
        return Inbox(
            self._wire,
            contexts,
            (self._storing, party),
            self._limits,
            self._answer_store,
            self._deliver,
        )

    def _step(self) -> None:
        """Take the next fragment, or the next PDU. Raises Hangup."""
        if self._fragments:
            if self._inbox is not None:
                self._inbox.take(*self._fragments.popleft())
            return
        if self._is_stopping:
            raise Hangup(Ending.STOPPED, BY_USER)
        self._read_pdu()

    def _read_pdu(self) -> None:
        try:
            kind, body = self._wire.next_pdu()
        except Hangup as hangup:
            if self._is_stopping and hangup.ending is Ending.LOST:
                raise Hangup(Ending.STOPPED, BY_USER) from hangup
            raise
        if self._inbox is None:
            self._association.dul.take(HEAD.pack(kind, len(body)) + body)
        elif kind == P_DATA:
            self._fragments.extend(fragments(body))
        elif kind not in (RELEASE_RQ, ABORT):
            raise Hangup(Ending.PROTOCOL, UNEXPECTED_PDU)
        elif kind == RELEASE_RQ and not self._inbox.is_between_messages:
            raise Hangup(Ending.PROTOCOL, BY_USER)
        else:
            self._association.dul.take(HEAD.pack(kind, len(body)) + body)

    def _has_news(self) -> bool:
        """Whether a step brought something to act on; asked after every fragment, so in haste."""
        association = self._association
        return bool(
            self._requests
            or association.dul.to_user_queue.queue
            or association.dimse.msg_queue.queue
        )

    def _act(self) -> None:
        """Do what steps brought: requests, a release, an abort."""
        association = self._association
        while self._requests and association.is_established:
            context_id, request = self._requests.popleft()
            association.serve(request, context_id)
        if not association.dimse.msg_queue.empty():
            association.dimse.get_msg()  # an answer to no question
        if association.is_established and association.acse.is_release_requested():
            association.acse.send_release(is_response=True)
            association.is_released = True
            association.end(Ending.RELEASED)
            self._over(evt.EVT_RELEASED)
        elif association.acse.is_aborted():
            lost = association.acse.is_aborted("a-p-abort")
            association.dul.receive_pdu()
            if not association.is_aborted:
                association.is_aborted = True
                association.end(Ending.LOST if lost else Ending.ABORTED)
                self._over(evt.EVT_ABORTED)

    def _over(self, event: Any) -> None:
        self._association.is_established = False
        self._association.kill()
        evt.trigger(self._association, event, {})

    def _deliver(self, message: Any) -> None:
        """Take a whole message that is no C-STORE request."""
        association = self._association
        evt.trigger(association, evt.EVT_DIMSE_RECV, {"message": message})
        try:
            primitive = message.message_to_primitive()
        except Exception as error:  # whatever pynetdicom may raise for garbage
            raise Hangup(Ending.PROTOCOL, BY_USER) from error
        if isinstance(primitive, C_CANCEL):
            return  # nothing here takes so long
        if message.command_set.CommandField & 0x8000:
            association.dimse.msg_queue.put((message.context_id, primitive))
        elif len(self._requests) < MOST_REQUESTS_WAITING:
            self._requests.append((message.context_id, primitive))
        else:
            raise Hangup(Ending.PROTOCOL, BY_USER)

    def _answer_store(self, command: StoreCommand, context_id: int, answer: StoreAnswer) -> None:
        pdu = store_response(command, context_id, answer)
        if self._max_pdu and len(pdu) - HEAD.size > self._max_pdu:
            self._answer_in_pieces(command, context_id, answer)
            return
        try:
            self._wire.send(pdu)
        except OSError as error:
            raise Hangup(Ending.LOST) from error

    def _answer_in_pieces(
        self, command: StoreCommand, context_id: int, answer: StoreAnswer
    ) -> None:
        """Answer a peer that takes only very short PDUs."""
        try:
            self._association.dimse.send_msg(_store_primitive(command, answer), context_id)
        except ValueError as error:  # so short that nothing fits, or a UID is none
            raise Hangup(Ending.PROTOCOL, BY_USER) from error

    def _pump_primitive(self, timeout_s: float | None) -> None:
        """Read until the upper layer has something for its user."""
        self._pump(self._association.dul.to_user_queue.empty, timeout_s)

    def _pump_message(self, timeout_s: float | None) -> None:
        """Read until an answer has come, or the peer goes."""
        association = self._association
        self._pump(
            lambda: association.dimse.msg_queue.empty() and association.dul.to_user_queue.empty(),
            timeout_s,
        )

    def _pump(self, is_missing: Callable[[], bool], timeout_s: float | None) -> None:
        ends_at = self._wire.ends_at
        if timeout_s is not None:
            self._wire.end_at(min(ends_at, time.monotonic() + timeout_s))
        try:
            while is_missing() and self._association.dul.state not in (IDLE, CLOSING):
                self._step()
        except Hangup as hangup:
            # Handled here, for above are pynetdicom and a handler, which would not know it.
            self._hang_up(hangup)
        finally:
            self._wire.end_at(ends_at)

    def _hang_up(self, hangup: Hangup) -> None:
        """End the association from our side, with the right last word."""
        association = self._association
        association.end(hangup.ending)
        if hangup.abort is None:
            association.dul.happen(CLOSED)
            if association.is_established:
                association.is_aborted = True
                self._over(evt.EVT_ABORTED)
        elif association.dul.state == AWAITING_REQUEST:
            is_wrong = hangup.ending in (Ending.PROTOCOL, Ending.CRASHED)
            association.dul.happen(UNRECOGNISED if is_wrong else TIMED_OUT)
        elif association.dul.state not in (IDLE, CLOSING) and not association.is_aborted:
            association.abort_as(*hangup.abort)

    def _close(self) -> None:
        """Let go of everything; the handlers of EVT_CONN_CLOSE hear it once."""
        if self._inbox is not None:
            self._inbox.abandon()
        self._fragments.clear()
        dul = self._association.dul
        try:
            if dul.state == CLOSING:
                self._wire.linger()
            dul.happen(CLOSED)
        except Exception as error:  # the edge
            logger.error("an association crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
        finally:
            self._wire.close()


def converse(  # noqa: PLR0913 - what one association is made of
    ae: Any,
    connection: socket.socket,
    address: Any,
    handlers: Sequence[Handler],
    storing: Storing,
    limits: ConversationLimits,
    *,
    tls_subject: str = "",
) -> None:
    """Serve one association on a connected socket in the calling thread, until it ends.

    connection: plain or TLS; closed in every case. Nothing that the peer does raises.
    """
    Conversation(ae, connection, address, handlers, storing, limits, tls_subject=tls_subject).run()


def _store_primitive(command: StoreCommand, answer: StoreAnswer) -> C_STORE:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = command.message_id
    response.AffectedSOPClassUID = text_of(command.sop_class_uid) or None
    response.AffectedSOPInstanceUID = text_of(command.sop_instance_uid) or None
    response.Status = answer.status
    if answer.comment:
        response.ErrorComment = answer.comment[:LONGEST_COMMENT]
    return response
