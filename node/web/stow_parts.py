"""The body of a STOW-RS request as it streams in: multipart/related, one object a part.

What lies between the boundaries is found by python-multipart; a part is kept in memory up to
a few hundred kB and in an unnamed temporary file beyond, so that a request never holds more
memory than that, whatever it brings. Everything here runs in one thread at a time.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MOST_HEADERS: Final = 16
LONGEST_HEADER: Final = 4096

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")
"""As in RFC 2046 section 5.1.1, but longer than 70, because Orthanc's has 73 characters."""


class BodyBroken(Exception):
    """The body is not what its Content-Type says (HTTP 400)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """A Content-Type: essence such as "application/dicom" and parameters, both in lower case.

    The values of parameters stay as they are.
    """

    essence: str
    parameters: dict[str, str]


def parse_media_type(text: str) -> MediaType:
    """Read a Content-Type (RFC 9110 section 8.3), quoted parameters included."""
    message = Message()
    message["Content-Type"] = text.replace("\r", " ").replace("\n", " ")
    parameters = {key.lower(): value for key, value in message.get_params(failobj=[])[1:]}
    return MediaType(essence=text.partition(";")[0].strip().lower(), parameters=parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part that came whole. file: its content, at the beginning; closed after use.

    too_long: the content was longer than allowed and is not in the file.
    """

    media_type: MediaType | None
    file: BinaryIO
    size_bytes: int
    too_long: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """How long a part may be, and where it is kept.

    part_bytes: one part's content. memory_bytes: up to this it stays in memory; a longer one
    lies in a file without a name in the folder `temporary`.
    """

    part_bytes: int
    memory_bytes: int
    temporary: Path


class PartReader:
    """Splits a body. on_part is called for each part when it is whole, in the body's order.

    Raises BodyBroken for a boundary that cannot be one.
    """

    def __init__(self, boundary: str, limits: PartLimits, on_part: Callable[[Part], None]) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise BodyBroken("the boundary is none")
        self._limits: Final = limits
        self._on_part: Final = on_part
        self._feeding: Final = threading.Lock()
        self._ended = False
        self._field = b""
        self._value = b""
        self._headers: dict[str, str] = {}
        self._file: SpooledTemporaryFile[bytes] | None = None
        self._size = 0
        self._parser: Final = MultipartParser(
            boundary.encode("ascii"),
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": self._take_field,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_part_data": self._take_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=LONGEST_HEADER,
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises BodyBroken, OSError of the temporary file, and what on_part raises.
        """
        try:
            with self._feeding:
                self._parser.write(chunk)
        except FormParserError as error:
            # Its text quotes the body.
            raise BodyBroken("the body is no multipart message") from error

    def finish(self) -> None:
        """Say that the body is at its end. Raises BodyBroken where it should go on."""
        if not self._ended:
            raise BodyBroken("the body ends before its last boundary")

    def close(self) -> None:
        """Give back what an unfinished part holds; waits for the piece that is being taken."""
        with self._feeding:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _begin(self) -> None:
        self._headers = {}
        self._size = 0
        self._file = SpooledTemporaryFile(  # noqa: SIM115 -- closed in _end or close
            max_size=self._limits.memory_bytes, dir=str(self._limits.temporary)
        )

    def _begin_header(self) -> None:
        self._field = self._value = b""

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._field.decode("latin-1").strip().lower()
        self._headers[name] = self._value.decode("latin-1").strip()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        self._size += end - start
        if self._size <= self._limits.part_bytes:
            self._file.write(memoryview(data)[start:end])
        elif self._size - (end - start) <= self._limits.part_bytes:
            self._file.seek(0)
            self._file.truncate()

    def _end(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        with file:
            file.seek(0)
            content_type = self._headers.get("content-type")
            self._on_part(
                Part(
                    media_type=None if content_type is None else parse_media_type(content_type),
                    file=cast("BinaryIO", file),
                    size_bytes=self._size,
                    too_long=self._size > self._limits.part_bytes,
                )
            )

    def _finish(self) -> None:
        self._ended = True
