"""What a manifest may ask for after the engine: clean-up of labels, and how sure volumes are."""

from collections.abc import Mapping
from dataclasses import dataclass

from node.domain.regions import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocessing:
    """Clean-up of an engine's labels, region by region; 0 leaves as it is.

    fill_holes_mm3: enclosed cavities smaller than this are filled. smallest_mm3: components
    smaller than this are dropped. component_share: components below this share of the largest
    one of their region are dropped.
    """

    fill_holes_mm3: float = 0.0
    smallest_mm3: float = 0.0
    component_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far ln(volume) of a region lies from the truth: a standard deviation.

    It is hypot(floor, gain * s), s: standard deviation of ln(volume) of the engine's opinions.
    """

    floor: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """What makes an interval of a volume. method: for the reader, with what it was measured on."""

    method: str
    spreads: Mapping[Region, Spread]
