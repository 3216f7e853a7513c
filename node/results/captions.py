"""The words on pictures: region volumes, how the picture was made, and what it is not for."""

from collections.abc import Sequence

from node.results.codes import STYLES, Colour
from node.results.context import ResultContext
from node.results.views import Plane, View

NOTHING_FOUND = "No tumour region was found"


def entries(context: ResultContext) -> Sequence[tuple[Colour, str]]:
    """Return colour and text of each region, from the outer to the inner one."""
    texts = []
    for style in STYLES:
        volume = context.volume_of(style.region)
        if volume is not None:
            texts.append((style.rgb, f"{style.label}: {millilitres(volume.millilitres)}"))
    return texts


def notes(context: ResultContext, *, making: str = "") -> Sequence[str]:
    """Return the lines below the entries. making: how the pictures came about."""
    found = any(volume.voxels for volume in context.volumes)
    made_by = f"{context.bundle_name} {context.bundle_version} ({context.software})"
    lines = [context.research_text, f"{made_by}. {making}".strip()]
    return lines if found else [NOTHING_FOUND, *lines]


def making_of(view: View) -> str:
    """Say how the pictures of a view relate to the source images."""
    if view.plane is Plane.ACQUIRED:
        return "Slices as acquired."
    return f"Reformatted: {view.plane} mean of {view.thickness_mm:.1f} mm."


def millilitres(volume: float) -> str:
    """Return a volume as it is read in a report: one decimal, and never a false zero."""
    if 0 < volume < 0.1:
        return "< 0.1 mL"
    return f"{volume:.1f} mL"
