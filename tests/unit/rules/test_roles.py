"""Roles: who is chosen, who is not, and what is said about it."""

import pytest

from node.domain.regions import Role
from node.domain.study import Candidate, RoleChoice, RoleDecision, SeriesFacts
from node.rules.roles import applies, decide
from tests.unit.rules.builders import (
    DARK_FLUID,
    GAP,
    MPRAGE,
    SPIN_ECHO_T1,
    TURBO_T2,
    a_glioma_study,
    a_series,
    the_default_rule,
)


def decided(*series: SeriesFacts) -> RoleDecision:
    return decide(the_default_rule(), series)


def numbers(decision: RoleDecision) -> dict[str, int]:
    return {role: int(uid.rpartition(".")[2]) for role, uid in decision.chosen.items()}


def choice(decision: RoleDecision, role: Role) -> RoleChoice:
    return next(one for one in decision.choices if one.role is role)


def candidate(decision: RoleDecision, role: Role, number: int) -> Candidate:
    return next(c for c in choice(decision, role).candidates if c.series_number == number)


def test_a_glioma_study_fills_all_four_roles() -> None:
    decision = decided(*a_glioma_study())
    assert numbers(decision) == {"T1": 2, "T1C": 6, "T2": 3, "FLAIR": 4}
    assert decision.missing == ()
    assert {one.reason.code for one in decision.choices} == {"ok"}


def test_every_series_is_listed_for_every_role_with_a_reason() -> None:
    study = a_glioma_study()
    for one in decided(*study).choices:
        assert len(one.candidates) == len(study)
        assert all(c.reasons for c in one.candidates)


def test_a_study_without_series_misses_every_role() -> None:
    decision = decided()
    assert decision.missing == (Role.T1, Role.T1C, Role.T2, Role.FLAIR)
    assert {one.reason.code for one in decision.choices} == {"role-missing"}


def test_physics_win_where_the_description_contradicts_them() -> None:
    decision = decided(a_series(2, "t1_se_tra", **TURBO_T2))
    assert numbers(decision) == {"T2": 2}
    assert "refute the description" in candidate(decision, Role.T2, 2).reasons[0]
    assert "the physics do not fit" in candidate(decision, Role.T1, 2).reasons[0]


def test_a_series_that_agrees_is_preferred_to_one_that_contradicts_itself() -> None:
    decision = decided(a_series(2, "t1_se_tra", **TURBO_T2), a_series(3, "t2_tse", **TURBO_T2))
    assert numbers(decision) == {"T2": 3}


def test_typical_physics_do_without_a_description() -> None:
    series = (
        a_series(2, "", **MPRAGE),
        a_series(3, "IMAGES", **TURBO_T2),
        a_series(4, "SERIES 4", **DARK_FLUID),
    )
    assert numbers(decided(*series)) == {"T1": 2, "T2": 3, "FLAIR": 4}


def test_physics_that_are_not_typical_need_a_description() -> None:
    two_d = {**SPIN_ECHO_T1, "scanning_sequence": ("GR",), "repetition_time_ms": 488.0}
    assert numbers(decided(a_series(2, "SERIES 2", **two_d))) == {}


def test_a_description_alone_is_taken_when_the_header_has_no_physics() -> None:
    assert numbers(decided(a_series(2, "AX FLAIR"))) == {"FLAIR": 2}


def test_description_with_physics_outranks_description_alone() -> None:
    bare = a_series(2, "AX FLAIR", slices=60)
    assert numbers(decided(bare, a_series(3, "AX FLAIR", **DARK_FLUID))) == {"FLAIR": 3}


def test_a_damaged_series_is_passed_over_for_a_sound_one() -> None:
    damaged = a_series(2, "t2_space", problem=GAP, spacing_mm=1.0, **TURBO_T2)
    decision = decided(damaged, a_series(3, "t2_tse", **TURBO_T2))
    assert numbers(decision) == {"T2": 3}
    assert candidate(decision, Role.T2, 2).score is None
    assert GAP.text in candidate(decision, Role.T2, 2).reasons[-1]


def test_a_role_that_only_a_damaged_series_could_take_carries_its_problem() -> None:
    decision = decided(a_series(2, "t2_tse", problem=GAP, **TURBO_T2))
    reason = choice(decision, Role.T2).reason
    assert reason.code == "slice-gap"
    assert GAP.text in reason.text


def test_a_damaged_series_of_another_kind_says_nothing_about_a_role() -> None:
    decision = decided(a_series(2, "localizer", problem=GAP))
    assert {one.reason.code for one in decision.choices} == {"role-missing"}


