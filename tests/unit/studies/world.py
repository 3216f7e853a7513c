"""A small rule and the series that it is about, for tests of the judgement."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from node.domain.header import Plane
from node.domain.ids import RevisionNumber, SeriesInstanceUID
from node.domain.study import Evidence, Reason, SeriesFacts, StackFacts
from node.rules.grammar import Rule, parse_rules
from tests.support.ledger_values import STUDY, a_header, a_plane

QUIET_S: Final = 60.0
GIVE_UP_S: Final = 600.0

_TEXT: Final = """
name: {name}
bundle: intensity-glioma
reference: T1C
require: [T1, T1C, T2, FLAIR]
destinations: [pacs]
completion: {{quiet_s: {quiet_s}, give_up_s: {give_up_s}}}
applies_to:
  any_of_roles: [T1C, FLAIR]
contrast:
  given: {{any_of: ['\\+c']}}
  not_given: {{any_of: ['native']}}
roles:
  T1:
    description: {{any_of: ['t1']}}
    contrast: forbidden
    physics: [{{why: T1-weighted, repetition_time_ms: [300, 2500]}}]
  T1C:
    description: {{any_of: ['t1']}}
    contrast: required
    physics: [{{why: T1-weighted, repetition_time_ms: [300, 2500]}}]
  T2:
    description: {{any_of: ['t2']}}
    physics: [{{why: T2-weighted, repetition_time_ms: [2501, 7000]}}]
  FLAIR:
    description: {{any_of: ['flair']}}
    physics: [{{why: inversion, repetition_time_ms: [7001, 20000]}}]
"""


def a_rule(name: str = "glioma", *, quiet_s: float = QUIET_S, give_up_s: float = GIVE_UP_S) -> Rule:
    text = _TEXT.format(name=name, quiet_s=float(quiet_s), give_up_s=float(give_up_s))
    return parse_rules(text, name=f"{name}.yaml")


KINDS: Final = {
    "T1": ("t1_se native", 500.0),
    "T1C": ("t1_mprage +c", 1900.0),
    "T2": ("t2_tse", 4000.0),
    "FLAIR": ("flair_fs", 9000.0),
}

GAP: Final = Reason(
    code="slice-gap",
    text="1 slice missing between slice 34 and 35: step of 5.0 mm against 2.5 mm",
)


def a_series(
    kind: str, number: int, *, problem: Reason | None = None, instances: int = 20
) -> SeriesFacts:
    """Build the facts of a series of one role, or of one that takes none ("DWI")."""
    description, repetition = KINDS.get(kind, (f"{kind} ep2d", 100.0))
    header = a_header(
        1,
        series=SeriesInstanceUID(f"{STUDY}.{number}"),
        series_number=number,
        series_description=description,
        repetition_time_ms=repetition,
    )
    return SeriesFacts(
        header=replace(header, planes=()),
        instances=instances,
        stack=StackFacts(
            slices=instances,
            orientations=1,
            spacing_mm=1.0,
            plane="axial",
            problem=problem,
        ),
    )


def all_four() -> tuple[SeriesFacts, ...]:
    return tuple(a_series(kind, number) for number, kind in enumerate(KINDS, start=1))


def without(kind: str) -> tuple[SeriesFacts, ...]:
    description = KINDS[kind][0]
    return tuple(s for s in all_four() if s.header.series_description != description)


def some_evidence(series: Sequence[SeriesFacts], *, quiet_s: float) -> Evidence:
    return Evidence(
        study_instance_uid=STUDY,
        revision=RevisionNumber(1),
        quiet_s=quiet_s,
        age_s=quiet_s + 100.0,
        series=tuple(series),
    )


def some_planes(count: int, *, missing: int | None = None) -> list[Plane]:
    return [a_plane(float(n)) for n in range(count) if n != missing]
