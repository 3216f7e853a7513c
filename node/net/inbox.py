"""Messages out of fragments: C-STORE on its own short way, everything else by pynetdicom.

A data set that is stored is never held here: its fragments go to the sink as they come.
"""

import logging
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final, Protocol

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from node.net.commands import (
    C_STORE_RQ,
    NO_DATA_SET,
    StoreCommand,
    read_store_command,
    text_of,
)
from node.net.storing import (
    BY_USER,
    DATA_SET_DOES_NOT_MATCH,
    INVALID_PARAMETER,
    PROCESSING_FAILURE,
    ConversationLimits,
    Ending,
    Hangup,
    Party,
    Sink,
    StoreAnswer,
    StoreRequest,
    Storing,
)
from node.net.wire import Wire

logger: Final = logging.getLogger(__name__)

COMMAND: Final = 0x01
LAST: Final = 0x02
"""Bits of the message control header (PS3.8 annex E.2)."""

LONGEST_COMMAND: Final = 64 * 1024
LONGEST_DATA_SET: Final = 4 * 2**20
"""Of a message that is no C-STORE; such are a few kB, and are held in memory."""

Answer = Callable[[StoreCommand, int, StoreAnswer], None]
Deliver = Callable[[DIMSEMessage], None]


class _Awaited(Protocol):
    """A message whose data set is coming."""

    context_id: int

    def take(self, fragment: memoryview) -> None: ...
    def end(self) -> None: ...
    def abandon(self) -> None: ...


class Inbox:
    """Takes the fragments of one association in order.

    contexts: accepted presentation contexts, with their transfer syntax. answer: sends a
    C-STORE-RSP. deliver: gets every other message when it is whole.
    """

    def __init__(
        self,
        wire: Wire,
        contexts: Mapping[int, str],
        storing: tuple[Storing, Party],
        limits: ConversationLimits,
        answer: Answer,
        deliver: Deliver,
    ) -> None:
        self._wire: Final = wire
        self._contexts: Final = contexts
        self._storing, self._party = storing
        self._left = limits.instances
        self._answer: Final = answer
        self._deliver: Final = deliver
        self._partial: tuple[int, bytearray] | None = None
        self._awaited: _Awaited | None = None

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing is half received."""
        return self._partial is None and self._awaited is None

    def take(self, context_id: int, control: int, data: memoryview) -> None:
        """Take a fragment. Raises Hangup when it cannot follow what came before."""
        if control & COMMAND:
            self._take_command(context_id, data, is_last=bool(control & LAST))
            return
        awaited = self._awaited
        if awaited is None or context_id != awaited.context_id:
            raise Hangup(Ending.PROTOCOL, BY_USER)
        awaited.take(data)
        if control & LAST:
            self._awaited = None
            awaited.end()

    def abandon(self) -> None:
        """Forget what is half received."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.abandon()

    def _take_command(self, context_id: int, data: memoryview, *, is_last: bool) -> None:
        if self._awaited is not None:
            raise Hangup(Ending.PROTOCOL, BY_USER)
        if context_id not in self._contexts:
            raise Hangup(Ending.PROTOCOL, INVALID_PARAMETER)
        if self._partial is None and is_last and len(data) <= LONGEST_COMMAND:
            self._begin(context_id, data)
            return
        begun_in, partial = self._partial or (context_id, bytearray())
        if begun_in != context_id or len(partial) + len(data) > LONGEST_COMMAND:
            raise Hangup(Ending.PROTOCOL, BY_USER)
        partial += data
        self._partial = (context_id, partial)
        if is_last:
            self._partial = None
            self._begin(context_id, partial)

    def _begin(self, context_id: int, data: bytearray | memoryview) -> None:
        command = read_store_command(data)
        if command is not None:
            self._begin_store(context_id, command)
            return
        message = _decoded(context_id, bytes(data))
        if message.command_set.CommandField == C_STORE_RQ:
            self._begin_store(context_id, _store_command(message.command_set))
        elif message.command_set.CommandDataSetType == NO_DATA_SET:
            self._wire.message_done()
            self._deliver(message)
        else:
            self._awaited = _Other(context_id, message, self._wire, self._deliver)

    def _begin_store(self, context_id: int, command: StoreCommand) -> None:
        if not self._left:
            raise Hangup(Ending.TOO_MANY, BY_USER)
        self._left -= 1
        request = StoreRequest(
            message_id=command.message_id,
            context_id=context_id,
            sop_class_uid=text_of(command.sop_class_uid),
            sop_instance_uid=text_of(command.sop_instance_uid),
            transfer_syntax_uid=self._contexts[context_id],
        )

        def reply(answer: StoreAnswer) -> None:
            self._answer(command, context_id, answer)

        if not command.has_data_set:
            self._wire.message_done()
            reply(StoreAnswer(status=DATA_SET_DOES_NOT_MATCH, comment="no data set"))
            return
        begun = self._begun(request)
        if isinstance(begun, StoreAnswer):
            reply(begun)
            self._awaited = _Stored(context_id, None, self._wire, reply)
        else:
            self._awaited = _Stored(context_id, begun, self._wire, reply)

    def _begun(self, request: StoreRequest) -> Sink | StoreAnswer:
        try:
            return self._storing.begin(request, self._party)
        except Exception as error:  # noqa: BLE001 - the edge: the sender must get an answer
            return _crashed(error)


