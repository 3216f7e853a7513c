"""The data elements of an encoded data set, up to the pixel data (PS3.5 section 7).

A walk over bytes that takes what is wanted and steps over the rest. It never warns, never
logs and never shows a value, trusts no length, and stops where a hostile data set would
make it go deep or long. pydicom is the reference that the tests hold it against.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import Final, NamedTuple

from node.domain.errors import NotDicom

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = frozenset(
    # The two JPIP ones deflate the whole data set as well (PS3.5 sections A.5, A.7, A.13).
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 2_000_000
MAX_VALUE: Final = 4096
"""Longer values of wanted elements are taken as absent: none of them is that long."""

MAX_INFLATED: Final = 64 * 2**20
"""What a deflated data set may hold before its pixel data; the rest is never inflated."""

_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SHORT_VR: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_LONG_VR: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_HEAD: Final = struct.Struct("<HH2sH").unpack_from
_UNDEFINED: Final = 0xFFFFFFFF
_PIECE: Final = 2**20
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tags whose values are taken, and sequences whose items are looked into."""

    tags: frozenset[int]
    sequences: Mapping[int, "Wanted"] = field(default_factory=dict)


NOTHING: Final = Wanted(frozenset())

Encoded = bytes | mmap
"""An encoded data set, in memory or mapped from a file that is too long for it."""


class RawElement(NamedTuple):
    """An encoded value; vr is "" where the data set does not say it."""

    vr: str
    value: bytes
    little_endian: bool


@dataclass(slots=True)
class RawItem:
    """What was taken from a data set or from one item of a sequence, by tag."""

    elements: dict[int, RawElement] = field(default_factory=dict)
    sequences: dict[int, list["RawItem"]] = field(default_factory=dict)


class _Head(NamedTuple):
    tag: int
    vr: bytes
    length: int
    start: int  # of the value


class _CutShort(Exception):
    """The bytes end before the data set does."""


def read_elements(
    data_set: Encoded, transfer_syntax_uid: str, wanted: Wanted, *, start: int = 0
) -> RawItem:
    """Return the wanted elements that stand before the pixel data.

    data_set: encoded as the transfer syntax says; it begins at byte `start`, behind a file
    meta group where there is one.
    Raises NotDicom when the bytes are no data set, are cut short, or pass a limit.
    """
    if len(data_set) <= start:
        raise NotDicom("the data set is empty")
    try:
        if transfer_syntax_uid in DEFLATED:
            return _read_deflated(data_set, wanted, start)
        return _plain_walk(data_set, transfer_syntax_uid, start).whole(wanted, start)
    except _CutShort as error:
        raise NotDicom(str(error)) from error


def read_beginning(
    beginning: bytes, transfer_syntax_uid: str, wanted: Wanted, *, start: int, end: int
) -> RawItem | None:
    """Return what read_elements would, from the first bytes of a data set that ends at `end`.

    None where they do not reach to the pixel data, or where anything is wrong: then the whole
    has to be read to know.
    """
    if transfer_syntax_uid in DEFLATED:
        return None
    walk = _plain_walk(beginning, transfer_syntax_uid, start)
    try:
        found = walk.whole(wanted, start, end)
    except (NotDicom, _CutShort, IndexError, struct.error):
        return None
    return found if walk.saw_pixel_data else None


def _plain_walk(data_set: Encoded, transfer_syntax_uid: str, start: int) -> "_Walk":
    little_endian = transfer_syntax_uid != EXPLICIT_BIG
    vr = data_set[start + 4 : start + 6]
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE and vr not in _SHORT_VR
    return _Walk(data_set, implicit=implicit, little_endian=little_endian)


def _read_deflated(data_set: Encoded, wanted: Wanted, start: int) -> RawItem:
    """Inflate only as much as the header needs, so that a bomb stays small."""
    for limit in (2**20, MAX_INFLATED):
        head, ended = _inflated(data_set, start, limit)
        if not ended and len(head) < limit:
            raise _CutShort("the deflated data set is cut short")
        try:
            return _Walk(head, implicit=False, little_endian=True, cut=not ended).whole(wanted)
        except _CutShort:
            if len(head) < limit:
                raise
    raise NotDicom(f"the header of the deflated data set is over {MAX_INFLATED // 2**20} MiB")


