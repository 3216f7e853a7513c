"""Fetch one file over HTTPS, within bounds of size and time.

Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY), authorities from the system's
store or SSL_CERT_FILE, as other programs of an administrator do. Whether the bytes are the
right ones is for the caller to check.
"""

import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from node import __version__
from node.domain.errors import DownloadFailed

CHUNK_BYTES: Final = 1024 * 1024
MOST_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

PASSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses after which the same request may succeed."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """How a file is fetched.

    timeout_s: of each single wait for the server. longest_s: for the file as a whole.
    attempts: a broken transfer is taken up where it broke, after pause_s. plain_hosts: that
    may be spoken to without TLS; none, but for trials. tls: None takes the system's.
    """

    timeout_s: float = 30.0
    longest_s: float = 4 * 3600.0
    attempts: int = 4
    pause_s: float = 2.0
    plain_hosts: frozenset[str] = frozenset()
    tls: ssl.SSLContext | None = None


DEFAULTS: Final = DownloadOptions()


class _Interrupted(Exception):
    """A transfer broke, and may go on."""


def download(
    url: str,
    into: Path,
    *,
    most_bytes: int,
    options: DownloadOptions = DEFAULTS,
    on_progress: Progress = lambda _done, _total: None,
) -> None:
    """Fetch a file.

    into: where it is written; what is there is overwritten, and a failure leaves a part.
    most_bytes: a longer one is refused. on_progress: told the bytes had and the bytes in all,
    where the server says. Raises DownloadFailed with what went wrong.
    """
    transfer = _Transfer(url, most_bytes, options, on_progress)
    try:
        with into.open("wb") as file:
            transfer.run(file)
    except OSError as error:
        raise DownloadFailed(f"{into.name} cannot be written: {error.strerror}") from error


class _Transfer:
    """One file on its way. URLs are checked before each request, redirected ones too."""

    def __init__(
        self, url: str, most_bytes: int, options: DownloadOptions, on_progress: Progress
    ) -> None:
        self._url: Final = url
        self._most_bytes: Final = most_bytes
        self._options: Final = options
        self._on_progress: Final = on_progress
        self._ends_at: Final = time.monotonic() + options.longest_s
        tls = urllib.request.HTTPSHandler(context=options.tls or _system_tls())
        self._opener: Final = urllib.request.build_opener(tls, _NoRedirects())

    def run(self, file: IO[bytes]) -> None:
        """Write the file, in several attempts if need be."""
        why = ""
        for attempt in range(self._options.attempts):
            if attempt:
                time.sleep(self._options.pause_s)
            try:
                self._attempt(file)
            except _Interrupted as interrupted:
                why = str(interrupted)
            else:
                return
        raise self._failed(f"{why} ({self._options.attempts} attempts)")

    def _attempt(self, file: IO[bytes]) -> None:
        """Ask for what is still missing and append it."""
        have = file.tell()
        try:
            with self._open(have) as response:
                if have and not _goes_on(response, have):
                    file.seek(0)
                    file.truncate()
                    have = 0
                self._read(response, file, have)
        except HTTPError as error:
            with error:
                self._judge_status(error, file)
        except (OSError, http.client.HTTPException) as error:
            self._judge(error)
        except ValueError as error:
            raise self._failed("the server's answer makes no sense") from error

    def _open(self, have: int) -> http.client.HTTPResponse:
        """Ask for the file from a byte on, wherever HTTPS leads: a checksum is what is trusted."""
        url = self._url
        headers = {"User-Agent": f"segnode/{__version__}"}
        if have:
            headers["Range"] = f"bytes={have}-"
        for _ in range(MOST_REDIRECTS + 1):
            check_url(url, self._options.plain_hosts)
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - just checked
            try:
                response: http.client.HTTPResponse = self._opener.open(
                    request, timeout=self._options.timeout_s
                )
            except HTTPError as error:
                target = error.headers.get("Location")
                if error.code not in REDIRECTS or not target:
                    raise
                error.close()
                url = urljoin(url, target)
            else:
                return response
        raise self._failed(f"more than {MOST_REDIRECTS} redirections")

    def _read(self, response: http.client.HTTPResponse, file: IO[bytes], have: int) -> None:
        total = None if response.length is None else have + response.length
        if (total or 0) > self._most_bytes:
            raise self._failed(f"{total} bytes, at most {self._most_bytes} were expected")
        # read1 returns what has come, so that a trickle cannot hold up the clock.
        while chunk := response.read1(CHUNK_BYTES):
            have += len(chunk)
            if have > self._most_bytes:
                raise self._failed(f"more than the {self._most_bytes} bytes that were expected")
            _write(file, chunk)
            self._on_progress(have, total)
            if time.monotonic() > self._ends_at:
                raise self._failed(f"not done after {self._options.longest_s:.0f} s")
        if total is not None and have < total:
            raise _Interrupted(f"the transfer broke off after {have} of {total} bytes")

    def _judge_status(self, error: HTTPError, file: IO[bytes]) -> None:
        """Raise what a failure status means."""
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            file.seek(0)
            file.truncate()
            raise _Interrupted("the server cannot take a broken transfer up") from error
        text = f"the server answered {error.code} {error.reason}"
        if error.code in PASSING:
            raise _Interrupted(text) from error
        raise self._failed(text) from error

    def _judge(self, error: Exception) -> None:
        """Raise what a failure of the connection means."""
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise self._failed(
                f"its certificate is not trusted: {reason.verify_message}"
            ) from error
        raise _Interrupted(f"the connection failed: {reason or type(error).__name__}") from error

    def _failed(self, why: str) -> DownloadFailed:
        parts = urlsplit(self._url)
        return DownloadFailed(f"{Path(parts.path).name} from {parts.hostname}: {why}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirections to `_Transfer`, which checks them and reads none of their text."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


@cache
def _system_tls() -> ssl.SSLContext:
    """Load the system's authorities once; there are over a hundred."""
    return ssl.create_default_context()


def check_url(url: str, plain_hosts: frozenset[str] = frozenset()) -> None:
    """Raise DownloadFailed unless an address is one of HTTPS."""
    parts = urlsplit(url)
    allowed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in plain_hosts)
    if not allowed or not parts.hostname:
        raise DownloadFailed(f"only HTTPS is spoken, not {parts.scheme} to {parts.hostname}")


def _goes_on(response: http.client.HTTPResponse, have: int) -> bool:
    """Whether an answer continues where the last one broke off."""
    said = response.headers.get("Content-Range", "")
    return response.status == HTTPStatus.PARTIAL_CONTENT and said.startswith(f"bytes {have}-")


def _write(file: IO[bytes], chunk: bytes) -> None:
    """Write to disk; a failure of the disk is none of the connection."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise DownloadFailed(f"the file cannot be written: {error.strerror}") from error
