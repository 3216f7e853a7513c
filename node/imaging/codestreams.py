"""How large an image a compressed frame says that it is, without decoding it.

Decoders make what the codestream says before anybody compares it with Rows and Columns, and a
few kilobytes can say 60,000 x 60,000.
"""

import struct
from typing import Final

_J2K_START: Final = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a JPEG 2000 codestream begins (ISO/IEC 15444-1 A.5)."""

_JPEG_START: Final = b"\xff\xd8"
_NO_FRAME: Final = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of frames that are none: tables of Huffman and arithmetic coding."""

_JPEG_LS_FRAME: Final = 0xF7
_SCAN: Final = 0xDA
_BOXES: Final = 4096
"""In so many bytes the boxes of a JP2 file end, which some writers leave around the codestream."""


def coded_pixels(fragment: bytes) -> int:
    """Return rows x columns x components of the image in a fragment, 0 when none is recognised.

    Source: ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2, 15444-1 A.5.1.
    """
    if fragment.startswith(_JPEG_START):
        return _jpeg_pixels(fragment)
    start = fragment.find(_J2K_START, 0, _BOXES)
    if start < 0 or len(fragment) < start + 42:
        return 0
    right, bottom, left, top = map(int, struct.unpack_from(">4I", fragment, start + 8))
    (components,) = struct.unpack_from(">H", fragment, start + 40)
    return max(bottom - top, 0) * max(right - left, 0) * max(int(components), 1)


def _jpeg_pixels(fragment: bytes) -> int:
    position = len(_JPEG_START)
    while position + 10 <= len(fragment) and fragment[position] == 0xFF:
        marker = fragment[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == _SCAN:
            break
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS_FRAME:
            rows, columns, components = struct.unpack_from(">HHB", fragment, position + 5)
            return int(rows) * int(columns) * max(int(components), 1)
        position += 2 + int(struct.unpack_from(">H", fragment, position + 2)[0])
    return 0
