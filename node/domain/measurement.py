"""What is measured of a segmented tumour, as frozen values, as JSON and in one line each.

Points are LPS millimetres, so that an overlay or a report can draw a diameter where it lies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.domain.regions import Region, RegionVolume

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where the true volume lies in 95 of 100 studies, mL, as far as the method can tell."""

    low_ml: float
    high_ml: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A straight line between two points in the patient."""

    start_mm: Point
    end_mm: Point

    @property
    def length_mm(self) -> float:
        """Distance of its ends."""
        return math.dist(self.start_mm, self.end_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diameters:
    """The longest diameter of a lesion in a slice and the longest one at right angles to it.

    measurable: whether both are long enough for RANO, see node.imaging.diameters.
    """

    longest: Segment
    perpendicular: Segment
    measurable: bool

    @property
    def product_mm2(self) -> float:
        """The bidimensional product of RANO."""
        return self.longest.length_mm * self.perpendicular.length_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One connected part of a region."""

    volume_ml: float
    diameters: Diameters


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionMeasurement:
    """All that is measured of one region.

    interval: None where nothing is known of the error. lesion_count: of all lesions that are
    large enough to count; lesions: the largest of them, in falling order of volume.
    """

    volume: RegionVolume
    interval: Interval | None
    lesion_count: int
    lesions: tuple[Lesion, ...]

    @property
    def sum_of_products_mm2(self) -> float:
        """Sum of the bidimensional products of the measurable ones of lesions."""
        return sum(
            lesion.diameters.product_mm2 for lesion in self.lesions if lesion.diameters.measurable
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Measurements of WT, TC and ET on the native grid of the reference series.

    slice_spacing_mm: distance of the planes in which diameters were looked for; tilt_degrees:
    angle between these planes and the patient's axial plane.
    """

    regions: tuple[RegionMeasurement, ...]
    slice_spacing_mm: float
    tilt_degrees: float

    def of(self, region: Region) -> RegionMeasurement:
        """Return what was measured of a region; raises KeyError when it was not measured."""
        return {found.volume.region: found for found in self.regions}[region]


def describe(measurements: Measurements) -> tuple[str, ...]:
    """Say each region in a line: "ET 12.3 mL (10.1 to 15.0), 31 x 24 mm, 2 lesions"."""
    return tuple(_line(found) for found in measurements.regions)


def _line(found: RegionMeasurement) -> str:
    text = f"{found.volume.region} {_millilitres(found.volume.millilitres)} mL"
    if found.interval is not None:
        low, high = _millilitres(found.interval.low_ml), _millilitres(found.interval.high_ml)
        text += f" ({low} to {high})"
    if found.lesions:
        largest = found.lesions[0].diameters
        text += f", {largest.longest.length_mm:.0f} x {largest.perpendicular.length_mm:.0f} mm"
    if found.lesion_count:
        text += f", {found.lesion_count} {'lesion' if found.lesion_count == 1 else 'lesions'}"
    return text


def _millilitres(volume: float) -> str:
    return f"{volume:.1f}" if volume >= 0.95 else f"{volume:.2f}"


def to_json(measurements: Measurements) -> dict[str, Any]:
    """Return a value for json.dumps; what follows from other entries is written out as well."""
    return {
        "slice_spacing_mm": measurements.slice_spacing_mm,
        "tilt_degrees": measurements.tilt_degrees,
        "regions": {found.volume.region.value: _region(found) for found in measurements.regions},
    }


def _region(found: RegionMeasurement) -> dict[str, Any]:
    interval = found.interval
    return {
        "volume_ml": round(found.volume.millilitres, 4),
        "voxels": found.volume.voxels,
        "voxel_mm3": found.volume.voxel_mm3,
        "interval_95_ml": None if interval is None else [interval.low_ml, interval.high_ml],
        "interval_method": None if interval is None else interval.method,
        "lesion_count": found.lesion_count,
        "lesions": [_lesion(lesion) for lesion in found.lesions],
        "sum_of_products_mm2": round(found.sum_of_products_mm2, 1),
    }


def _lesion(lesion: Lesion) -> dict[str, Any]:
    longest, perpendicular = lesion.diameters.longest, lesion.diameters.perpendicular
    return {
        "volume_ml": lesion.volume_ml,
        "longest_mm": round(longest.length_mm, 2),
        "longest_ends_lps_mm": [list(longest.start_mm), list(longest.end_mm)],
        "perpendicular_mm": round(perpendicular.length_mm, 2),
        "perpendicular_ends_lps_mm": [list(perpendicular.start_mm), list(perpendicular.end_mm)],
        "product_mm2": round(lesion.diameters.product_mm2, 1),
        "measurable": lesion.diameters.measurable,
    }


def from_json(content: Mapping[str, Any]) -> Measurements:
    """Read back what to_json gave."""
    return Measurements(
        slice_spacing_mm=content["slice_spacing_mm"],
        tilt_degrees=content["tilt_degrees"],
        regions=tuple(
            _read_region(Region(name), entry) for name, entry in content["regions"].items()
        ),
    )


def _read_region(region: Region, entry: Mapping[str, Any]) -> RegionMeasurement:
    bounds = entry["interval_95_ml"]
    return RegionMeasurement(
        volume=RegionVolume(region=region, voxels=entry["voxels"], voxel_mm3=entry["voxel_mm3"]),
        interval=None
        if bounds is None
        else Interval(low_ml=bounds[0], high_ml=bounds[1], method=entry["interval_method"]),
        lesion_count=entry["lesion_count"],
        lesions=tuple(_read_lesion(lesion) for lesion in entry["lesions"]),
    )


def _read_lesion(entry: Mapping[str, Any]) -> Lesion:
    return Lesion(
        volume_ml=entry["volume_ml"],
        diameters=Diameters(
            longest=_read_segment(entry["longest_ends_lps_mm"]),
            perpendicular=_read_segment(entry["perpendicular_ends_lps_mm"]),
            measurable=entry["measurable"],
        ),
    )


def _read_segment(ends: Sequence[Sequence[float]]) -> Segment:
    (x, y, z), (u, v, w) = ends
    return Segment(start_mm=(x, y, z), end_mm=(u, v, w))