class _Stored:
    """A data set on its way to a sink; without one it is drained."""

    def __init__(
        self, context_id: int, sink: Sink | None, wire: Wire, reply: Callable[[StoreAnswer], None]
    ) -> None:
        self.context_id = context_id
        self._sink = sink
        self._wire = wire
        self._reply = reply

    def take(self, fragment: memoryview) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            answer = sink.write(fragment)
        except Exception as error:  # noqa: BLE001 - the edge: the sender must get an answer
            answer = self._failed(error)
        if answer is not None:
            self._sink = None
            self._reply(answer)

    def end(self) -> None:
        timing = self._wire.message_done()
        sink = self._sink
        if sink is None:
            return
        try:
            answer = sink.finish(timing)
        except Exception as error:  # noqa: BLE001 - the edge: the sender must get an answer
            answer = self._failed(error)
        self._reply(answer)

    def abandon(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            _abandon(sink)

    def _failed(self, error: Exception) -> StoreAnswer:
        self.abandon()
        return _crashed(error)


class _Other:
    """The data set of any other message, within a limit."""

    def __init__(
        self, context_id: int, message: DIMSEMessage, wire: Wire, deliver: Deliver
    ) -> None:
        self.context_id = context_id
        self._message = message
        self._wire = wire
        self._deliver = deliver
        self._size = 0

    def take(self, fragment: memoryview) -> None:
        self._size += len(fragment)
        if self._size > LONGEST_DATA_SET:
            raise Hangup(Ending.PROTOCOL, BY_USER)
        self._message.data_set.write(fragment)

    def end(self) -> None:
        self._wire.message_done()
        self._deliver(self._message)

    def abandon(self) -> None:
        self._message.data_set = BytesIO()


def _decoded(context_id: int, command: bytes) -> Any:
    """Decode a command set as pynetdicom does; the message then waits for its data set."""
    primitive = P_DATA()
    primitive.presentation_data_value_list = [[context_id, b"\x03" + command]]
    message = DIMSEMessage()
    try:
        message.decode_msg(primitive)
        _ = message.command_set.CommandField, message.command_set.CommandDataSetType
    except Exception as error:  # whatever a decoder may raise for garbage
        raise Hangup(Ending.PROTOCOL, BY_USER) from error
    return message


def _store_command(command_set: Any) -> StoreCommand:
    """Return the parts of a C-STORE-RQ of an unusual form. Raises Hangup without a Message ID."""
    try:
        return StoreCommand(
            message_id=int(command_set.MessageID),
            sop_class_uid=_bytes_of(command_set.get("AffectedSOPClassUID")),
            sop_instance_uid=_bytes_of(command_set.get("AffectedSOPInstanceUID")),
            has_data_set=command_set.CommandDataSetType != NO_DATA_SET,
        )
    except Exception as error:  # a Message ID that is absent or no number
        raise Hangup(Ending.PROTOCOL, BY_USER) from error


def _bytes_of(value: Any) -> bytes:
    found = str(value or "").encode("latin-1", "replace")
    return found + b"\0" * (len(found) % 2)


def _crashed(error: Exception) -> StoreAnswer:
    logger.error("storing crashed", exc_info=error)
    return StoreAnswer(status=PROCESSING_FAILURE, comment="internal-error")


def _abandon(sink: Sink) -> None:
    try:
        sink.abandon()
    except Exception as error:  # the edge: nobody is left to be told
        logger.error("storing crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
