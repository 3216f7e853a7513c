"""The objects of one STOW-RS request, taken in one after another as they come."""

import threading
from collections.abc import Callable
from typing import Final

from node.dicom.headers import read_header
from node.domain.errors import (
    MissingIdentifier,
    NotDicom,
    ObjectTooLarge,
    RefusedInput,
    SegnodeError,
    SiteFault,
)
from node.domain.ids import AETitle
from node.listener.files import Admit, admit_counted, count_refusal, read_object
from node.listener.statuses import DUPLICATE_INSTANCE, status_of
from node.store.admit import Admission, Incoming
from node.web.stow_answer import (
    BUSY,
    CONFLICT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    Failure,
    Outcome,
    Reference,
)
from node.web.stow_parts import MediaType, Part

DICOM: Final = "application/dicom"
ANY_SYNTAX: Final = "*"


class TooMuch(Exception):
    """The request brings more than one may (HTTP 413)."""


class Intake:
    """Takes the parts of one request in.

    study: to which all objects must belong, None for any. one_large: held while an object
    larger than `large_bytes` is in memory, so that only one is, whatever the number of requests.
    """

    def __init__(
        self,
        admit: Admit,
        *,
        calling_ae_title: AETitle,
        study: str | None,
        most_parts: int,
        large_bytes: int,
        one_large: threading.Lock,
    ) -> None:
        self._admit: Final = admit
        self._calling: Final = calling_ae_title
        self._study: Final = study
        self._most_parts: Final = most_parts
        self._large_bytes: Final = large_bytes
        self._one_large: Final = one_large
        self.outcome: Final = Outcome()

    def take(self, part: Part) -> None:
        """Take one object in, or note why not. Raises TooMuch, OSError of the part's file."""
        if self.outcome.parts >= self._most_parts:
            raise TooMuch
        if part.media_type is not None and part.media_type.essence != DICOM:
            self._fail(NotDicom("A part is no application/dicom."), part)
        elif part.too_long:
            self._fail(ObjectTooLarge("An object is longer than one may be."), part)
        elif part.size_bytes > self._large_bytes:
            with self._one_large:
                self._read(part)
        else:
            self._read(part)

    def _read(self, part: Part) -> None:
        try:
            incoming = read_object(part.file, calling_ae_title=self._calling)
        except NotDicom as error:
            self._fail(error, part)
            return
        named = Reference(
            sop_class_uid=incoming.sop_class_uid, sop_instance_uid=incoming.sop_instance_uid
        )
        try:
            _check_syntax(part.media_type, incoming)
            _check_study(self._study, incoming)
        except RefusedInput as error:
            self._fail(error, part, named)
            return
        self._offer(incoming, named)

    def _offer(self, incoming: Incoming, named: Reference) -> None:
        try:
            admission = admit_counted(self._admit, incoming)
        except SegnodeError as error:
            http = BUSY if isinstance(error, SiteFault) else CONFLICT
            self._note(Failure(object=named, reason=status_of(error), http=http))
            return
        if admission is Admission.KEPT_ASIDE:
            self._note(Failure(object=named, reason=DUPLICATE_INSTANCE))
        else:
            self.outcome.taken.append(named)

    def _fail(self, error: RefusedInput, part: Part, named: Reference | None = None) -> None:
        count_refusal(error, calling_ae_title=self._calling, size_bytes=part.size_bytes)
        http = CONFLICT
        if isinstance(error, ObjectTooLarge):
            http = TOO_LARGE
        elif part.media_type is not None and part.media_type.essence != DICOM:
            http = UNSUPPORTED_MEDIA_TYPE
        self._note(Failure(object=named, reason=status_of(error), http=http))

    def _note(self, failure: Failure) -> None:
        self.outcome.failures.append(failure)


def _check_syntax(media_type: MediaType | None, incoming: Incoming) -> None:
    """Raise NotDicom where a part says another transfer syntax than its file meta group."""
    said = media_type.parameters.get("transfer-syntax") if media_type is not None else None
    if said not in (None, ANY_SYNTAX, incoming.transfer_syntax_uid):
        raise NotDicom("The transfer syntax of a part is not that of the file in it.")


def _check_study(study: str | None, incoming: Incoming) -> None:
    """Raise MissingIdentifier for an object of another study, RefusedInput for none at all."""
    if study is None:
        return
    header = read_header(incoming.data_set, incoming.transfer_syntax_uid)
    if header.study_instance_uid != study:
        raise MissingIdentifier("The object belongs to another study than the request names.")


MakeIntake = Callable[[str | None], Intake]
