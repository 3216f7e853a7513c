"""Conversations on a port, what they store, and a caller that speaks in bytes."""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from node.net.checkpoint import guard
from node.net.conversation import Conversation, Handler
from node.net.dimse import VERIFICATION, CallingAE, identify
from node.net.storing import (
    ConversationLimits,
    Party,
    Sink,
    StoreAnswer,
    StoreRequest,
    Storing,
    Timing,
)
from tests.support.dicom_objects import EXPLICIT, IMPLICIT, MR

UID = "1.2.826.0.1.3680043.10.9.3.77"
STORAGE, ECHO = 1, 3
"""Presentation contexts of a `Caller`."""

ABORT, RELEASE_RP, P_DATA = 7, 6, 4


@dataclass
class Kept:
    """One data set and what became of it."""

    request: StoreRequest
    party: Party
    keeper: "Keeper"
    fragments: list[bytes] = field(default_factory=list)
    timing: Timing | None = None
    is_abandoned: bool = False

    @property
    def data(self) -> bytes:
        return b"".join(self.fragments)

    def write(self, fragment: memoryview) -> StoreAnswer | None:
        self.fragments.append(bytes(fragment))
        return self.keeper.on_write(self)

    def finish(self, timing: Timing) -> StoreAnswer:
        self.timing = timing
        return self.keeper.on_finish(self)

    def abandon(self) -> None:
        self.is_abandoned = True


class Keeper:
    """A `Storing` that keeps everything; subclasses answer otherwise."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def begin(self, request: StoreRequest, party: Party) -> Sink | StoreAnswer:
        self.kept.append(Kept(request, party, self))
        return self.kept[-1]

    def on_write(self, _: Kept) -> StoreAnswer | None:
        return None

    def on_finish(self, _: Kept) -> StoreAnswer:
        return StoreAnswer(status=0)


@dataclass
class Talk:
    """An open port and its conversations, in order."""

    address: tuple[str, int]
    conversations: list[Conversation] = field(default_factory=list)

    @property
    def endings(self) -> list[str | None]:
        return [one.association.ending for one in self.conversations]


def limits(**others: Any) -> ConversationLimits:
    return ConversationLimits(
        **{
            "patience_s": 10.0,
            "idle_s": 60.0,
            "message_s": 60.0,
            "association_s": 600.0,
            "instances": 1000,
            **others,
        }
    )


def application_entity(**settings: Any) -> AE:
    ae = AE(ae_title="SEGNODE")
    identify(ae)
    ae.maximum_pdu_size = 131072
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 20
    ae.add_supported_context(VERIFICATION)
    for name, value in settings.items():
        setattr(ae, name, value)
    return ae


@contextmanager
def talking(
    storing: Storing | None = None,
    handlers: Sequence[Handler] = (),
    *,
    ae: AE | None = None,
    wrap: Any = lambda connection: connection,
    **some_limits: Any,
) -> Iterator[Talk]:
    """Serve conversations; in the end all must have ended by themselves within 20 s."""
    threads: list[threading.Thread] = []
    found = ae or application_entity()
    keeper = storing or Keeper()
    with socket.create_server(("127.0.0.1", 0)) as door:
        talk = Talk(door.getsockname())

        def serve(connection: socket.socket, address: Any) -> None:
            one = Conversation(
                found, wrap(connection), address, handlers, keeper, limits(**some_limits)
            )
            talk.conversations.append(one)
            one.run()

        def accept() -> None:
            while True:
                try:
                    connection, address = door.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=serve, args=(connection, address)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield talk
        finally:
            door.shutdown(socket.SHUT_RDWR)
            accepting.join(20)
            for thread in threads:
                thread.join(20)
    assert not any(thread.is_alive() for thread in (accepting, *threads))


@contextmanager
def calling(talk: Talk, *sop_classes: str, **options: Any) -> Iterator[Any]:
    """Open an association by pynetdicom and release it."""
    contexts = [build_context(uid, [EXPLICIT, IMPLICIT]) for uid in sop_classes or (MR,)]
    handlers = [
        (evt.EVT_CONN_OPEN, lambda event: guard(event.assoc)),
        *options.pop("evt_handlers", ()),
    ]
    made = CallingAE("CALLER", timeout_s=20).associate(
        *talk.address, contexts=contexts, evt_handlers=handlers, **options
    )
    try:
        yield made
    finally:
        if made.is_established:
            made.release()
        if made.is_alive():
            made.join(20)


def pdu(kind: int, body: bytes = bytes(4)) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def command(data: bytes, context_id: int = STORAGE, control: int = 3) -> bytes:
    """Return a P-DATA-TF with a command fragment."""
    return pdu(P_DATA, pdv(context_id, control, data))


def data(fragment: bytes, context_id: int = STORAGE, control: int = 2) -> bytes:
    """Return a P-DATA-TF with a fragment of a data set."""
    return pdu(P_DATA, pdv(context_id, control, fragment))


ELEMENTS = {
    "AffectedSOPClassUID": 0x0002,
    "CommandField": 0x0100,
    "MessageID": 0x0110,
    "Priority": 0x0700,
    "CommandDataSetType": 0x0800,
    "ErrorComment": 0x0902,
    "AffectedSOPInstanceUID": 0x1000,
    "MoveOriginatorApplicationEntityTitle": 0x1030,
    "MoveOriginatorMessageID": 0x1031,
}


def store_command(**others: str | bytes | int | None) -> bytes:
    """Return the command set of a C-STORE-RQ; None leaves an element out."""
    found: dict[str, str | bytes | int | None] = {
        "AffectedSOPClassUID": MR,
        "CommandField": 0x0001,
        "MessageID": 7,
        "Priority": 0,
        "CommandDataSetType": 0x0001,
        "AffectedSOPInstanceUID": UID,
        **others,
    }
    return command_set(
        {
            number: value
            for keyword, number in ELEMENTS.items()
            if (value := found.get(keyword)) is not None
        }
    )


def command_set(elements: Mapping[int, str | bytes | int]) -> bytes:
    """Encode a command set: implicit VR, little endian, with its group length."""
    body = b"".join(_element(number, value) for number, value in elements.items())
    return _element(0, struct.pack("<I", len(body))) + body


def _element(number: int, value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def association_request(max_pdu: int = 16384, second: str = VERIFICATION) -> bytes:
    """Return an A-ASSOCIATE-RQ with contexts STORAGE and ECHO, or another second one."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = "CALLER"
    primitive.called_ae_title = "SEGNODE"
    contexts = [build_context(MR, EXPLICIT), build_context(second, IMPLICIT)]
    for context, context_id in zip(contexts, (STORAGE, ECHO), strict=True):
        context.context_id = context_id
    primitive.presentation_context_definition_list = contexts
    longest = MaximumLengthNotification()
    longest.maximum_length_received = max_pdu
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    primitive.user_information = [longest, implementation]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


