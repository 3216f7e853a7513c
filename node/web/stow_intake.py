"""The objects of one STOW-RS request, taken in one after another as they come."""

from pathlib import Path
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

    study: to which all objects must belong, None for any. temporary: a folder for long ones.
    """

    def __init__(
        self,
        admit: Admit,
        *,
        calling_ae_title: AETitle,
        study: str | None,
        most_parts: int,
        temporary: Path,
    ) -> None:
        self._admit: Final = admit
        self._calling: Final = calling_ae_title
        self._study: Final = study
        self._most_parts: Final = most_parts
        self._temporary: Final = temporary
        self.outcome: Final = Outcome()

    def take(self, part: Part) -> None:
        """Take one object in, or note why not. Raises TooMuch, OSError of the part's file."""
        if self.outcome.parts >= self._most_parts:
            raise TooMuch
        try:
            if part.media_type is not None and part.media_type.essence != DICOM:
                raise NotDicom("A part is no application/dicom.")
            if part.too_long:
                raise ObjectTooLarge("An object is longer than one may be.")
            with read_object(
                part.file, calling_ae_title=self._calling, temporary=self._temporary
            ) as incoming:
                self._check(part, incoming)
        except SegnodeError as error:
            self._fail(error, part)

    def _check(self, part: Part, incoming: Incoming) -> None:
        named = Reference(
            sop_class_uid=incoming.sop_class_uid, sop_instance_uid=incoming.sop_instance_uid
        )
        try:
            _check_syntax(part.media_type, incoming)
            _check_study(self._study, incoming)
        except RefusedInput as error:
            self._fail(error, part, named)
        else:
            self._offer(incoming, named)

    def _offer(self, incoming: Incoming, named: Reference) -> None:
        try:
            admission = admit_counted(self._admit, incoming)
        except SegnodeError as error:
            self._note(error, named)
            return
        if admission is Admission.KEPT_ASIDE:
            failure = Failure(object=named, reason=DUPLICATE_INSTANCE)
            self.outcome.failures.append(failure)
        else:
            self.outcome.taken.append(named)

    def _fail(self, error: SegnodeError, part: Part, named: Reference | None = None) -> None:
        """Note what does not get as far as the admission."""
        count_refusal(error, calling_ae_title=self._calling, size_bytes=part.size_bytes)
        is_dicom = part.media_type is None or part.media_type.essence == DICOM
        self._note(error, named, UNSUPPORTED_MEDIA_TYPE if not is_dicom else None)

    def _note(self, error: SegnodeError, named: Reference | None, http: int | None = None) -> None:
        failure = Failure(object=named, reason=status_of(error), http=http or _http_of(error))
        self.outcome.failures.append(failure)


def _http_of(error: SegnodeError) -> int:
    """Return the status of a request in which all objects failed like this one."""
    if isinstance(error, ObjectTooLarge):
        return TOO_LARGE
    return BUSY if isinstance(error, SiteFault) else CONFLICT


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