def test_three_dimensional_series_are_preferred() -> None:
    flat = a_series(2, "t2_tse_tra", slices=400, **TURBO_T2)
    deep = {**TURBO_T2, "mr_acquisition_type": "3D", "echo_time_ms": 400.0}
    assert numbers(decided(flat, a_series(3, "t2_space", **deep))) == {"T2": 3}


def test_a_slab_is_not_preferred_to_a_series_that_covers_the_brain() -> None:
    slab = a_series(2, "t2_tse_cor_hippocampus", slices=32, spacing_mm=2.0, **TURBO_T2)
    assert numbers(decided(slab, a_series(3, "t2_tse_tra", slices=24, **TURBO_T2))) == {"T2": 3}


def test_more_slices_win_between_equals() -> None:
    few = a_series(2, "t2_tse", slices=24, **TURBO_T2)
    assert numbers(decided(few, a_series(3, "t2_tse", slices=25, **TURBO_T2))) == {"T2": 3}


def test_the_later_of_two_equals_wins_because_it_is_a_repeat() -> None:
    first = a_series(9, "t2_tse", acquisition_time="100000", **TURBO_T2)
    again = a_series(3, "t2_tse", acquisition_time="101000", **TURBO_T2)
    assert numbers(decided(first, again)) == {"T2": 3}


@pytest.mark.parametrize(
    "image_type",
    [
        ("DERIVED", "SECONDARY", "MPR"),
        ("DERIVED", "PRIMARY", "MPR"),
        ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"),
        ("DERIVED", "PRIMARY", "DIFFUSION", "ADC"),
        ("DERIVED", "SECONDARY", "SUBTRACTION"),
    ],
)
def test_derived_images_take_no_role(image_type: tuple[str, ...]) -> None:
    assert numbers(decided(a_series(2, "t1_mprage", image_type=image_type, **MPRAGE))) == {}


@pytest.mark.parametrize("part", ["SPINE", "CSPINE", "KNEE", "ORBIT", "NECK", "PROSTATE"])
def test_other_body_parts_take_no_role(part: str) -> None:
    series = a_series(2, "t2_tse", body_part_examined=part, **TURBO_T2)
    assert numbers(decided(series)) == {}


@pytest.mark.parametrize("part", ["HEAD", "BRAIN", "SKULL", "HEADNECK", "Head and Neck", ""])
def test_heads_take_their_role_however_they_are_called(part: str) -> None:
    series = a_series(2, "t2_tse", body_part_examined=part, **TURBO_T2)
    assert numbers(decided(series)) == {"T2": 2}


def test_a_series_called_shoulder_is_taken_only_when_no_other_is_there() -> None:
    shoulder = a_series(2, "T2W_TSE", body_part_examined="SHOULDER", slices=40, **TURBO_T2)
    assert numbers(decided(shoulder)) == {"T2": 2}
    head = a_series(3, "T2W_TSE", body_part_examined="HEAD", **TURBO_T2)
    assert numbers(decided(shoulder, head)) == {"T2": 3}


def test_another_modality_takes_no_role() -> None:
    decision = decided(a_series(2, "T2", modality="CT", **TURBO_T2))
    assert numbers(decision) == {}
    assert candidate(decision, Role.T2, 2).reasons == ("the modality is not MR",)


def test_no_reason_repeats_the_description() -> None:
    series = a_series(2, "t2_tse DOE^JOHN", **TURBO_T2)
    for one in decided(series).choices:
        texts = (one.reason.text, *one.candidates[0].reasons)
        assert not any("DOE" in text for text in texts)


def test_a_study_with_a_marker_role_is_one_for_the_rule() -> None:
    assert applies(the_default_rule(), a_glioma_study()).code == "ok"


def test_a_damaged_marker_series_still_makes_the_study_one_for_the_rule() -> None:
    series = [a_series(2, "FLAIR", problem=GAP, **DARK_FLUID)]
    assert applies(the_default_rule(), series).code == "ok"


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([], "no series of modality MR"),
        ([a_series(1, "CT head", modality="CT")], "no series of modality MR"),
        ([a_series(1, "t1_tse_sag_knee"), a_series(2, "pd_tse_fs")], "looks like T1C or FLAIR"),
    ],
)
def test_a_study_of_another_kind_is_not_for_the_rule(series: list[SeriesFacts], said: str) -> None:
    reason = applies(the_default_rule(), series)
    assert reason.code == "study-unusable"
    assert said in reason.text
