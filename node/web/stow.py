"""STOW-RS: objects sent to the HTTP port (PS3.18 section 10.5), the same door as C-STORE.

Only binary objects, multipart/related with application/dicom, are taken; metadata with bulk
data apart is refused (415), because there the bytes that came are not those of a data set.
The body is streamed: each part is admitted when it is whole, before the next is read, and is
in the answer only when it may be acknowledged. A request that breaks off leaves what was
admitted; the sender repeats the whole and the known objects are recognised.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from node.dicom.uids import is_uid
from node.domain.errors import ConfigurationInvalid, SiteFault
from node.domain.ids import AETitle
from node.listener.callers import Network, is_within
from node.listener.files import Admit
from node.web import stow_answer
from node.web.body import Body, BodyTooLong, SenderGone
from node.web.stow_answer import BAD_REQUEST, BUSY, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Outcome
from node.web.stow_intake import DICOM, Intake, TooMuch
from node.web.stow_parts import BodyBroken, PartLimits, PartReader, parse_media_type

logger: Final = logging.getLogger(__name__)

MIB: Final = 1024 * 1024
RETRY_AFTER_S: Final = 30
CALLING_AE_TITLE: Final = AETitle("STOW-RS")
"""Stands in the ledger for senders that have no AE title."""

_ANSWERS: Final[Mapping[str, str]] = {
    "application/dicom+json": stow_answer.JSON,
    "application/json": stow_answer.JSON,
    "application/dicom+xml": stow_answer.XML,
    "application/xml": stow_answer.XML,
    "text/xml": stow_answer.XML,
    "application/*": stow_answer.JSON,
    "*/*": stow_answer.JSON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StowOptions:
    """Who may send objects over HTTP, and how much.

    networks: whose addresses may; empty: none. token_file: holds the bearer token that a sender
    must show, read at each request; None: no token is asked for. temporary: a folder for parts
    that do not stay in memory, on the spool's disk. instance_bytes: of one part; request_bytes:
    of a whole body; most_parts: of one request. memory_bytes: of a part that is kept in memory
    while it comes. requests_at_once: more are told to come again. idle_s: between two pieces of
    a body; request_s: for a whole one.
    """

    networks: tuple[Network, ...]
    temporary: Path
    token_file: Path | None = None
    calling_ae_title: AETitle = CALLING_AE_TITLE
    instance_bytes: int = 4096 * MIB
    request_bytes: int = 64 * 1024 * MIB
    most_parts: int = 20_000
    memory_bytes: int = MIB
    requests_at_once: int = 4
    idle_s: float = 30.0
    request_s: float = 3600.0


class _Turned(Exception):
    """The request is answered without its body, or the rest of it."""

    def __init__(
        self,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(status)
        self.status: Final = status
        self.headers: Final = dict(headers or {})
        self.outcome: Final = outcome


def stow_router(
    options: StowOptions, admit: Admit, *, ready: Callable[[], None] = lambda: None
) -> APIRouter:
    """Return the routes for Store Transactions, to be mounted by `make_app`.

    ready: raises SiteFault when nothing may be taken in now, asked before a body is read.
    Raises ConfigurationInvalid for a token file that cannot be read or is empty, OSError
    where there can be no folder for temporary files.
    """
    if options.token_file is not None:
        _token(options.token_file)
    options.temporary.mkdir(parents=True, exist_ok=True)
    door = _Door(options, admit, ready)
    router = APIRouter()

    @router.post("/dicomweb/studies")
    async def store(request: Request) -> Response:
        """Take objects of any study."""
        return await door.answer(request, None)

    @router.post("/dicomweb/studies/{study}")
    async def store_in_study(request: Request, study: str) -> Response:
        """Take objects of one study."""
        return await door.answer(request, study)

    return router


class _Door:
    """Answers requests; lives in the event loop, and works in a thread for each request."""

    def __init__(self, options: StowOptions, admit: Admit, ready: Callable[[], None]) -> None:
        self._options: Final = options
        self._admit: Final = admit
        self._ready: Final = ready
        self._open = 0

    async def answer(self, request: Request, study: str | None) -> Response:
        """Answer one request."""
        options = self._options
        body = Body(
            request,
            limit_bytes=options.request_bytes,
            idle_s=options.idle_s,
            limit_s=options.request_s,
        )
        try:
            _check_access(request, options)
            boundary = _boundary(request)
            form = _answer_form(request.headers.get("accept", "*/*"))
            _check_study_name(study)
            _check_length(request, options.request_bytes)
            outcome = await self._take_turn(body, study, boundary)
        except SenderGone:
            logger.warning("a STOW-RS request broke off", extra={"address": _address(request)})
            return Response(status_code=BAD_REQUEST)
        except _Turned as turned:
            logger.warning(
                "a STOW-RS request was refused",
                extra={"status": int(turned.status), "address": _address(request)},
            )
            if turned.status != HTTPStatus.REQUEST_TIMEOUT:  # it had its time
                await body.drain()
            headers = {**turned.headers, "Connection": "close"}
            if turned.outcome is None or not turned.outcome.parts:
                text = HTTPStatus(turned.status).phrase + "\n"
                return Response(text, turned.status, headers, media_type="text/plain")
            return _response(turned.outcome, form, turned.status, headers)
        status = outcome.status
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == BUSY else {}
        return _response(outcome, form, status, headers)

    async def _take_turn(self, body: Body, study: str | None, boundary: str) -> Outcome:
        busy = _Turned(BUSY, headers={"Retry-After": str(RETRY_AFTER_S)})
        if self._open >= self._options.requests_at_once:
            raise busy
        self._open += 1
        try:
            try:
                await asyncio.to_thread(self._ready)
            except SiteFault as error:
                raise busy from error
            return await self._read(body, study, boundary)
        finally:
            self._open -= 1

    async def _read(self, body: Body, study: str | None, boundary: str) -> Outcome:
        options = self._options
        intake = Intake(
            self._admit,
            calling_ae_title=options.calling_ae_title,
            study=study,
            most_parts=options.most_parts,
            temporary=options.temporary,
        )
        limits = PartLimits(
            part_bytes=options.instance_bytes,
            memory_bytes=options.memory_bytes,
            temporary=options.temporary,
        )
        try:
            reader = PartReader(boundary, limits, intake.take)
        except BodyBroken as error:
            raise _Turned(BAD_REQUEST) from error
        try:
            await _pump(body, reader)
        except (BodyBroken, BodyTooLong, TooMuch, TimeoutError) as error:
            status = _STATUS_OF_BREAK[type(error)]
            raise _Turned(status, outcome=intake.outcome) from error
        except OSError as error:
            # The folder for temporary files is on the spool's disk: it is full or gone.
            logger.warning("a part cannot be kept", extra={"errno": error.errno})
            raise _Turned(BUSY, outcome=intake.outcome) from error
        finally:
            await asyncio.to_thread(reader.close)
        return intake.outcome


_STATUS_OF_BREAK: Final[Mapping[type[Exception], int]] = {
    BodyBroken: BAD_REQUEST,
    BodyTooLong: TOO_LARGE,
    TooMuch: TOO_LARGE,
    TimeoutError: HTTPStatus.REQUEST_TIMEOUT,
}


async def _pump(body: Body, reader: PartReader) -> None:
    """Read the body and hand it on piece by piece; the next when one is done with.

    Raises BodyBroken, BodyTooLong, TooMuch, TimeoutError, OSError and SenderGone.
    """
    while not body.is_read:
        piece = await body.piece()
        if piece:
            await asyncio.to_thread(reader.feed, piece)
    reader.finish()


def _check_access(request: Request, options: StowOptions) -> None:
    """Raise 403 for an address that is not on the list, 401 without the token."""
    if not is_within(options.networks, _address(request)):
        raise _Turned(HTTPStatus.FORBIDDEN)
    if options.token_file is None:
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    try:
        token = _token(options.token_file)
    except ConfigurationInvalid as error:
        raise _Turned(HTTPStatus.SERVICE_UNAVAILABLE) from error
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), token):
        raise _Turned(HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _token(file: Path) -> bytes:
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        message = f"the token file for STOW-RS cannot be read: {error.strerror}"
        raise ConfigurationInvalid(message) from error
    if not token:
        raise ConfigurationInvalid("the token file for STOW-RS is empty")
    return token


def _boundary(request: Request) -> str:
    """Return the boundary. Raises 415 for all that is not multipart/related of DICOM objects."""
    headers = request.headers
    media_type = parse_media_type(headers.get("content-type", ""))
    kind = media_type.parameters.get("type", DICOM).lower()
    is_plain = headers.get("content-encoding", "identity").lower() == "identity"
    if media_type.essence != "multipart/related" or kind != DICOM or not is_plain:
        raise _Turned(UNSUPPORTED_MEDIA_TYPE)
    return media_type.parameters.get("boundary", "")


def _check_study_name(study: str | None) -> None:
    if study is not None and not is_uid(study):
        raise _Turned(BAD_REQUEST)


def _check_length(request: Request, limit_bytes: int) -> None:
    """Raise 413 for a body that is announced to be too long."""
    if int(request.headers.get("content-length", "0")) > limit_bytes:
        raise _Turned(TOO_LARGE)


def _answer_form(accept: str) -> str:
    """Return the media type of the answer. Raises 406 when none is acceptable."""
    for entry in accept.split(","):
        found = _ANSWERS.get(parse_media_type(entry).essence)
        if found is not None:
            return found
    raise _Turned(HTTPStatus.NOT_ACCEPTABLE)


def _response(outcome: Outcome, form: str, status: int, headers: Mapping[str, str]) -> Response:
    render = stow_answer.to_xml if form == stow_answer.XML else stow_answer.to_json
    return Response(render(outcome), status, dict(headers), media_type=form)
