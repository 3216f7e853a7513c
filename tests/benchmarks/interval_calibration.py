"""What a manifest has to say of its volumes' errors, from cases with a truth.

`python -m tests.benchmarks.interval_calibration FILE`: FILE is a JSON list of objects with
case, region, found_ml, true_ml and opinions_ml (list). Prints the part `uncertainty` of a
manifest, and how many truths lie inside the interval of a fit to the other cases.

The error ln((true + START_ML) / (found + START_ML)) is taken as normal about 0 with standard
deviation hypot(floor, gain * disagreement); floor and gain are the most likely ones on a grid,
then widened as Student's t asks for so few cases. In simulations with 11 cases such intervals
hold 92 % of the truths they have not seen (without the widening 87 %), with 25 cases 94 %.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy.stats import t as student

from node.domain.regions import Region
from node.imaging.intervals import QUANTILE, START_ML, disagreement, interval

FLOORS: Final = np.geomspace(0.05, 2.0, 80)
GAINS: Final = np.concatenate([[0.0], np.geomspace(0.05, 2.0, 80)])
"""So few cases allow no smaller floor: experts differ by 5 % among each other. A larger gain
follows single cases, and gives bounds of a thousand times the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCase:
    """A region of a case as the bundle and as the expert saw it."""

    found_ml: float
    true_ml: float
    opinions_ml: tuple[float, ...]

    @property
    def error(self) -> float:
        """Of the logarithm that node.imaging.intervals uses."""
        return math.log((self.true_ml + START_ML) / (self.found_ml + START_ML))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """As a manifest writes it."""

    floor: float
    gain: float


def fit(cases: Sequence[KnownCase]) -> Fitted:
    """Return floor and gain; needs at least three cases. Without opinions the gain is 0."""
    errors = np.array([case.error for case in cases])
    apart = np.array([disagreement(case.opinions_ml) or 0.0 for case in cases])
    gains = GAINS if apart.any() else GAINS[:1]
    deviations = np.hypot(FLOORS[:, None, None], gains[:, None] * apart)
    unlikely = (np.log(deviations) + errors**2 / (2 * deviations**2)).sum(axis=-1)
    floor, gain = np.unravel_index(int(unlikely.argmin()), unlikely.shape)
    wider = float(student.ppf(0.975, len(cases) - 2)) / QUANTILE
    return Fitted(
        floor=round(float(FLOORS[floor]) * wider, 3), gain=round(float(gains[gain]) * wider, 3)
    )


def covered(cases: Sequence[KnownCase]) -> int:
    """Count the truths inside the interval that a fit to all other cases, three or more, gives."""
    inside = 0
    for index, case in enumerate(cases):
        spread = fit([*cases[:index], *cases[index + 1 :]])
        found = interval(case.found_ml, case.opinions_ml, spread, "")
        inside += found is not None and found.low_ml <= case.true_ml <= found.high_ml
    return inside


def main(path: Path) -> None:
    """Print the fit of each region and its coverage."""
    entries = json.loads(path.read_text())
    for region in Region:
        cases = [
            KnownCase(
                found_ml=entry["found_ml"],
                true_ml=entry["true_ml"],
                opinions_ml=tuple(entry["opinions_ml"]),
            )
            for entry in entries
            if entry["region"] == region
        ]
        found = fit(cases)
        print(
            f'"{region}": {{"floor": {found.floor}, "gain": {found.gain}}}   '
            f"{covered(cases)} of {len(cases)} truths inside when left out of the fit"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
