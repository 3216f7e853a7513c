"""A small archive: takes what it is sent and writes it to a folder.

For the demo, for trials at commissioning and for tests; never for patients. It can be told
to answer badly, so that delivery can be tried against an archive that misbehaves.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pynetdicom import AE, evt

from node.dicom.part10 import part10_head
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.net.acceptor import Acceptor
from node.net.dimse import MAX_PDU, SUCCESS, VERIFICATION, identify
from node.net.storing import ConversationLimits, Party, Sink, StoreAnswer, StoreRequest, Timing

OUT_OF_RESOURCES: Final = 0xA700
LIMITS: Final = ConversationLimits(
    patience_s=10.0, idle_s=60.0, message_s=600.0, association_s=86_400.0, instances=1_000_000
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedObject:
    """One object in the archive. times: how often it was sent with success."""

    path: Path
    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    calling_ae_title: AETitle
    times: int = 1


class FolderArchive:
    """A storage SCP (C-STORE, C-ECHO) over a folder; safe for many senders at once.

    answer: given the SOP Class UID of an object, the status to answer with; what is answered
    with a failure is not stored. Default: always success.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ARCHIVE",
        host: str = "127.0.0.1",
        port: int = 0,
        answer: Callable[[str], int] = lambda _: SUCCESS,
    ) -> None:
        self.ae_title: Final = AETitle(ae_title)
        self.host: Final = host
        self.port = port
        self._folder: Final = folder
        self._answer: Final = answer
        self._objects: dict[str, ReceivedObject] = {}
        self._lock: Final = threading.Lock()
        self._acceptor: Acceptor | None = None

    @property
    def received(self) -> list[ReceivedObject]:
        """Objects stored so far, one for each SOP Instance UID, in order of first arrival."""
        with self._lock:
            return list(self._objects.values())

    def start(self) -> None:
        """Bind and serve in the background; `port` is then the bound one.

        Raises ConfigurationInvalid when host and port cannot be bound.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        ae = AE(ae_title=self.ae_title)
        identify(ae)
        ae.maximum_pdu_size = MAX_PDU
        ae.add_supported_context(VERIFICATION)
        self._acceptor = Acceptor(
            ae,
            (self.host, self.port),
            [(evt.EVT_C_ECHO, lambda _: SUCCESS)],
            self,
            LIMITS,
        )
        self._acceptor.start()
        self.port = self._acceptor.port

    def stop(self) -> None:
        """Stop serving and end every association; does nothing when not started."""
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def begin(self, request: StoreRequest, party: Party) -> Sink | StoreAnswer:
        """Take an object, or answer as told."""
        status = self._answer(request.sop_class_uid)
        if status != SUCCESS and status >> 12 != 0xB:
            return StoreAnswer(status=status)
        name = hashlib.sha256(request.sop_instance_uid.encode()).hexdigest()[:32]
        arriving = ReceivedObject(
            path=self._folder / f"{name}.dcm",
            sop_class_uid=SOPClassUID(request.sop_class_uid),
            sop_instance_uid=SOPInstanceUID(request.sop_instance_uid),
            transfer_syntax_uid=TransferSyntaxUID(request.transfer_syntax_uid),
            calling_ae_title=AETitle(party.calling_ae_title),
        )
        try:
            return _Arriving(arriving, status, self._keep)
        except OSError:
            return StoreAnswer(status=OUT_OF_RESOURCES)

    def _keep(self, arrived: ReceivedObject) -> None:
        with self._lock:
            known = self._objects.get(arrived.sop_instance_uid)
            times = known.times + 1 if known else 1
            self._objects[arrived.sop_instance_uid] = replace(arrived, times=times)


class _Arriving:
    """One object on its way into the folder. Raises OSError when it cannot be written."""

    def __init__(
        self, arriving: ReceivedObject, status: int, keep: Callable[[ReceivedObject], None]
    ) -> None:
        self._arriving: Final = arriving
        self._status: Final = status
        self._keep: Final = keep
        self._path: Final = arriving.path.with_suffix(f".{threading.get_ident()}.part")
        self._file: Final = self._path.open("wb")
        self._file.write(
            part10_head(
                sop_class_uid=arriving.sop_class_uid,
                sop_instance_uid=arriving.sop_instance_uid,
                transfer_syntax_uid=arriving.transfer_syntax_uid,
                source_ae_title=arriving.calling_ae_title,
            )
        )

    def write(self, fragment: memoryview) -> StoreAnswer | None:
        """Write a fragment, or refuse when the folder does not take it."""
        try:
            self._file.write(fragment)
        except OSError:
            self.abandon()
            return StoreAnswer(status=OUT_OF_RESOURCES)
        return None

    def finish(self, _timing: Timing) -> StoreAnswer:
        """Give the file its name."""
        try:
            self._file.close()
            self._path.replace(self._arriving.path)
        except OSError:
            self.abandon()
            return StoreAnswer(status=OUT_OF_RESOURCES)
        self._keep(self._arriving)
        return StoreAnswer(status=self._status)

    def abandon(self) -> None:
        """Remove what came."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
