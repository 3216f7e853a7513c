"""Which slices of a series belong together: properties and the words for it."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.header import Plane
from node.imaging.parts import Group, Mark, Slice, Value, distinguishing, in_words, split

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def a_slice(
    height: float,
    number: int,
    marks: Mapping[Mark, Value],
    orientation: tuple[float, float, float, float, float, float] = AXIAL,
) -> Slice:
    normal = (0.0, 0.0, height) if orientation == AXIAL else (-height, 0.0, 0.0)
    plane = Plane(position=normal, orientation=orientation)
    return Slice(plane=plane, number=(number, 0), marks=marks)


def volumes(*marks: Mapping[Mark, Value], slices: int = 6) -> list[Slice]:
    """Interleave volumes of one place: every position of each before the next position."""
    return [
        a_slice(4.0 * position, len(marks) * position + number, said)
        for position in range(slices)
        for number, said in enumerate(marks)
    ]


def numbers(slices: list[Slice], groups: tuple[Group, ...]) -> list[list[int]]:
    return [[slices[i].number[0] for i in group] for group in groups]


@given(st.permutations(range(24)))
def test_the_order_of_the_files_never_changes_the_volumes(order: list[int]) -> None:
    ordered = volumes(
        *(
            {Mark.ECHO_TIME: time, Mark.COMPONENT: component}
            for time in (7.0, 9.5)
            for component in ("magnitude", "phase")
        )
    )
    slices = [ordered[i] for i in order]
    groups = split(slices)
    assert numbers(slices, groups) == [list(range(first, 24, 4)) for first in range(4)]
    assert in_words(slices, groups) == (
        "4 volumes of 6 slices: echo times 7 and 9.5 ms, magnitude and phase"
    )


def test_a_plain_volume_stays_whole_whatever_differs_from_slice_to_slice() -> None:
    slices = [
        a_slice(3.0 * i, i, {Mark.TRIGGER_TIME: 40.0 * i, Mark.ACQUISITION: float(i % 2)})
        for i in range(20)
    ]
    assert split(slices) == (tuple(range(20)),)


def test_what_differs_from_place_to_place_tells_no_volumes_apart() -> None:
    slices = [
        a_slice(4.0 * i, 2 * i + echo, {Mark.TRIGGER_TIME: 40.0 * i, Mark.ECHO: float(echo)})
        for i in range(8)
        for echo in (1, 2)
    ]
    groups = split(slices)
    assert [len(group) for group in groups] == [8, 8]
    assert distinguishing(slices, groups) == (Mark.ECHO,)


def test_halves_of_a_stack_are_no_volumes() -> None:
    """Each half was acquired by itself, and everything was sent twice."""
    half = [{Mark.ACQUISITION: float(position >= 3)} for position in range(6)]
    slices = [a_slice(4.0 * i, 2 * i + copy, half[i]) for i in range(6) for copy in (0, 1)]
    assert len(split(slices)) == 1


def test_where_nothing_distinguishes_two_images_they_stay_together() -> None:
    assert [len(group) for group in split(volumes({}, {}))] == [12]


def test_a_time_point_that_was_cut_short_is_a_volume_of_its_own() -> None:
    slices = volumes(*({Mark.TIME_POINT: float(time)} for time in (1, 2, 3)))
    del slices[-1], slices[-3]  # the last time point ends two positions before the others
    groups = split(slices)
    assert in_words(slices, groups) == "3 volumes of 4 to 6 slices: time points 1, 2 and 3"


def test_diffusion_is_parted_by_b_value_and_then_by_direction() -> None:
    directions = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    weighted: list[dict[Mark, Value]] = [
        {Mark.B_VALUE: 1000.0, Mark.GRADIENT: direction} for direction in directions
    ]
    slices = volumes({Mark.B_VALUE: 0.0}, *weighted)
    groups = split(slices)
    assert numbers(slices, groups) == [list(range(first, 24, 4)) for first in range(4)]
    assert in_words(slices, groups).endswith(": b-values 0 and 1000 s/mm2, 3 gradient directions")


def test_what_an_earlier_mark_tells_is_not_told_again() -> None:
    slices = volumes(
        {Mark.ECHO_TIME: 20.0, Mark.ECHO: 1.0, Mark.ACQUISITION: 1.0},
        {Mark.ECHO_TIME: 90.0, Mark.ECHO: 2.0, Mark.ACQUISITION: 2.0},
    )
    assert distinguishing(slices, split(slices)) == (Mark.ECHO_TIME,)


def test_water_and_fat_are_told_by_the_words_that_differ() -> None:
    slices = volumes(
        {Mark.IMAGE_TYPE: "DERIVED\\PRIMARY\\DIXON\\WATER"},
        {Mark.IMAGE_TYPE: "DERIVED\\PRIMARY\\DIXON\\FAT"},
    )
    assert in_words(slices, split(slices)).endswith("slices: image types WATER and FAT")


def test_many_values_are_counted() -> None:
    slices = volumes(*({Mark.TIME_POINT: float(time)} for time in range(40)), slices=2)
    assert in_words(slices, split(slices)) == "40 volumes of 2 slices: 40 time points"


def test_orientations_are_parted_first() -> None:
    slices = [
        *(a_slice(10.0 * i, i, {}) for i in range(3)),
        *(a_slice(10.0 * i, 10 + i, {}, SAGITTAL) for i in range(4)),
    ]
    groups = split(slices)
    assert numbers(slices, groups) == [[0, 1, 2], [10, 11, 12, 13]]
    assert in_words(slices, groups) == "2 volumes of 3 to 4 slices: different orientations"


@pytest.mark.parametrize(("gap", "expected"), [(25.0, 2), (0.0, 1)])
def test_stacks_are_parted_where_they_form_no_common_volume(gap: float, expected: int) -> None:
    slices = [
        a_slice(5.0 * i + (gap if i >= 6 else 0.0), i, {Mark.STACK: str(1 + (i >= 6))})
        for i in range(12)
    ]
    assert len(split(slices)) == expected
