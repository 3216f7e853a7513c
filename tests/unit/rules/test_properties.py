"""What holds for every study, however odd its headers are."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from node.domain.study import Reason, RoleDecision, SeriesFacts
from node.rules.roles import applies, decide
from tests.unit.rules.builders import a_series, the_default_rule

WORDS = st.sampled_from(
    ["t1", "T2", "FLAIR", "+C", "KM", "post", "pre", "mprage", "tra", "perf", "loc", "3D", "spine"]
)
TEXTS = st.text(max_size=40) | st.lists(WORDS, max_size=4).map(" ".join)
NUMBERS = st.none() | st.floats() | st.sampled_from([2.5, 12.0, 90.0, 550.0, 2500.0, 9000.0])
KEYWORDS = st.sampled_from(["SE", "GR", "IR", "EP", "ORIGINAL", "PRIMARY", "MPR", "", "x\\y"])
INTEGERS = st.none() | st.integers(-5, 100_000)
TIMES = st.sampled_from(["", "101500", "102000.5", "095959", "x"]) | st.text(max_size=8)

ODD_ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "modality": st.sampled_from(["MR", "MR", "MR", "CT", ""]),
        "series_number": INTEGERS,
        "series_description": TEXTS,
        "protocol_name": TEXTS,
        "body_part_examined": TEXTS,
        "acquisition_date": st.sampled_from(["", "20240229", "2024", "99999999"]),
        "acquisition_time": TIMES,
        "image_type": st.lists(KEYWORDS, max_size=6).map(tuple),
        "acquisition_contrast": TEXTS,
        "scanning_sequence": st.lists(KEYWORDS, max_size=3).map(tuple),
        "sequence_variant": st.lists(KEYWORDS, max_size=3).map(tuple),
        "mr_acquisition_type": st.sampled_from(["2D", "3D", "", "?"]),
        "sequence_name": TEXTS,
        "pulse_sequence_name": TEXTS,
        "repetition_time_ms": NUMBERS,
        "echo_time_ms": NUMBERS,
        "inversion_time_ms": NUMBERS,
        "flip_angle_deg": NUMBERS,
        "echo_train_length": INTEGERS,
        "diffusion_b_value": NUMBERS,
        "number_of_temporal_positions": INTEGERS,
        "contrast_bolus_agent": TEXTS,
        "study_description": TEXTS,
    },
)
SERIES = st.tuples(
    ODD_ATTRIBUTES,
    st.integers(0, 300),
    st.none() | st.floats(0.1, 10),
    st.none() | st.just(Reason(code="slice-gap", text="gap")),
)


def studies() -> st.SearchStrategy[list[SeriesFacts]]:
    return st.lists(SERIES, max_size=5).map(
        lambda drawn: [_series(number, *one) for number, one in enumerate(drawn)]
    )


def _series(
    number: int,
    attributes: dict[str, Any],
    slices: int,
    spacing_mm: float | None,
    problem: Reason | None,
) -> SeriesFacts:
    facts = a_series(number, slices=slices, spacing_mm=spacing_mm, problem=problem)
    return replace(facts, header=replace(facts.header, **attributes))


def essence(decision: RoleDecision) -> list[tuple[str, str | None, str]]:
    return [(c.role, c.chosen, c.reason.code) for c in decision.choices]


RELAXED = settings(max_examples=60, deadline=None)
IRRELEVANT = (
    a_series(99, "localizer", slices=3),
    a_series(99, "ep2d_diff_trace_ADC", contrast_bolus_agent="GADOVIST"),
    a_series(99, "T1 POST", modality="CT", acquisition_time="000001"),
    a_series(99, "t1_tse_sag_knee_KM", acquisition_time="000001"),
    a_series(99, "ASL perfusion", acquisition_time="101000"),
)


@RELAXED
@given(studies())
def test_no_header_makes_a_decision_raise(series: list[SeriesFacts]) -> None:
    rule = the_default_rule()
    decision = decide(rule, series)
    assert [c.role for c in decision.choices] == list(rule.roles)
    assert applies(rule, series).text


@RELAXED
@given(studies(), st.permutations(range(5)))
def test_the_order_of_the_series_never_changes_the_decision(
    series: list[SeriesFacts], order: list[int]
) -> None:
    shuffled = [series[place] for place in order if place < len(series)]
    assert decide(the_default_rule(), shuffled) == decide(the_default_rule(), series)


@RELAXED
@given(studies(), st.sampled_from(IRRELEVANT))
def test_an_irrelevant_series_never_changes_the_decision(
    series: list[SeriesFacts], irrelevant: SeriesFacts
) -> None:
    rule = the_default_rule()
    assert essence(decide(rule, [*series, irrelevant])) == essence(decide(rule, series))


@RELAXED
@given(studies())
def test_no_series_takes_two_roles_and_no_damaged_one_takes_any(
    series: list[SeriesFacts],
) -> None:
    chosen = list(decide(the_default_rule(), series).chosen.values())
    assert len(set(chosen)) == len(chosen)
    damaged = {s.header.series_instance_uid for s in series if s.stack.problem is not None}
    assert damaged.isdisjoint(chosen)
