"""One picture of a result for people without a viewer: three planes through the tumour."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.domain.regions import Region
from node.imaging.artefacts import write_durably
from node.imaging.measure import labels_to_region
from node.imaging.volume import Grid, Volume
from node.results import captions
from node.results.codes import STYLES
from node.results.context import ResultContext
from node.results.drawing import (
    Picture,
    Window,
    legend,
    letters_layer,
    outlines,
    paint,
    rim_letters,
    stencil_of,
    text_size,
    window_of,
    write,
)
from node.results.views import Plane, View, make_view

PANEL_PIXELS: Final = 560
"""Pixels along the longest side of the volume."""

AIR: Final = 24
"""8-bit grey value up to which a pixel counts as air."""

GAP: Final = 8
"""Pixels between the panels."""

Regions = Mapping[Region, NDArray[np.bool_]]


def render_png(labels: Volume, reference: Volume, path: Path, context: ResultContext) -> None:
    """Write axial, coronal and sagittal slices through the tumour, with legend, as PNG.

    Each plane is shown where most of the whole tumour lies (in the middle when there is
    none), all at one scale, uninterpolated across slices. labels: on the grid of reference.
    """
    regions = {style.region: labels_to_region(labels, style.region) for style in STYLES}
    window = window_of(reference.array)
    panels = [_panel(view, reference, regions, window) for view in _views(reference.grid)]
    sheet = _beside(panels)
    strip = legend(
        sheet.shape[1],
        captions.entries(context),
        captions.notes(context),
        size=text_size(PANEL_PIXELS),
    )
    buffer = io.BytesIO()
    Image.fromarray(np.vstack([sheet, strip])).save(buffer, format="PNG")
    write_durably(path, buffer.getvalue())


def _views(grid: Grid) -> Sequence[View]:
    longest = max(n * mm for n, mm in zip(grid.shape, grid.spacing_mm, strict=True))
    pixel_mm = longest / PANEL_PIXELS
    planes = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
    return [make_view(grid, plane, thickness_mm=0.0, pixel_mm=pixel_mm) for plane in planes]


def _panel(view: View, reference: Volume, regions: Regions, window: Window) -> Picture:
    counts = view.counts(regions[Region.WT])
    number = int(counts.argmax()) if counts.any() else view.grid.shape[0] // 2
    grey = window.apply(view.grey(reference.array, number))
    lines = outlines({region: view.mask(inside, number) for region, inside in regions.items()})
    size = text_size(PANEL_PIXELS)
    crop = _around((grey > AIR) | lines[Region.WT], margin=round(2 * size))
    grey, lines = grey[crop], {region: line[crop] for region, line in lines.items()}
    layer = letters_layer(grey.shape, rim_letters(view.grid.directions), 1.3 * size)
    write(layer, (0.4 * size, 0.4 * size), view.plane, size=size)
    return paint(grey, lines, stencil_of(layer))


def _around(content: NDArray[np.bool_], *, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold the content, with a margin."""

    def span(axis: int) -> slice:
        places = np.flatnonzero(content.any(axis=axis))
        if not places.size:
            return slice(None)
        return slice(max(int(places[0]) - margin, 0), int(places[-1]) + margin + 1)

    return span(1), span(0)


def _beside(panels: Sequence[Picture]) -> Picture:
    """Set pictures side by side, in the middle of a common height."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP * (len(panels) - 1)
    sheet = np.zeros((height, width, 3), dtype=np.uint8)
    x = 0
    for panel in panels:
        y = (height - panel.shape[0]) // 2
        sheet[y : y + panel.shape[0], x : x + panel.shape[1]] = panel
        x += panel.shape[1] + GAP
    return sheet
