"""The one way in for who holds an object in memory: journal, place and row in one call.

It is what the listener does in two processes: a receiver commits to a journal, a settler
takes it from there. A crash in between leaves what the next start settles.
"""

import threading
from dataclasses import dataclass
from typing import Final

from node.dicom.elements import Encoded
from node.dicom.headers import read_header
from node.dicom.ours import is_ours
from node.domain.clock import Clock
from node.domain.errors import RefusedInput, SegnodeError, SpoolUnwritable
from node.domain.header import Header
from node.domain.ids import (
    AETitle,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.domain.study import Reason, Refusal
from node.store.admission import Admission, Arriving, check, check_class
from node.store.journal import Journal
from node.store.ledger import Ledger
from node.store.settle import Settler
from node.store.spool import Spool

__all__ = ["Admission", "Admitter", "Incoming", "check", "check_class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One object as it arrived: the identifiers of the C-STORE command and the bytes.

    data_set: encoded in the transfer syntax, without preamble and file meta information.
    """

    sop_class_uid: SOPClassUID
    sop_instance_uid: SOPInstanceUID
    transfer_syntax_uid: TransferSyntaxUID
    data_set: Encoded
    calling_ae_title: AETitle

    @property
    def arriving(self) -> Arriving:
        """What is known of it without its bytes."""
        return Arriving(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            calling_ae_title=self.calling_ae_title,
        )


class Admitter:
    """Takes objects in; safe to call from many threads and processes at once."""

    def __init__(self, spool: Spool, ledger: Ledger, clock: Clock) -> None:
        self._spool: Final = spool
        self._ledger: Final = ledger
        self._clock: Final = clock
        self._settler: Final = Settler(spool, ledger, clock)
        self._opening: Final = threading.Lock()
        self._journal: Journal | None = None

    def admit(self, incoming: Incoming) -> Admission:
        """Take one object in; when this returns, it may be acknowledged.

        Raises NotDicom, MissingIdentifier (also where the data set contradicts the command),
        UnsupportedSopClass and SpoolUnwritable, each written down as a refusal first, with its
        study where that is known; LedgerUnavailable when nothing can be written down at all.
        """
        try:
            header = _checked_header(incoming)
        except RefusedInput as error:
            self._refuse(incoming, _study_of(incoming), error)
            raise
        if is_ours(header):
            self._ledger.deliveries.record_seen(header.sop_instance_uid, self._clock.now())
            return Admission.OURS
        try:
            return self._take(incoming)
        except SpoolUnwritable as error:
            self._refuse(incoming, header.study_instance_uid, error)
            raise

    def close(self) -> None:
        """Let go of the journal."""
        with self._opening:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def _take(self, incoming: Incoming) -> Admission:
        """Store an object that may be an input."""
        entry = self._open_journal().begin(incoming.arriving)
        try:
            with memoryview(incoming.data_set) as data_set:
                entry.write(data_set)
            path = entry.commit(settled_at_once=True).path
        finally:
            entry.discard()
        try:
            # Where it is gone already, another settler has found it in the journal.
            return self._settler.settle([path]).get(path, Admission.DUPLICATE)
        finally:
            path.unlink(missing_ok=True)  # after an error, the sender hears of it and sends again

    def _open_journal(self) -> Journal:
        with self._opening:
            if self._journal is None:
                self._journal = Journal(self._spool, blanks=0)
            return self._journal

    def _refuse(
        self, incoming: Incoming, study: StudyInstanceUID | None, error: SegnodeError
    ) -> None:
        self._ledger.intake.record_refusal(
            Refusal(
                study_instance_uid=study,
                sop_instance_uid=incoming.sop_instance_uid,
                calling_ae_title=incoming.calling_ae_title,
                reason=Reason(code=error.code, text=error.what),
                at=self._clock.now(),
            )
        )


def _study_of(incoming: Incoming) -> StudyInstanceUID | None:
    """Return the study of an object that is refused, so that its story can say so."""
    try:
        return read_header(incoming.data_set, incoming.transfer_syntax_uid).study_instance_uid
    except RefusedInput:
        return None


def _checked_header(incoming: Incoming) -> Header:
    check_class(incoming.arriving)
    header = read_header(incoming.data_set, incoming.transfer_syntax_uid)
    check(header, incoming.arriving)
    return header
