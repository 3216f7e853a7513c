"""Logs: one line a record, and no value of a data set whatever a library does."""

import io
import logging
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.telemetry.logs import KeyValueFormatter, configure_logging, site_hash

NAME = "Zzyzx^Marked"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Configure logging into a buffer, and put everything back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    shown = warnings.showwarning
    names = [
        "pynetdicom",
        "pydicom",
        "highdicom",
        "dbos",
        "sqlalchemy",
        "watchdog",
        "uvicorn",
        "PIL",
    ]
    levels = {name: logging.getLogger(name).level for name in names}
    stream = io.StringIO()
    configure_logging("DEBUG", stream)
    try:
        yield stream
    finally:
        logging.captureWarnings(capture=False)
        warnings.showwarning = shown
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, old in levels.items():
            logging.getLogger(name).setLevel(old)
        dbos = logging.getLogger("dbos")
        dbos.handlers.clear()
        dbos.propagate = True


def test_a_record_is_one_line_of_keys_and_values(log: io.StringIO) -> None:
    logging.getLogger("node.listener").info("association ended", extra={"stored": 3, "ae": "A B"})
    line = log.getvalue()
    assert line.count("\n") == 1
    assert line.startswith("ts=2")
    assert line.endswith(
        'level=info logger=node.listener msg="association ended" stored=3 ae="A B"\n'
    )


@given(st.text(), st.text())
def test_no_text_can_forge_a_line_or_a_key(message: str, value: str) -> None:
    record = logging.makeLogRecord({"name": "node.x", "msg": message, "ae": value})
    line = KeyValueFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert line.count("level=") - message.count("level=") - value.count("level=") == 1


def test_exceptions_show_their_kind_and_place_only(log: io.StringIO) -> None:
    try:
        int(NAME)
    except ValueError as error:
        logging.getLogger("node.store").exception("admission crashed")
        logging.getLogger("pynetdicom.dul").exception(error)  # noqa: TRY401 -- as they do it
        logging.getLogger("pynetdicom").error("failed: %s", error)  # noqa: TRY400
    text = log.getvalue()
    assert NAME not in text
    assert text.count("\n") == 3
    assert text.count("ValueError") == 4
    assert "at=test_logs.py:" in text


def test_warnings_show_their_kind_and_place_only(log: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"Invalid value for VR PN: '{NAME}'", UserWarning, stacklevel=1)
        warnings.warn(f"two\nlines {NAME}", UserWarning, stacklevel=1)
    text = log.getvalue()
    assert NAME not in text
    assert text.count("UserWarning") == 2
    assert "test_logs.py" in text


def test_talkative_libraries_are_quiet_at_every_level(log: io.StringIO) -> None:
    for name in ("pynetdicom.events", "pynetdicom", "sqlalchemy.engine", "dbos", "watchdog"):
        logging.getLogger(name).debug(NAME)
        logging.getLogger(name).info(NAME)
    for level in (logging.DEBUG, logging.WARNING, logging.CRITICAL):
        logging.getLogger("pydicom").log(level, NAME)
    assert log.getvalue() == ""


PARTS_THAT_QUOTE = ["utils", "pdu_primitives", "presentation", "dimse_messages", "fsm"]


@pytest.mark.parametrize("part", PARTS_THAT_QUOTE)
def test_what_a_peer_says_in_a_request_is_not_quoted(log: io.StringIO, part: str) -> None:
    logging.getLogger(f"pynetdicom.{part}").error("Invalid 'Calling AE Title' value '%s'", NAME)
    assert log.getvalue() == ""


def test_warnings_of_pynetdicom_are_kept(log: io.StringIO) -> None:
    logging.getLogger("pynetdicom.acse").warning("Association Rejected")
    assert "Association Rejected" in log.getvalue()


def test_configuring_twice_does_not_print_twice(log: io.StringIO) -> None:
    configure_logging("INFO", log)
    logging.getLogger("node").info("once")
    logging.getLogger("dbos").warning("twice")
    assert log.getvalue().count("\n") == 2


def test_a_hashed_uid_depends_on_the_key_and_cannot_be_read_back() -> None:
    uid = "1.2.826.0.1.3680043.10.9.3.1"
    assert site_hash(b"key", uid) == site_hash(b"key", uid)
    assert site_hash(b"key", uid) != site_hash(b"other", uid)
    assert len(site_hash(b"key", uid)) == 12
    assert uid not in site_hash(b"key", uid)
