"""Values of data elements as text: encodings, numbers, character sets (PS3.5 section 6)."""

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydicom.charset import (
    CODES_TO_ENCODINGS,
    default_encoding,
    handled_encodings,
    python_encoding,
)

from node.dicom.elements import RawElement

_NUMBERS: Final[Mapping[str, str]] = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_WITH_CHARACTER_SET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PADDING: Final = " \0\t\r\n"
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Controls that no text may hold (PS3.5 section 6.1.3): a wrong length has taken in more."""

_ESCAPED: Final = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_RESETS: Final = re.compile(rb"[\\\t\r\n\f]")
_MISSPELT: Final = re.compile(r"^ISO[_ -]IR[_ -]?")


def decode(raw: RawElement, vr: str, encodings: Sequence[str]) -> tuple[str, ...]:
    """Return the values of an element as text, stripped; () when empty or unreadable.

    Nothing is read of a damaged data set that may be the patient's: neither a name under
    another tag, nor text that runs into the next element.

    vr: from the dictionary, used where the data set does not say it.
    encodings: Python codecs of the data set's Specific Character Set.
    """
    kind = raw.vr if raw.vr not in ("", "UN") else vr
    if kind in _NUMBERS:
        return _numbers(raw, _NUMBERS[kind])
    if kind == "PN" and vr != "PN":
        return ()
    if kind in _WITH_CHARACTER_SET:
        text = _text(raw.value, encodings)
    else:
        text = raw.value.decode("latin-1")
    text = text.strip(_PADDING)
    if vr != "UI" and _NOT_TEXT.search(text):
        return ()
    if "\\" in text:
        return tuple(part.strip(_PADDING) for part in text.split("\\"))
    return (text,) if text else ()


def encodings_of(specific_character_set: Iterable[str]) -> tuple[str, ...]:
    """Return the Python codecs for Specific Character Set (0008,0005), never none.

    Unknown terms become the default repertoire, so that nothing is lost but accents.
    """
    found = [_encoding(term) for term in specific_character_set]
    return tuple(found) or (default_encoding,)


def _encoding(term: str) -> str:
    tidy = _MISSPELT.sub("ISO_IR ", term.strip())
    return python_encoding.get(tidy, default_encoding)


def _numbers(raw: RawElement, code: str) -> tuple[str, ...]:
    size = struct.calcsize("=" + code)
    count = len(raw.value) // size
    order = "<" if raw.little_endian else ">"
    return tuple(map(str, struct.unpack_from(f"{order}{count}{code}", raw.value)))


def _text(value: bytes, encodings: Sequence[str]) -> str:
    if b"\x1b" not in value:
        return value.decode(encodings[0], "replace")
    parts = _ESCAPED.findall(value)
    return "".join(_escaped_text(part, encodings[0]) for part in parts)


def _escaped_text(part: bytes, first: str) -> str:
    """Decode one stretch that begins with an escape sequence (PS3.5 section 6.1.2.5)."""
    length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(part[:length])
    if encoding is None:
        return part.decode(first, "replace")
    if encoding in handled_encodings:
        return part.decode(encoding, "replace")
    rest = part[length:]
    reset = _RESETS.search(rest)
    end = reset.start() if reset else len(rest)
    return rest[:end].decode(encoding, "replace") + rest[end:].decode(first, "replace")
