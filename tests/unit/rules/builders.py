"""Series and rules for the tests of this room."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from node.domain.header import Header
from node.domain.ids import (
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.domain.study import Reason, SeriesFacts, StackFacts
from node.rules.grammar import Rule, parse_rules

DEFAULT_RULE_FILE: Final = Path(__file__).parents[3] / "routing_rules" / "glioma.yaml"

SMALL_RULE: Final = """\
name: small
bundle: some-model
reference: T1C
require: [T1C]
contrast:
  given: {any_of: ['gd']}
  not_given: {any_of: ['ohne ?gd']}
roles:
  T1C:
    contrast: required
    description: {any_of: ['t1']}
    physics:
      - {why: short echo, echo_time_ms: [1, 40]}
"""

GAP: Final = Reason(code="slice-gap", text="1 slice missing between slice 34 and 35")


@cache
def the_default_rule() -> Rule:
    """Return the rule file that ships."""
    text = DEFAULT_RULE_FILE.read_text(encoding="utf-8")
    return parse_rules(text, name=DEFAULT_RULE_FILE.name)


def a_header(number: int = 1, description: str = "", **attributes: Any) -> Header:
    """Make an MR header without physics; attributes by their name."""
    header = Header(
        study_instance_uid=StudyInstanceUID("1.2.3"),
        series_instance_uid=SeriesInstanceUID(f"1.2.3.{number}"),
        sop_instance_uid=SOPInstanceUID(f"1.2.3.{number}.1"),
        sop_class_uid=SOPClassUID("1.2.840.10008.5.1.4.1.1.4"),
        transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.1"),
        modality="MR",
        series_number=number,
        series_description=description,
        acquisition_date="20240229",
    )
    return replace(header, **attributes)


def a_series(
    number: int = 1,
    description: str = "",
    *,
    slices: int = 30,
    spacing_mm: float | None = 5.0,
    problem: Reason | None = None,
    **attributes: Any,
) -> SeriesFacts:
    """Make a series of 30 slices without physics."""
    stack = StackFacts(
        slices=slices, orientations=1, spacing_mm=spacing_mm, plane="axial", problem=problem
    )
    header = a_header(number, description, **attributes)
    return SeriesFacts(header=header, instances=slices, stack=stack)


SPIN_ECHO_T1: Final[dict[str, Any]] = {
    "scanning_sequence": ("SE",),
    "mr_acquisition_type": "2D",
    "echo_time_ms": 12.0,
    "repetition_time_ms": 550.0,
    "flip_angle_deg": 90.0,
}
MPRAGE: Final[dict[str, Any]] = {
    "scanning_sequence": ("GR", "IR"),
    "mr_acquisition_type": "3D",
    "echo_time_ms": 2.3,
    "repetition_time_ms": 2300.0,
    "inversion_time_ms": 900.0,
    "flip_angle_deg": 8.0,
}
TURBO_T2: Final[dict[str, Any]] = {
    "scanning_sequence": ("SE",),
    "mr_acquisition_type": "2D",
    "echo_time_ms": 100.0,
    "repetition_time_ms": 5000.0,
    "flip_angle_deg": 150.0,
}
DARK_FLUID: Final[dict[str, Any]] = {
    "scanning_sequence": ("SE", "IR"),
    "mr_acquisition_type": "2D",
    "echo_time_ms": 110.0,
    "repetition_time_ms": 9000.0,
    "inversion_time_ms": 2500.0,
    "flip_angle_deg": 150.0,
}


def a_glioma_study() -> tuple[SeriesFacts, ...]:
    """Make four usable series and what lies around them."""
    return (
        a_series(1, "localizer", slices=3),
        a_series(2, "t1_se_tra", acquisition_time="100000", **SPIN_ECHO_T1),
        a_series(3, "t2_tse_tra", acquisition_time="100500", **TURBO_T2),
        a_series(4, "t2_tirm_tra_dark-fluid", acquisition_time="101000", **DARK_FLUID),
        a_series(5, "ep2d_diff_3scan_trace", acquisition_time="101500"),
        a_series(6, "t1_mprage_sag_KM", acquisition_time="102000", spacing_mm=1.0, **MPRAGE),
    )