class Caller:
    """A peer that says exactly what it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def say(self, *parts: bytes) -> None:
        self.connection.sendall(b"".join(parts))

    def hear(self) -> tuple[int, bytes] | None:
        """Wait for a PDU; None when the other side has closed."""
        try:
            head = self._read(6)
            return (head[0], self._read(struct.unpack(">I", head[2:])[0])) if head else None
        except ConnectionResetError:
            return None

    def hear_all(self) -> list[tuple[int, bytes]]:
        """Wait until the other side closes."""
        found = []
        while (heard := self.hear()) is not None:
            found.append(heard)
        return found

    def statuses(self, count: int) -> list[int]:
        """Wait for so many responses and return their statuses."""
        found = []
        for _ in range(count):
            heard = self.hear()
            assert heard is not None
            assert heard[0] == P_DATA
            found.append(status_of(heard[1]))
        return found

    def _read(self, wanted: int) -> bytes:
        found = b""
        while len(found) < wanted and (more := self.connection.recv(wanted - len(found))):
            found += more
        return found


def status_of(body: bytes) -> int:
    """Return the status in the command set of a response."""
    at = body.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
    return int(struct.unpack_from("<H", body, at)[0])


@contextmanager
def caller(talk: Talk, **request: Any) -> Iterator[Caller]:
    """Open an association in bytes."""
    with socket.create_connection(talk.address, timeout=20) as connection:
        made = Caller(connection)
        made.say(association_request(**request))
        answer = made.hear()
        assert answer is not None
        assert answer[0] == 2
        yield made
