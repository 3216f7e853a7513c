"""Grey pictures, outlines, letters and captions as pixels. Nothing here knows DICOM."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from node.domain.regions import Region
from node.imaging.volume import Affine, Array
from node.results.codes import STYLES, Colour

Picture = NDArray[np.uint8]
"""(row, column, 3), sRGB."""

WHITE: Final[Colour] = (240, 240, 240)
DIM: Final[Colour] = (176, 176, 176)

SECOND_LETTER: Final = math.sin(math.radians(22.5))
"""Direction cosine from which a second letter says that an axis is oblique."""

_LETTERS: Final = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters for the positive and negative LPS axes (PS3.3 C.7.6.1.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Grey values that are shown as black and as white."""

    low: float
    high: float

    def apply(self, pictures: Array) -> NDArray[np.uint8]:
        """Return 8-bit grey values."""
        scaled = (pictures - self.low) * (255.0 / (self.high - self.low))
        grey: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
        return grey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stencil:
    """Text to be laid over many pictures: where, how densely, and in which colour."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    colours: NDArray[np.float32]
    alpha: NDArray[np.float32]

    def lay_over(self, picture: Picture) -> None:
        """Write the text into the picture."""
        below = picture[self.rows, self.columns]
        picture[self.rows, self.columns] = below + self.alpha * (self.colours - below)


def window_of(array: Array) -> Window:
    """Return the window that shows a head: from air to just below the brightest vessels."""
    values = array[::2, ::2, ::2].ravel()
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return Window(low=float(values.min(initial=0.0)) - 1.0, high=float(values.max(initial=1)))
    floor = float(np.percentile(values, 1))
    tissue = values[values > floor + 0.05 * (np.percentile(values, 99) - floor)]
    high = float(np.percentile(tissue, 99.0)) if tissue.size else floor
    return Window(low=floor, high=high if high > floor else floor + 1.0)


def direction_letters(direction: Sequence[float] | Affine) -> str:
    """Return where a unit vector (LPS) points, such as "L" or, when oblique, "LA"."""
    cosines = [float(cosine) for cosine in direction]
    main, second, _ = sorted(range(3), key=lambda axis: -abs(cosines[axis]))
    shown = [main, second] if abs(cosines[second]) >= SECOND_LETTER else [main]
    return "".join(_LETTERS[axis][int(cosines[axis] < 0)] for axis in shown)


def rim_letters(directions: Affine) -> tuple[str, str, str, str]:
    """Return the letters for left, right, top and bottom of a picture.

    directions: (3, 3), columns are next picture, downwards, rightwards (LPS).
    """
    down, right = directions[:, 1], directions[:, 2]
    return (
        direction_letters(-right),
        direction_letters(right),
        direction_letters(-down),
        direction_letters(down),
    )


def outlines(masks: Mapping[Region, NDArray[np.bool_]]) -> dict[Region, NDArray[np.bool_]]:
    """Return one line of pixels around each region, such that no line hides another.

    Regions are nested, so the line of ET runs inside its border, that of TC one pixel
    outside, that of WT two: where borders coincide, all three are seen side by side.
    """
    lines: dict[Region, NDArray[np.bool_]] = {}
    for steps, region in ((0, Region.ET), (1, Region.TC), (2, Region.WT)):
        mask = masks[region]
        if not mask.any():
            lines[region] = np.zeros_like(mask)
        elif steps:
            within = mask
            for _ in range(steps - 1):
                within = _grown(within)
            lines[region] = _grown(within) & ~within
        else:
            lines[region] = mask & _grown(~mask)
    return lines


def paint(grey: NDArray[np.uint8], lines: Mapping[Region, Array], stencil: Stencil) -> Picture:
    """Return a grey picture with letters and, above them, outlines."""
    picture: Picture = np.repeat(grey[:, :, None], 3, axis=2)
    stencil.lay_over(picture)
    for style in STYLES:
        picture[lines[style.region]] = style.rgb
    return picture


def stencil_of(layer: Image.Image) -> Stencil:
    """Make a stencil of an RGBA picture."""
    pixels = np.asarray(layer, dtype=np.float32)
    rows, columns = np.nonzero(pixels[:, :, 3])
    return Stencil(
        rows=rows,
        columns=columns,
        colours=pixels[rows, columns, :3],
        alpha=pixels[rows, columns, 3:] / 255.0,
    )


def letters_layer(
    shape: tuple[int, int], letters: tuple[str, str, str, str], size: float
) -> Image.Image:
    """Draw orientation letters at the middle of the four sides. shape: rows, columns."""
    rows, columns = shape
    layer = Image.new("RGBA", (columns, rows), (0, 0, 0, 0))
    left, right, top, bottom = letters
    rim = size * 0.3
    write(layer, (rim, rows / 2), left, size=size, anchor="lm")
    write(layer, (columns - rim, rows / 2), right, size=size, anchor="rm")
    write(layer, (columns / 2, rim), top, size=size, anchor="mt")
    write(layer, (columns / 2, rows - rim), bottom, size=size, anchor="mb")
    return layer


def text_size(columns: int) -> float:
    """Height of text that can be read when the picture fills a screen."""
    return max(10.0, columns / 32)


def write(
    image: Image.Image,
    at: tuple[float, float],
    text: str,
    *,
    size: float,
    anchor: str = "la",
    colour: Colour = WHITE,
) -> None:
    """Write text with a dark rim. at: x, y in pixels of the anchor (as Pillow names them)."""
    ImageDraw.Draw(image).text(
        at,
        text,
        font=ImageFont.load_default(size),
        anchor=anchor,
        fill=colour,
        stroke_width=max(1, round(size / 12)),
        stroke_fill=(0, 0, 0),
    )


def text_width(text: str, size: float) -> float:
    """Width of a line of text in pixels."""
    return float(ImageFont.load_default(size).getlength(text))


def legend(
    columns: int,
    entries: Sequence[tuple[Colour, str]],
    notes: Sequence[str],
    *,
    size: float | None = None,
) -> Picture:
    """Draw a strip with coloured entries in one line, or in several, and notes beneath.

    The strip stands below the picture, so that it hides nothing.
    """
    size = size or text_size(columns)
    rows = _wrapped([1.6 * size + text_width(text, size) for _, text in entries], columns, size)
    small = size * 0.8
    lines = [part for note in notes for part in _folded(note, columns - size, small)]
    height = math.ceil(1.5 * size * len(rows) + 1.35 * small * len(lines) + 0.6 * size)
    strip = Image.new("RGB", (columns, height), (0, 0, 0))
    y = 0.3 * size
    for row in rows:
        for x, number in row:
            colour, text = entries[number]
            box = (x, y + 0.35 * size, x + 0.8 * size, y + 1.15 * size)
            ImageDraw.Draw(strip).rectangle(box, fill=colour)
            write(strip, (x + 1.2 * size, y + 0.75 * size), text, size=size, anchor="lm")
        y += 1.5 * size
    for line in lines:
        write(strip, (0.5 * size, y + 0.65 * small), line, size=small, anchor="lm", colour=DIM)
        y += 1.35 * small
    return np.asarray(strip)


def _wrapped(widths: Sequence[float], columns: int, size: float) -> list[list[tuple[float, int]]]:
    """Lay boxes of these widths into rows; x and number of each."""
    rows: list[list[tuple[float, int]]] = [[]]
    x = 0.5 * size
    for number, width in enumerate(widths):
        if rows[-1] and x + width > columns:
            rows.append([])
            x = 0.5 * size
        rows[-1].append((x, number))
        x += width + 0.8 * size
    return rows


def _folded(text: str, width: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask and its four neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
