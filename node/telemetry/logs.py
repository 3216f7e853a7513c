"""Logging in one line a record, `key=value`, without patient data.

What libraries print can hold values of a data set: pydicom warns with them, pynetdicom dumps
whole messages at DEBUG and exceptions with a trace. They are cut down here to what happened.
"""

import hashlib
import hmac
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, TextIO

OWN_ROOT: Final = "node"
"""Loggers below it are ours: their messages are written with care and shown whole."""

_QUIETED: Final = {
    "pynetdicom": logging.WARNING,
    # These quote what strangers say in their requests, up to the half megabyte of one, or say
    # twice that it makes no sense.
    "pynetdicom.fsm": logging.CRITICAL + 1,
    "pynetdicom.utils": logging.CRITICAL + 1,
    "pynetdicom.pdu_primitives": logging.CRITICAL + 1,
    "pynetdicom.presentation": logging.CRITICAL + 1,
    "pynetdicom.dimse_messages": logging.CRITICAL + 1,
    "pydicom": logging.CRITICAL + 1,  # its warnings quote the values that they are about
    "highdicom": logging.WARNING,
    "dbos": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "watchdog": logging.WARNING,
    "uvicorn": logging.WARNING,
    "python_multipart": logging.CRITICAL + 1,  # quotes what it cannot read
    "PIL": logging.WARNING,
}

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+-]+")
_WARNING: Final = re.compile(r"^(.*?:\d+: \w+): ", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class KeyValueFormatter(logging.Formatter):
    """One line: ts, level, logger, msg, then what was passed as `extra`, in its order."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; line breaks and control characters never get through."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record))


class Discreet(logging.Filter):
    """Strips records of libraries of what may be a value of a data set."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the record down in place; every record passes."""
        if record.name == "py.warnings":
            found = _WARNING.match(record.getMessage())
            record.msg, record.args = (found.group(1) if found else "a warning"), None
        elif not _is_own(record.name):
            if isinstance(record.msg, BaseException):
                record.msg, record.args = type(record.msg).__name__, None
            if isinstance(record.args, tuple):
                record.args = tuple(map(_name_if_exception, record.args))
        return True


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs and Python warnings of this process to a stream (standard error).

    level: of our own loggers and the root. Libraries that could show patient data stay at
    WARNING or are silent, whatever the level is. A second call replaces the first.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    handler.addFilter(Discreet())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, lowest in _QUIETED.items():
        logging.getLogger(name).setLevel(max(lowest, logging.getLevelName(level)))
    # DBOS adds a handler of its own to a logger that has none.
    dbos = logging.getLogger("dbos")
    dbos.handlers[:] = [handler]
    dbos.propagate = False
    logging.captureWarnings(capture=True)


def site_hash(key: bytes, uid: str) -> str:
    """Return 12 hexadecimal digits that stand for a UID in logs.

    key: the site's secret, without which the digits cannot be led back to the UID.
    """
    return hmac.new(key, uid.encode(), hashlib.sha256).hexdigest()[:12]


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    moment = datetime.fromtimestamp(record.created, UTC)
    yield "ts", moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    yield "level", record.levelname.lower()
    yield "logger", record.name
    yield "msg", record.getMessage()
    for key, value in vars(record).items():
        if key not in _STANDARD and not key.startswith("_"):
            yield key, value
    if record.exc_info and record.exc_info[0] is not None:
        yield "error", record.exc_info[0].__name__
        yield "at", _place(record)


def _place(record: logging.LogRecord) -> str:
    """Say where the exception was raised; its text may hold a value, its place cannot."""
    trace = record.exc_info[2] if record.exc_info else None
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return "<".join(reversed(places[-6:]))


def _quoted(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(_CONTROL.sub(" ", text), ensure_ascii=False)


def _is_own(name: str) -> bool:
    return name == OWN_ROOT or name.startswith(OWN_ROOT + ".")


def _name_if_exception(value: object) -> object:
    return type(value).__name__ if isinstance(value, BaseException) else value
