"""Small values for tests of the ledger and the judgement: headers, instances, orders, a clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Final

from pydicom import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.domain.header import Header, Plane
from node.domain.ids import (
    AETitle,
    AnalysisId,
    BundleName,
    DestinationName,
    RevisionNumber,
    RuleName,
    SeriesInstanceUID,
    Sha256,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.domain.regions import Role
from node.domain.states import DeliveryState, RevisionState
from node.domain.study import (
    AnalysisOrder,
    CompletionDecision,
    DeliveryRecord,
    Reason,
    StoredInstance,
)
from node.store.admit import Incoming
from node.store.ledger import Ledger, Transaction

STUDY: Final = StudyInstanceUID("1.2.826.0.1.3680043.10.1338.50")
SERIES: Final = SeriesInstanceUID(f"{STUDY}.1")
SCANNER: Final = AETitle("SCANNER1")
START: Final = datetime(2026, 1, 2, 10, 11, 12, 345678, tzinfo=UTC)
AXIAL: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def at(seconds: float) -> datetime:
    """Return a time so many seconds after the start of the test's world."""
    return START + timedelta(seconds=seconds)


class ManualClock:
    """A clock that goes on only when told."""

    def __init__(self, now: datetime = START) -> None:
        self._start = now
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def a_plane(height_mm: float) -> Plane:
    return Plane(position=(-10.5, 20.25, height_mm), orientation=AXIAL)


def a_header(
    number: int = 1,
    *,
    study: StudyInstanceUID = STUDY,
    series: SeriesInstanceUID = SERIES,
    **others: object,
) -> Header:
    """Build the header of slice `number` of a series; slices lie 1 mm apart."""
    header = Header(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=SOPInstanceUID(f"{series}.{number}"),
        sop_class_uid=SOPClassUID(MRImageStorage),
        transfer_syntax_uid=TransferSyntaxUID(ExplicitVRLittleEndian),
        modality="MR",
        series_number=1,
        series_description="t1_mprage_sag",
        instance_number=number,
        planes=(a_plane(float(number)),),
    )
    return replace(header, **others)  # type: ignore[arg-type]  # named by each test


def an_instance(header: Header, *, content: str = "") -> StoredInstance:
    """Build the row of an instance, as if its bytes lay in a spool."""
    sha256 = f"{abs(hash((header.sop_instance_uid, content))):064x}"[-64:]
    return StoredInstance(
        sop_instance_uid=header.sop_instance_uid,
        series_instance_uid=header.series_instance_uid,
        path=f"objects/{header.sop_instance_uid}.dcm",
        sha256=Sha256(sha256),
        size_bytes=1000,
        planes=header.planes,
    )


def receive(ledger: Ledger, header: Header, *, seconds: float = 0.0) -> bool:
    """Record one instance in a ledger."""
    return ledger.intake.record_instance(
        header, an_instance(header), calling_ae_title=SCANNER, now=at(seconds)
    )


def receive_series(ledger: Ledger, *, slices: int = 6, seconds: float = 0.0) -> None:
    """Record a whole series, all at one time."""
    for number in range(1, slices + 1):
        receive(ledger, a_header(number), seconds=seconds)


def a_decision(
    state: RevisionState, *, look_again_s: float | None = None, code: str = "ok"
) -> CompletionDecision:
    return CompletionDecision(
        state=state,
        reason=Reason(code=code, text=f"judged {state.value}"),
        evidence=("quiet for 61 s, limit 60 s",),
        look_again_s=look_again_s,
    )


def an_order(revision: int = 1, *, inputs: str = "a") -> AnalysisOrder:
    return AnalysisOrder(
        analysis_id=AnalysisId(f"{revision:032d}"),
        study_instance_uid=STUDY,
        revision=RevisionNumber(revision),
        rule=RuleName("glioma"),
        bundle=BundleName("intensity-glioma"),
        reference=Role.T1C,
        roles=((Role.T1C, SERIES),),
        destinations=(DestinationName("pacs"),),
        inputs_sha256=Sha256(inputs * 64),
    )


def no_queue(_order: object, _transaction: Transaction) -> None:
    """Enqueue nothing."""


def complete(ledger: Ledger, revision: int = 1, *, seconds: float = 61.0) -> AnalysisOrder:
    """Judge the study of the ledger complete and return what was ordered."""
    order = an_order(revision)
    decision = a_decision(RevisionState.COMPLETE)
    assert ledger.studies.complete(
        STUDY, order.revision, decision, order, no_queue, now=at(seconds)
    )
    return order


def a_delivery(order: AnalysisOrder, *, sop: str = "2.25.1", kind: str = "SEG") -> DeliveryRecord:
    return DeliveryRecord(
        analysis_id=order.analysis_id,
        destination=DestinationName("pacs"),
        sop_instance_uid=SOPInstanceUID(sop),
        kind=kind,
        path=f"work/{order.analysis_id}/{sop}.dcm",
        state=DeliveryState.PENDING,
        status=None,
        attempts=0,
        reason=None,
        changed_at=at(100),
    )


def an_incoming(number: int = 1, *, pixels: bytes = b"\x01\x02" * 32, **others: object) -> Incoming:
    """Encode slice `number` of a small MR series as a scanner would send it.

    others: attributes by keyword, set on the data set; None takes one out.
    """
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"{SERIES}.{number}"
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = SERIES
    dataset.Modality = "MR"
    dataset.PatientName = "Gesperrt^Name"
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "t1_mprage_sag"
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [-10.5, 20.25, float(number)]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.PixelSpacing = [1.0, 1.0]
    dataset.Rows, dataset.Columns = 4, 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels
    for keyword, value in others.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return Incoming(
        sop_class_uid=SOPClassUID(str(dataset.get("SOPClassUID", MRImageStorage))),
        sop_instance_uid=SOPInstanceUID(f"{SERIES}.{number}"),
        transfer_syntax_uid=TransferSyntaxUID(ExplicitVRLittleEndian),
        data_set=_encoded(dataset),
        calling_ae_title=SCANNER,
    )


def _encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    target = DicomIO(buffer)
    target.is_little_endian, target.is_implicit_VR = True, False
    write_dataset(target, dataset)
    return buffer.getvalue()
