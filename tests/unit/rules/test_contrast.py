"""Contrast agent: the words, the attribute, and the order in time."""

from datetime import timedelta

import pytest

from node.domain.regions import Role
from node.domain.study import RoleDecision, SeriesFacts
from node.rules.conditions import look_at
from node.rules.contrast import Contrast, acquired_at, contrast_of
from node.rules.roles import decide
from tests.unit.rules.builders import MPRAGE, SPIN_ECHO_T1, a_header, a_series, the_default_rule


def said_of(series: SeriesFacts) -> Contrast:
    return contrast_of(look_at(series), the_default_rule().contrast).verdict


def decided(*series: SeriesFacts) -> RoleDecision:
    return decide(the_default_rule(), series)


@pytest.mark.parametrize("agent", ["GADOVIST", "Dotarem 10 ml", "CONTRAST"])
def test_an_agent_in_the_header_means_after_contrast(agent: str) -> None:
    assert said_of(a_series(description="t1_mprage", contrast_bolus_agent=agent)) is Contrast.GIVEN


@pytest.mark.parametrize("agent", ["", "NONE", "no", "-", "Kein KM", "ohne", "NIL", "N/A"])
def test_an_agent_that_means_none_leaves_it_unsaid(agent: str) -> None:
    series = a_series(description="t1_mprage", contrast_bolus_agent=agent)
    assert said_of(series) is Contrast.UNSAID


def test_a_description_that_says_before_outranks_the_agent_of_the_header() -> None:
    series = a_series(description="T1 nativ", contrast_bolus_agent="GADOVIST")
    assert said_of(series) is Contrast.NOT_GIVEN


def test_a_negated_word_of_contrast_is_not_a_word_of_contrast() -> None:
    assert said_of(a_series(description="T1 ohne KM")) is Contrast.NOT_GIVEN


def test_a_description_that_says_both_takes_neither_role() -> None:
    series = a_series(2, "T1 vor / nach KM", **SPIN_ECHO_T1)
    assert said_of(series) is Contrast.BOTH
    assert decided(series).chosen == {}


def test_an_unmarked_series_after_a_marked_one_is_not_taken_as_t1() -> None:
    before = a_series(2, "t1_se_tra", acquisition_time="100000", **SPIN_ECHO_T1)
    marked = a_series(3, "t1_se_cor_KM", acquisition_time="102000", **SPIN_ECHO_T1)
    after = a_series(4, "t1_mprage_sag", acquisition_time="102500", **MPRAGE)
    assert decided(before, marked, after).chosen == {
        Role.T1: before.header.series_instance_uid,
        Role.T1C: marked.header.series_instance_uid,
    }
    assert decided(marked, after).chosen == {Role.T1C: marked.header.series_instance_uid}


def test_an_unmarked_series_long_after_a_marked_one_is_unsaid_again() -> None:
    marked = a_series(3, "t1_se_cor_KM", acquisition_time="080000", **SPIN_ECHO_T1)
    after = a_series(4, "t1_mprage_sag", acquisition_time="140000", **MPRAGE)
    assert decided(marked, after).chosen[Role.T1] == after.header.series_instance_uid


def test_the_same_series_before_and_after_perfusion_is_t1_and_t1c() -> None:
    before = a_series(2, "sT1W_3D_TFE", acquisition_time="100000", **MPRAGE)
    bolus = a_series(3, "DSC perfusion", acquisition_time="101000", echo_time_ms=30.0)
    after = a_series(4, "sT1W_3D_TFE", acquisition_time="101500", **MPRAGE)
    decision = decided(after, bolus, before)
    assert decision.chosen == {
        Role.T1: before.header.series_instance_uid,
        Role.T1C: after.header.series_instance_uid,
    }
    chosen = next(c for c in decision.choices if c.role is Role.T1C).candidates[0]
    assert any("acquired after perfusion" in reason for reason in chosen.reasons)


def test_perfusion_without_agent_makes_no_series_t1c() -> None:
    before = a_series(2, "sT1W_3D_TFE", acquisition_time="100000", **MPRAGE)
    labelling = a_series(3, "ASL perfusion", acquisition_time="101000")
    after = a_series(4, "sT1W_3D_TFE", acquisition_time="101500", **MPRAGE)
    assert Role.T1C not in decided(before, labelling, after).chosen


def test_a_single_t1_after_perfusion_stays_a_t1() -> None:
    bolus = a_series(3, "DSC perfusion", acquisition_time="101000")
    after = a_series(4, "t1_mprage", acquisition_time="101500", **MPRAGE)
    assert decided(bolus, after).chosen == {Role.T1: after.header.series_instance_uid}


def test_a_marked_series_is_preferred_to_one_that_is_only_later() -> None:
    marked = a_series(3, "t1_se_cor_KM", acquisition_time="102000", **SPIN_ECHO_T1)
    later = a_series(4, "t1_mprage_sag", acquisition_time="102500", spacing_mm=1.0, **MPRAGE)
    assert decided(marked, later).chosen[Role.T1C] == marked.header.series_instance_uid


def test_two_equal_series_without_any_sign_of_contrast_give_the_earlier_as_t1() -> None:
    first = a_series(2, "T1 3D", acquisition_time="100000", **MPRAGE)
    second = a_series(5, "T1 3D", acquisition_time="103000", **MPRAGE)
    assert decided(first, second).chosen == {Role.T1: first.header.series_instance_uid}


@pytest.mark.parametrize("time", ["", "abc", "99", "1", "246199", "\x00"])
def test_a_time_that_is_none_is_no_time(time: str) -> None:
    header = a_header(acquisition_date="2024-02-30", acquisition_time=time)
    assert acquired_at(header) is None


def test_the_time_of_acquisition_is_read_with_fractions_and_in_the_old_form() -> None:
    one = acquired_at(a_header(acquisition_time="101530.250000"))
    other = acquired_at(a_header(acquisition_date="2024.02.29", acquisition_time="10:15:31"))
    assert one is not None
    assert other is not None
    assert other - one == timedelta(seconds=1)
