"""Intervals of volumes, from how far an engine's opinions lie apart.

The error of a volume grows with the volume, so it is looked at in logarithms. A region may be
empty in one opinion or in the answer, so what is taken is ln(V + START_ML): for a millilitre
and more this is ln V, for the smallest volumes it is linear. The interval of an empty region
then reaches from 0 to a volume that grows with the disagreement.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Final, Protocol

from node.domain.measurement import Interval
from node.domain.regions import Region

START_ML: Final = 0.05
"""Added to every volume before its logarithm is taken; the least lesion that is counted."""

QUANTILE: Final = 1.96
"""Standard deviations on each side that hold 95 % of a normal distribution."""


class Spread(Protocol):
    """Standard deviation of a volume's logarithm: hypot(floor, gain * disagreement)."""

    @property
    def floor(self) -> float:
        """What remains when all opinions agree."""
        ...

    @property
    def gain(self) -> float:
        """How the disagreement of opinions counts."""
        ...


class Uncertainty(Protocol):
    """What a bundle says of the errors of its volumes, measured on cases with a truth."""

    @property
    def method(self) -> str:
        """How it was measured."""
        ...

    @property
    def spreads(self) -> Mapping[Region, Spread]:
        """For each region."""
        ...


def disagreement(opinions_ml: Sequence[float]) -> float | None:
    """Return the sample standard deviation of ln(V + START_ML); None for less than two.

    Calibrate with this very function: `Spread.gain` belongs to it.
    """
    if len(opinions_ml) < 2:
        return None
    return stdev([math.log(opinion + START_ML) for opinion in opinions_ml])


def interval(
    volume_ml: float, opinions_ml: Sequence[float], spread: Spread, method: str
) -> Interval | None:
    """Return the 95 % interval of a volume.

    opinions_ml: the volume as single views or mirrored inputs see it. None when the spread
    asks for their disagreement and there are less than two.
    """
    apart = disagreement(opinions_ml)
    if apart is None and spread.gain > 0.0:
        return None
    deviation = math.hypot(spread.floor, spread.gain * (apart or 0.0))
    factor = math.exp(QUANTILE * deviation)
    started = volume_ml + START_ML
    return Interval(
        low_ml=round(max(0.0, started / factor - START_ML), 4),
        high_ml=round(started * factor - START_ML, 4),
        method=_said(method, deviation, len(opinions_ml)),
    )


def _said(method: str, deviation: float, opinions: int) -> str:
    return (
        f"{method}; (V + {START_ML} mL) times and divided by exp({QUANTILE} x {deviation:.3f}), "
        f"from {opinions} opinions; errors that all opinions share are not covered"
    )
