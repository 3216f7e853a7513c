"""The services for modalities as they run in a node: conversations in front, the ledger behind."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.pdu import P_DATA_TF

from node.domain.clock import Clock
from node.domain.ids import AETitle
from node.listener import commitment, mpps
from node.listener.registrar import Registrar
from node.listener.requests import TRANSFER_SYNTAXES, Ask
from node.net.conversation import Conversation
from node.net.dimse import CallingAE, identify
from node.net.scu import Peer
from node.net.storing import ConversationLimits, StoreAnswer
from node.store.ledger import Ledger
from node.store.spool import Spool
from tests.support.dicom_objects import dataset, sequence

LIMITS = ConversationLimits(
    patience_s=10.0, idle_s=60.0, message_s=60.0, association_s=600.0, instances=100
)
LOOKS = commitment.Patience(longest_s=5.0, look_s=0.02)
MODALITY = AETitle("MR1")


class NoStore:
    """Takes no objects."""

    def begin(self, _request: object, _party: object) -> StoreAnswer:
        return StoreAnswer(status=0x0122)


@dataclass
class Front:
    """An open port and the associations that it serves."""

    port: int
    errors: list[str] = field(default_factory=list)


@contextmanager
def front(ask: Ask, *, patience: commitment.Patience = LOOKS) -> Iterator[Front]:
    """Serve MPPS and storage commitment; afterwards no thread may be left."""
    ae = AE(ae_title="SEGNODE")
    identify(ae)
    ae.dimse_timeout = ae.acse_timeout = ae.network_timeout = 20
    for abstract_syntax in (*mpps.CONTEXTS, *commitment.CONTEXTS):
        ae.add_supported_context(abstract_syntax, list(TRANSFER_SYNTAXES))
    handlers = [*mpps.handlers(ask), *commitment.handlers(ask, patience=patience)]
    with socket.create_server(("127.0.0.1", 0)) as door:
        threads: list[threading.Thread] = []

        def serve() -> None:
            while True:
                try:
                    connection, address = door.accept()
                except OSError:
                    return
                made = Conversation(ae, connection, address, handlers, NoStore(), LIMITS)
                threads.append(threading.Thread(target=made.run))
                threads[-1].start()

        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield Front(port=door.getsockname()[1])
        finally:
            door.shutdown(socket.SHUT_RDWR)
            accepting.join(20)
            for thread in threads:
                thread.join(20)
    assert not any(thread.is_alive() for thread in (accepting, *threads))


def a_registrar(
    ledger: Ledger,
    spool: Spool,
    clock: Clock,
    *,
    peers: Mapping[AETitle, Peer] | None = None,
    **others: Any,
) -> Registrar:
    return Registrar(ledger, spool, clock, peers=peers or {}, **others)


@dataclass
class Reports:
    """What a modality was told: event type and event information of each report."""

    came: list[tuple[int, Dataset]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    status: int = 0x0000

    def __call__(self, event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        information.decode()
        self.came.append((event.event_type, information))
        self.arrived.set()
        return self.status, None

    def sent(self, event: evt.Event) -> None:
        """Notice that the answer to a report has left."""
        if isinstance(event.pdu, P_DATA_TF) and self.arrived.is_set():
            self.answered.set()


@contextmanager
def modality(
    port: int, abstract_syntax: str, reports: Reports | None = None, *, calling: str = MODALITY
) -> Iterator[Any]:
    """Open an association as a modality does; reports: of events on the same association."""
    ae = CallingAE(calling, timeout_s=20)
    association = ae.associate(
        "127.0.0.1",
        port,
        contexts=[build_context(abstract_syntax, list(TRANSFER_SYNTAXES))],
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports), (evt.EVT_PDU_SENT, reports.sent)]
        if reports is not None
        else [],
    )
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.join(20)


@contextmanager
def modality_that_is_called(reports: Reports) -> Iterator[Peer]:
    """Listen as a modality does for results that come on an association of their own."""
    ae = AE(ae_title=MODALITY)
    ae.add_supported_context(commitment.PUSH_MODEL, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)]
    )
    try:
        yield Peer(
            ae_title=MODALITY,
            host="127.0.0.1",
            port=cast("int", server.server_address[1]),
            calling_ae_title=AETitle("SEGNODE"),
            timeout_s=20,
        )
    finally:
        server.shutdown()


def series_item(series: str, images: Mapping[str, str] | list[str]) -> Dataset:
    """Return an item of Performed Series Sequence."""
    return dataset(
        SeriesInstanceUID=series,
        SeriesDescription="t1_mprage",
        ReferencedImageSequence=sequence(
            *(
                dataset(
                    ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4",
                    ReferencedSOPInstanceUID=uid,
                )
                for uid in images
            )
        ),
        ReferencedNonImageCompositeSOPInstanceSequence=sequence(),
    )


def a_new_step(study: str, **attributes: Any) -> Dataset:
    """Return the attribute list of an N-CREATE; None leaves one out."""
    found: dict[str, Any] = {
        "ScheduledStepAttributesSequence": sequence(
            dataset(StudyInstanceUID=study, AccessionNumber="ZZ4711")
        ),
        "PatientName": "Zzyzx^Marked",
        "PatientID": "ZZ-1",
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": MODALITY,
        "PerformedProcedureStepStartDate": "20260102",
        "PerformedProcedureStepStartTime": "101112",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "Modality": "MR",
        "PerformedSeriesSequence": sequence(),
    }
    return dataset(**{**found, **attributes})


def a_request(transaction: str, *objects: tuple[str, str]) -> Dataset:
    """Return the action information of a storage commitment request."""
    return dataset(
        TransactionUID=transaction,
        ReferencedSOPSequence=sequence(
            *(
                dataset(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=sop)
                for sop_class, sop in objects
            )
        ),
    )
