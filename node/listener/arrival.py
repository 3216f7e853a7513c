"""One object on its way into the journal: checked, kept, and answered (a `Sink`)."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from node.dicom.ours import is_ours
from node.dicom.uids import is_uid
from node.domain.errors import MissingIdentifier, ObjectTooLarge, Overloaded, SegnodeError
from node.domain.header import Identity
from node.domain.ids import AETitle, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.listener.desk import News
from node.listener.gate import WORDS, Gate
from node.listener.statuses import DUPLICATE_INSTANCE, SUCCESS, status_of
from node.net.storing import StoreAnswer, StoreRequest, Timing
from node.store.admission import Arriving, check
from node.store.journal import Entry, Journal
from node.store.spool import Spool
from node.telemetry.outcomes import ReceivedOutcome

logger: Final = logging.getLogger(__name__)

LONGEST_UID: Final = 64

_STATUS: Final[Mapping[ReceivedOutcome, int]] = MappingProxyType(
    {"stored": SUCCESS, "duplicate": SUCCESS, "ours": SUCCESS, "kept-aside": DUPLICATE_INSTANCE}
)

Report = Callable[[News, str, Timing | None], None]
"""Gets what became of the object, its transfer syntax, and how long it took to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where objects go, and what bounds them. longest: bytes of one data set."""

    spool: Spool
    journal: Journal
    gate: Gate
    longest: int


class Arrival:
    """Takes one data set; called from one thread."""

    def __init__(
        self, shelf: Shelf, request: StoreRequest, calling_ae_title: str, report: Report
    ) -> None:
        self._shelf: Final = shelf
        self._report: Final = report
        self._arriving: Final = Arriving(
            sop_class_uid=SOPClassUID(request.sop_class_uid),
            sop_instance_uid=SOPInstanceUID(request.sop_instance_uid),
            transfer_syntax_uid=TransferSyntaxUID(request.transfer_syntax_uid),
            calling_ae_title=AETitle(calling_ae_title),
        )
        self._entry: Entry | None = None

    def begin(self) -> StoreAnswer | None:
        """Open a journal entry, or return why not."""
        try:
            self._check_request()
            self._entry = self._shelf.journal.begin(self._arriving)
        except SegnodeError as error:
            return self._refuse(error)
        return None

    def write(self, fragment: memoryview) -> StoreAnswer | None:
        """Keep a piece of the data set; an answer when there can be no more of it."""
        entry = self._open_entry()
        try:
            if entry.size + len(fragment) > self._shelf.longest:
                raise ObjectTooLarge(f"The object is over {self._shelf.longest // 2**20} MiB.")
            entry.write(fragment)
        except SegnodeError as error:
            self.abandon()
            return self._refuse(error, size_bytes=entry.size)
        return None

    def finish(self, timing: Timing) -> StoreAnswer:
        """Put the whole data set where a crash cannot take it, and say so."""
        started = time.perf_counter()
        entry, header = self._open_entry(), None
        try:
            header = entry.identity()
            check(header, self._arriving)
            outcome, path = self._keep(entry, header)
        except SegnodeError as error:
            self.abandon()
            return self._refuse(error, header, entry.size, timing)
        except Exception as error:  # the edge: the sender must get an answer
            self.abandon()
            logger.error("admission crashed", exc_info=error)  # noqa: TRY400 -- its text stays out
            return self._refuse(SegnodeError("admission crashed"), header, entry.size, timing)
        self._entry = None
        seconds = time.perf_counter() - started
        news = self._news(outcome, header, entry.size, path=path, seconds=seconds)
        self._tell(news, timing)
        return StoreAnswer(status=_STATUS[outcome])

    def abandon(self) -> None:
        """Let go of what came."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.discard()

    def _check_request(self) -> None:
        """Refuse what can be refused by the command alone.

        A class that is not stored is not: its study is to tell of it, and stands in the data set.
        """
        arriving = self._arriving
        if not is_uid(arriving.sop_class_uid) or not is_uid(arriving.sop_instance_uid):
            raise MissingIdentifier("The command lacks a valid SOP Class or SOP Instance UID.")
        cause = self._shelf.gate.closed()
        if cause is not None:
            raise Overloaded(f"Nothing more is taken in: {WORDS[cause]}.")

    def _open_entry(self) -> Entry:
        if self._entry is None:
            raise RuntimeError("a data set goes on that was never begun, or was refused")
        return self._entry

    def _keep(self, entry: Entry, header: Identity) -> tuple[ReceivedOutcome, str]:
        """Decide what the object is, commit it if it is to be kept, and return its path."""
        if is_ours(header):
            entry.discard()
            return "ours", ""
        known = self._shelf.spool.known_file(
            header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid
        )
        if known is not None and entry.is_same_as(known):
            entry.discard()
            return "duplicate", ""
        committed = entry.commit()
        return ("stored" if known is None else "kept-aside"), str(committed.path)

    def _refuse(
        self,
        error: SegnodeError,
        header: Identity | None = None,
        size_bytes: int = 0,
        timing: Timing | None = None,
    ) -> StoreAnswer:
        news = self._news("refused", header, size_bytes, code=error.code, text=error.what)
        self._tell(news, timing)
        return StoreAnswer(status=status_of(error), comment=error.code)

    def _news(
        self, outcome: ReceivedOutcome, header: Identity | None, size_bytes: int, **others: Any
    ) -> News:
        return News(
            outcome=outcome,
            calling_ae_title=self._arriving.calling_ae_title,
            # What is no UID may be long, and a report has to stay short.
            sop_instance_uid=self._arriving.sop_instance_uid[:LONGEST_UID],
            size_bytes=size_bytes,
            study_instance_uid=header.study_instance_uid if header is not None else "",
            **others,
        )

    def _tell(self, news: News, timing: Timing | None) -> None:
        self._report(news, self._arriving.transfer_syntax_uid, timing)
