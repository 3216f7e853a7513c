"""Conditions: yes, no, or the header does not say."""

from collections.abc import Mapping
from typing import Any

import pytest

from node.domain.study import SeriesFacts
from node.rules.conditions import Verdict, judge, look_at
from node.rules.grammar import Condition
from tests.unit.rules.builders import a_series

HOLDS, OPEN, FAILS = Verdict.HOLDS, Verdict.OPEN, Verdict.FAILS


def verdict(condition: Mapping[str, Any], series: SeriesFacts) -> Verdict:
    return judge(Condition.model_validate(condition), look_at(series))


@pytest.mark.parametrize(
    ("condition", "attributes", "expected"),
    [
        ({"echo_time_ms": [5, 10]}, {"echo_time_ms": 5.0}, HOLDS),
        ({"echo_time_ms": [5, 10]}, {"echo_time_ms": 10.1}, FAILS),
        ({"echo_time_ms": [5, 10]}, {}, OPEN),
        ({"echo_time_ms": [0, 10]}, {"echo_time_ms": 0.0}, OPEN),  # 0 means "not stated"
        ({"flip_angle_deg": [0, 10]}, {"flip_angle_deg": 0.0}, HOLDS),
        (
            {"scanning_sequence": {"any_of": [r"\\SE\\"]}},
            {"scanning_sequence": ("SE", "IR")},
            HOLDS,
        ),
        ({"scanning_sequence": {"any_of": [r"\\SE\\"]}}, {"scanning_sequence": ("SEX",)}, FAILS),
        ({"scanning_sequence": {"any_of": [r"\\SE\\"]}}, {}, OPEN),
        ({"scanning_sequence": {"none_of": [r"\\SE\\"]}}, {}, HOLDS),
        ({"image_type": {"any_of": ["diffusion"]}}, {"acquisition_contrast": "DIFFUSION"}, HOLDS),
        ({"acquisition": "3D"}, {"mr_acquisition_type": "3D"}, HOLDS),
        ({"acquisition": "3D"}, {"mr_acquisition_type": "2D"}, FAILS),
        ({"acquisition": "3D"}, {}, OPEN),
        ({"inverted": True}, {"inversion_time_ms": 900.0}, HOLDS),
        ({"inverted": True}, {"scanning_sequence": ("SE", "IR")}, HOLDS),
        ({"inverted": True}, {"scanning_sequence": ("SE",)}, FAILS),
        ({"inverted": True}, {"scanning_sequence": ("GR",)}, OPEN),
        ({"inverted": True}, {}, OPEN),
        ({"inverted": False}, {"inversion_time_ms": 900.0}, FAILS),
        ({"inverted": False}, {"scanning_sequence": ("SE",)}, HOLDS),
        ({"inverted": False}, {"scanning_sequence": ("SE",), "inversion_time_ms": 0.0}, HOLDS),
        ({"inverted": False}, {}, OPEN),
        ({"temporal_positions": [2, 99]}, {"number_of_temporal_positions": 50}, HOLDS),
        ({"body_part": {"any_of": ["knee"]}}, {"body_part_examined": "KNEE"}, HOLDS),
        ({"sequence_name": {"any_of": ["tfl"]}}, {"pulse_sequence_name": "*tfl3d1_16ns"}, HOLDS),
    ],
)
def test_a_condition_holds_fails_or_stays_open(
    condition: Mapping[str, Any], attributes: Mapping[str, Any], expected: Verdict
) -> None:
    assert verdict(condition, a_series(**attributes)) is expected


def test_everything_must_hold_and_one_failure_outweighs_what_is_open() -> None:
    condition = {"echo_time_ms": [5, 10], "repetition_time_ms": [400, 600]}
    assert verdict(condition, a_series(echo_time_ms=7.0)) is OPEN
    assert verdict(condition, a_series(echo_time_ms=70.0)) is FAILS
    assert verdict(condition, a_series(echo_time_ms=7.0, repetition_time_ms=500.0)) is HOLDS


def test_coverage_is_the_spacing_times_the_slices() -> None:
    assert verdict({"coverage_mm": [149, 151]}, a_series(slices=30, spacing_mm=5.0)) is HOLDS
    assert verdict({"coverage_mm": [149, 151]}, a_series(spacing_mm=None)) is OPEN


def test_the_protocol_name_speaks_only_where_the_description_is_empty() -> None:
    asked = {"description": {"any_of": ["t1 se"]}}
    assert verdict(asked, a_series(description="", protocol_name="t1_se_tra")) is HOLDS
    assert verdict(asked, a_series(description="AX", protocol_name="t1_se_tra")) is FAILS
    assert verdict(asked, a_series()) is OPEN
