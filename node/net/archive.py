"""A small archive: takes what it is sent and writes it to a folder.

For the demo, for trials at commissioning and for tests; never for patients. It can be told
to answer badly, so that delivery can be tried against an archive that misbehaves.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pynetdicom import AE, evt

from node.dicom.part10 import write_part10
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.net.acceptor import Acceptor
from node.net.dimse import MAX_PDU, SUCCESS, VERIFICATION, identify

OUT_OF_RESOURCES: Final = 0xA700
PATIENCE_S: Final = 10.0


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
        ae.maximum_associations = 64
        ae.add_supported_context(VERIFICATION)
        self._acceptor = Acceptor(
            ae,
            (self.host, self.port),
            [(evt.EVT_C_ECHO, lambda _: SUCCESS), (evt.EVT_C_STORE, self._on_c_store)],
            patience_s=PATIENCE_S,
        )
        self._acceptor.start()
        self.port = self._acceptor.port

    def stop(self) -> None:
        """Stop serving and end every association; does nothing when not started."""
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor = None

    def _on_c_store(self, event: evt.Event) -> int:
        request = event.request
        status = self._answer(str(request.AffectedSOPClassUID))
        if status == SUCCESS or status >> 12 == 0xB:
            try:
                self._store(event)
            except OSError:
                return OUT_OF_RESOURCES
        return status

    def _store(self, event: evt.Event) -> None:
        request = event.request
        uid = str(request.AffectedSOPInstanceUID)
        name = hashlib.sha256(uid.encode()).hexdigest()[:32]
        arrived = ReceivedObject(
            path=self._folder / f"{name}.dcm",
            sop_class_uid=SOPClassUID(str(request.AffectedSOPClassUID)),
            sop_instance_uid=SOPInstanceUID(uid),
            transfer_syntax_uid=TransferSyntaxUID(str(event.context.transfer_syntax)),
            calling_ae_title=AETitle(event.assoc.requestor.ae_title.strip()),
        )
        unfinished = arrived.path.with_suffix(f".{threading.get_ident()}.part")
        with unfinished.open("wb") as target:
            write_part10(
                target,
                data_set=request.DataSet.getvalue(),
                sop_class_uid=arrived.sop_class_uid,
                sop_instance_uid=arrived.sop_instance_uid,
                transfer_syntax_uid=arrived.transfer_syntax_uid,
                source_ae_title=arrived.calling_ae_title,
            )
        unfinished.replace(arrived.path)
        with self._lock:
            known = self._objects.get(uid)
            times = known.times + 1 if known else 1
            self._objects[uid] = replace(arrived, times=times)
