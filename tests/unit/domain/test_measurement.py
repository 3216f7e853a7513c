"""Measurements as values, as JSON and as lines."""

import json

import pytest

from node.domain.measurement import (
    Diameters,
    Interval,
    Lesion,
    Measurements,
    RegionMeasurement,
    Segment,
    describe,
    from_json,
    to_json,
)
from node.domain.regions import Region, RegionVolume


def a_lesion(longest: float, across: float, *, measurable: bool = True) -> Lesion:
    return Lesion(
        volume_ml=12.3,
        diameters=Diameters(
            longest=Segment(start_mm=(0.0, 1.0, 7.5), end_mm=(longest, 1.0, 7.5)),
            perpendicular=Segment(start_mm=(3.0, 0.0, 7.5), end_mm=(3.0, across, 7.5)),
            measurable=measurable,
        ),
    )


def a_region(
    region: Region, voxels: int, *lesions: Lesion, interval: Interval | None = None
) -> RegionMeasurement:
    return RegionMeasurement(
        volume=RegionVolume(region=region, voxels=voxels, voxel_mm3=0.5),
        interval=interval,
        lesion_count=len(lesions),
        lesions=lesions,
    )


MEASURED = Measurements(
    regions=(
        a_region(Region.WT, 120_680, a_lesion(62.4, 41.0)),
        a_region(
            Region.TC,
            24_600,
            a_lesion(31.2, 24.4),
            a_lesion(12.0, 11.0),
            a_lesion(9.0, 4.0, measurable=False),
            interval=Interval(low_ml=10.1, high_ml=15.0, method="by views"),
        ),
        a_region(Region.ET, 8, interval=Interval(low_ml=0.0, high_ml=0.021, method="by views")),
    ),
    slice_spacing_mm=5.0,
    tilt_degrees=7.5,
)


def test_each_region_is_said_in_a_line() -> None:
    assert describe(MEASURED) == (
        "WT 60.3 mL, 62 x 41 mm, 1 lesion",
        "TC 12.3 mL (10.1 to 15.0), 31 x 24 mm, 3 lesions",
        "ET 0.00 mL (0.00 to 0.02)",
    )


def test_json_holds_all_that_is_measured() -> None:
    assert from_json(json.loads(json.dumps(to_json(MEASURED)))) == MEASURED


def test_json_names_lengths_products_and_their_places() -> None:
    lesion = to_json(MEASURED)["regions"]["TC"]["lesions"][0]
    assert lesion["longest_mm"] == 31.2
    assert lesion["product_mm2"] == pytest.approx(31.2 * 24.4, abs=0.1)
    assert lesion["longest_ends_lps_mm"] == [[0.0, 1.0, 7.5], [31.2, 1.0, 7.5]]


def test_only_measurable_lesions_count_in_the_sum_of_products() -> None:
    assert MEASURED.of(Region.TC).sum_of_products_mm2 == pytest.approx(31.2 * 24.4 + 12 * 11)
    assert MEASURED.of(Region.ET).sum_of_products_mm2 == 0.0