def _inflated(data_set: Encoded, start: int, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` inflated bytes, and whether these are all.

    The bytes are fed in pieces: what the inflater is given and does not use, it copies.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head = bytearray()
    try:
        for position in range(start, len(data_set), _PIECE):
            piece = data_set[position : position + _PIECE]
            head += inflater.decompress(piece, limit - len(head))
            if inflater.eof or len(head) >= limit:
                break
    except zlib.error as error:
        raise NotDicom("the deflated data set cannot be inflated") from error
    return bytes(head), inflater.eof


class _Walk:
    """One pass over the bytes. cut: the bytes are known to be a beginning only."""

    def __init__(
        self, data: Encoded, *, implicit: bool, little_endian: bool, cut: bool = False
    ) -> None:
        order = "<" if little_endian else ">"
        self._data = data
        self._implicit = implicit
        self._little_endian = little_endian
        self._cut = cut
        self._two = struct.Struct(order + "HH").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._is_usual = little_endian and not implicit
        self.left = MAX_ELEMENTS
        self.saw_pixel_data = False

    def whole(self, wanted: Wanted, start: int = 0, end: int | None = None) -> RawItem:
        """Walk over the top level, up to the pixel data; end: of the data set."""
        found = RawItem()
        data, position = self._data, start
        end = len(data) if end is None else end
        while position < end:
            if self._is_usual:
                position = self._step_over_short_ones(position, end, wanted, found)
                if position == end:
                    break
            if position > start and data[position] == 0 and self._is_padding(position):
                break  # a data set padded with zeros
            head = self.head(position, end)
            if head.tag in _PIXEL_DATA:
                self._check_pixel_data(head, end)
                self.saw_pixel_data = True
                break
            if head.tag < 0x00080000 or head.tag >= _ITEM:
                raise NotDicom("the bytes do not begin like a data set")
            position = self.element(head, end, wanted, found, depth=0)
        return found

    def _step_over_short_ones(self, position: int, end: int, wanted: Wanted, found: RawItem) -> int:
        """Take or step over short elements; return where the first other one begins.

        It does what `head` and `element` do, without a call for each: most of a header is such
        elements, and the time to read one goes by their number.
        """
        data, tags, sequences, left = self._data, wanted.tags, wanted.sequences, self.left
        while position + 8 <= end:
            group, number, vr, length = _SHORT_HEAD(data, position)
            tag = group << 16 | number
            stop = position + 8 + length
            if vr not in _SHORT_VR or not 0x00080000 <= tag < _ITEM or stop > end:
                break
            if tag in sequences or left == 0:
                break
            if tag in tags and length <= MAX_VALUE:
                value = data[position + 8 : stop]
                found.elements[tag] = RawElement(vr.decode("ascii"), value, little_endian=True)
            left -= 1
            position = stop
        self.left = left
        return position

    def _is_padding(self, position: int) -> bool:
        end = len(self._data)
        return not any(self._data[position : position + 8]) and not any(
            self._data[at : at + _PIECE].strip(b"\0") for at in range(position, end, _PIECE)
        )

    def _check_pixel_data(self, head: _Head, end: int) -> None:
        if not self._cut and head.length != _UNDEFINED and head.start + head.length > end:
            raise _CutShort("the data set ends in the middle of its pixel data")

    def head(self, position: int, end: int) -> _Head:
        """Read tag, representation and length of the element at a position."""
        if position + 8 > end:
            raise _CutShort("the data set ends in the middle of an element")
        self.left -= 1
        if self.left < 0:
            raise NotDicom(f"the data set has over {MAX_ELEMENTS} elements before its pixel data")
        group, number = self._two(self._data, position)
        tag = group << 16 | number
        vr = b"" if self._implicit or group == 0xFFFE else self._data[position + 4 : position + 6]
        if vr in _SHORT_VR:
            return _Head(tag, vr, self._short(self._data, position + 6)[0], position + 8)
        if vr in _LONG_VR:
            if position + 12 > end:
                raise _CutShort("the data set ends in the middle of an element")
            return _Head(tag, vr, self._long(self._data, position + 8)[0], position + 12)
        # Some writers put implicit elements into explicit data sets; no VR means that.
        return _Head(tag, b"", self._long(self._data, position + 4)[0], position + 8)

    def element(self, head: _Head, end: int, wanted: Wanted, found: RawItem, depth: int) -> int:
        """Take or step over one element; return where the next one begins."""
        inside = wanted.sequences.get(head.tag)
        if inside is not None or head.length == _UNDEFINED:
            if inside is not None and head.vr not in (b"SQ", b"UN", b""):
                inside = None
            return self.sequence(head, end, inside, found, depth)
        stop = head.start + head.length
        if stop > end:
            raise _CutShort("an element is longer than the data set")
        if head.tag in wanted.tags and head.length <= MAX_VALUE:
            found.elements[head.tag] = RawElement(
                head.vr.decode("ascii"), self._data[head.start : stop], self._little_endian
            )
        return stop

    def sequence(
        self, head: _Head, end: int, inside: Wanted | None, found: RawItem, depth: int
    ) -> int:
        """Walk over the items of a sequence, or over the fragments of encapsulated bytes."""
        if depth >= MAX_DEPTH:
            raise NotDicom(f"sequences are nested over {MAX_DEPTH} deep")
        walk = self._within(head)
        defined = head.length != _UNDEFINED
        position, stop = head.start, head.start + head.length if defined else end
        if stop > end:
            raise _CutShort("a sequence is longer than the data set")
        if defined and inside is None:
            return stop
        items: list[RawItem] = []
        while position < stop:
            item = walk.head(position, stop)
            if item.tag == _SEQUENCE_END and not defined:
                position = item.start
                break
            if item.tag != _ITEM:
                raise NotDicom("a sequence holds something else than items")
            taken = RawItem()
            position = walk.item(item, stop, inside, taken, depth + 1)
            items.append(taken)
        else:
            if not defined:
                raise _CutShort("the data set ends in the middle of a sequence")
        if inside is not None:
            found.sequences[head.tag] = items
        self.left = walk.left
        return position

    def item(self, head: _Head, end: int, inside: Wanted | None, found: RawItem, depth: int) -> int:
        """Walk over one item; return where the next one begins."""
        defined = head.length != _UNDEFINED
        position, stop = head.start, head.start + head.length if defined else end
        if stop > end:
            raise _CutShort("an item is longer than its sequence")
        if defined and inside is None:
            return stop
        while position < stop:
            element = self.head(position, stop)
            if element.tag == _ITEM_END and not defined:
                return element.start
            if element.tag >= _ITEM:
                raise NotDicom("an item holds something else than elements")
            position = self.element(element, stop, inside or NOTHING, found, depth)
        if not defined:
            raise _CutShort("the data set ends in the middle of an item")
        return position

    def _within(self, head: _Head) -> "_Walk":
        """Return the walk for the inside: UN of undefined length is implicit little endian."""
        if head.vr != b"UN" or self._implicit:
            return self
        walk = _Walk(self._data, implicit=True, little_endian=True, cut=self._cut)
        walk.left = self.left
        return walk
