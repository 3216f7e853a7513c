"""Properties of describe_stack: what positions say, whatever order and noise they come in."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.headers import read_header
from node.dicom.stack import (
    describe_stack,
    is_tiled,
    orientation_groups,
    position_ranks,
    slice_order,
)
from node.domain.errors import all_codes
from node.domain.header import Plane, Vector3, Vector6
from tests.support.dicom_objects import EXPLICIT, encode, mr_dataset

AXIAL: Vector6 = (1, 0, 0, 0, 1, 0)
SAGITTAL: Vector6 = (0, 1, 0, 0, 0, -1)
CORONAL: Vector6 = (1, 0, 0, 0, 0, -1)


def tilted(degrees: float) -> Vector6:
    """Return an axial plane tilted about the left-right axis."""
    angle = math.radians(degrees)
    return (1, 0, 0, 0, math.cos(angle), math.sin(angle))


def normal_of(o: Vector6) -> Vector3:
    return (o[1] * o[5] - o[2] * o[4], o[2] * o[3] - o[0] * o[5], o[0] * o[4] - o[1] * o[3])


def a_stack(count: int, step: float, orientation: Vector6 = AXIAL) -> list[Plane]:
    x, y, z = normal_of(orientation)
    return [
        Plane(
            position=(-90 + i * step * x, -110 + i * step * y, 30 + i * step * z),
            orientation=orientation,
        )
        for i in range(count)
    ]


def moved(plane: Plane, by: Sequence[float]) -> Plane:
    x, y, z = plane.position
    return Plane(position=(x + by[0], y + by[1], z + by[2]), orientation=plane.orientation)


def code_of(planes: Sequence[Plane]) -> str:
    problem = describe_stack(planes).problem
    return problem.code if problem else "ok"


steps = st.floats(0.4, 12.0)
counts = st.integers(7, 60)
orientations = st.sampled_from([AXIAL, SAGITTAL, CORONAL, tilted(17), tilted(-30)])
noise = st.floats(-1e-4, 1e-4)


@given(counts, steps, orientations)
def test_an_even_stack_is_a_volume_with_its_spacing(
    count: int, step: float, orientation: Vector6
) -> None:
    facts = describe_stack(a_stack(count, step, orientation))
    assert facts.problem is None
    assert facts.slices == count
    assert facts.orientations == 1
    assert facts.spacing_mm == pytest.approx(step)


@given(st.data(), counts, steps, orientations)
def test_the_order_of_arrival_never_matters(
    data: st.DataObject, count: int, step: float, orientation: Vector6
) -> None:
    planes = a_stack(count, step, orientation)
    lost = data.draw(st.integers(0, count - 1))
    planes[lost] = moved(planes[lost], data.draw(st.tuples(noise, noise, noise)))
    extra = data.draw(st.sampled_from(["none", "gap", "double", "other"]))
    if extra == "gap":
        del planes[count // 2]
    if extra == "double":
        planes.append(planes[lost])
    if extra == "other":
        planes.append(Plane(position=(1, 2, 3), orientation=tilted(60)))
    shuffled = data.draw(st.permutations(planes))
    assert describe_stack(shuffled) == describe_stack(planes)
    assert [shuffled[i].position for i in slice_order(shuffled)] == [
        planes[i].position for i in slice_order(planes)
    ]


@given(st.data(), counts, steps, orientations)
def test_a_missing_slice_is_found_wherever_it_is(
    data: st.DataObject, count: int, step: float, orientation: Vector6
) -> None:
    planes = a_stack(count, step, orientation)
    lost = data.draw(st.integers(1, count - 2))
    del planes[lost]
    problem = describe_stack(planes).problem
    assert problem is not None
    assert problem.code == "slice-gap"
    assert f"1 slice missing between slice {lost} and {lost + 1} " in problem.text


@given(st.data(), counts, steps, orientations)
def test_a_doubled_slice_is_found_wherever_it_is(
    data: st.DataObject, count: int, step: float, orientation: Vector6
) -> None:
    planes = a_stack(count, step, orientation)
    doubled = data.draw(st.integers(0, count - 1))
    planes.append(planes[doubled])
    problem = describe_stack(planes).problem
    assert problem is not None
    assert problem.code == "doubled-slice"
    assert f"at position {doubled + 1} counted" in problem.text


@given(st.data(), counts, steps, orientations)
def test_rounding_of_positions_and_cosines_is_tolerated(
    data: st.DataObject, count: int, step: float, orientation: Vector6
) -> None:
    jitter = st.tuples(noise, noise, noise)
    planes = [
        Plane(
            position=moved(plane, data.draw(jitter)).position,
            orientation=(*orientation[:5], orientation[5] + data.draw(noise)),
        )
        for plane in a_stack(count, step, orientation)
    ]
    assert code_of(planes) == "ok"


@given(counts, steps, st.floats(2, 40))
def test_slices_that_drift_off_their_normal_are_no_volume(
    count: int, step: float, degrees: float
) -> None:
    drift = step * math.tan(math.radians(degrees))
    planes = [moved(p, (0, i * drift, 0)) for i, p in enumerate(a_stack(count, step))]
    assert code_of(planes) == "sheared-geometry"


@given(counts, steps)
def test_the_orders_of_slices_follow_the_normal(count: int, step: float) -> None:
    planes = a_stack(count, step, SAGITTAL)
    assert slice_order(planes[::-1]) == tuple(range(count))[::-1]


def test_no_planes_have_no_geometry() -> None:
    facts = describe_stack([])
    assert facts.problem is not None
    assert facts.problem.code == "no-geometry"
    assert facts.slices == 0
    assert slice_order([]) == ()


@pytest.mark.parametrize(
    "plane",
    [
        Plane(position=(0, 0, math.nan), orientation=AXIAL),
        Plane(position=(0, math.inf, 0), orientation=AXIAL),
        Plane(position=(0, 0, 0), orientation=(0, 0, 0, 0, 0, 0)),
        Plane(position=(0, 0, 0), orientation=(1, 0, 0, 1, 0, 0)),
        Plane(position=(0, 0, 0), orientation=(math.nan, 0, 0, 0, 1, 0)),
        Plane(position=(0, 0, 0), orientation=(2, 0, 0, 0, 1, 0)),
    ],
)
def test_one_slice_without_a_sound_place_is_no_geometry(plane: Plane) -> None:
    assert code_of([*a_stack(8, 2.0), plane]) == "no-geometry"


def test_fewer_than_five_slices_are_too_few() -> None:
    assert code_of(a_stack(4, 3.0)) == "too-few-slices"
    assert code_of(a_stack(5, 3.0)) == "ok"


def test_a_localizer_in_three_directions_is_mixed_even_when_it_is_short() -> None:
    planes = [a_stack(1, 1, o)[0] for o in (AXIAL, SAGITTAL, CORONAL)]
    facts = describe_stack(planes)
    assert facts.orientations == 3
    assert facts.problem is not None
    assert facts.problem.text == "3 slices in 3 different orientations"


def test_every_second_echo_at_the_same_place_is_a_doubled_slice() -> None:
    facts = describe_stack([*a_stack(30, 4.0), *a_stack(30, 4.0)])
    assert facts.problem is not None
    assert facts.problem.text.startswith("60 slices at 30 positions")
    assert facts.spacing_mm == pytest.approx(4.0)


def test_two_slices_missing_at_one_place_are_counted() -> None:
    planes = a_stack(20, 2.5)
    del planes[9:11]
    problem = describe_stack(planes).problem
    assert problem is not None
    assert problem.text == (
        "2 slices missing between slice 9 and 10 counted from the feet: "
        "step of 7.5 mm against 2.5 mm"
    )


def test_gaps_at_several_places_are_all_told() -> None:
    planes = a_stack(30, 2.0)
    del planes[20], planes[10]
    problem = describe_stack(planes).problem
    assert problem is not None
    assert problem.text.endswith("and 1 more uneven step")


def test_a_step_that_is_no_multiple_is_called_uneven() -> None:
    planes = a_stack(10, 3.0)
    planes[9] = moved(planes[9], (0, 0, 1.0))
    problem = describe_stack(planes).problem
    assert problem is not None
    assert problem.text.startswith("uneven step between slice 9 and 10")


@pytest.mark.parametrize(
    ("orientation", "plane", "end"),
    [
        (AXIAL, "axial", "feet"),
        (SAGITTAL, "sagittal", "left"),
        (CORONAL, "coronal", "front"),
        (tilted(45), "oblique", ""),
    ],
)
def test_plane_and_first_end_are_named(orientation: Vector6, plane: str, end: str) -> None:
    planes = a_stack(9, 2.0, orientation)
    facts = describe_stack([*planes, planes[3]])
    assert facts.plane == plane
    assert facts.problem is not None
    assert facts.problem.text.endswith(f"counted from the {end}" if end else "feet")


def test_many_orientations_are_counted_only_so_far() -> None:
    planes = [a_stack(1, 1.0, tilted(i))[0] for i in range(60)]
    facts = describe_stack(planes)
    assert facts.orientations == 32
    assert facts.problem is not None
    assert "32 or more" in facts.problem.text


def test_every_code_is_of_the_error_tree() -> None:
    codes = {
        "no-geometry", "mixed-orientation", "too-few-slices", "sheared-geometry",
        "doubled-slice", "slice-gap",
    }  # fmt: skip
    assert codes <= all_codes()


def test_tiled_images_are_told_before_their_planes_are_looked_at() -> None:
    problem = describe_stack(a_stack(30, 2.0), tiled=True).problem
    assert problem is not None
    assert problem.code == "tiled-images"


def test_a_shorter_stack_may_be_asked_for() -> None:
    assert describe_stack(a_stack(2, 3.0), minimum_slices=2).problem is None
    assert describe_stack(a_stack(1, 3.0), minimum_slices=1).problem is None
    problem = describe_stack(a_stack(2, 3.0), minimum_slices=3).problem
    assert problem is not None
    assert problem.text == "2 slices, a volume needs at least 3"


def test_planes_of_one_position_have_one_rank() -> None:
    planes = [*a_stack(4, 3.0), *a_stack(4, 3.0)]
    assert position_ranks(planes) == (0, 1, 2, 3, 0, 1, 2, 3)


def test_planes_are_grouped_by_orientation() -> None:
    planes = [*a_stack(2, 3.0), *a_stack(3, 3.0, SAGITTAL), *a_stack(1, 3.0)]
    assert sorted(orientation_groups(planes)) == [(0, 1, 5), (2, 3, 4)]


def test_a_radial_series_is_one_group() -> None:
    turns = [math.radians(4.0 * i) for i in range(40)]
    planes = [
        Plane(position=(0, 0, 0), orientation=(math.cos(t), math.sin(t), 0, 0, 0, 1)) for t in turns
    ]
    assert orientation_groups(planes) == (tuple(range(40)),)


@pytest.mark.parametrize(
    ("image_type", "frames", "expected"),
    [
        (("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"), 1, True),
        (("ORIGINAL", "PRIMARY", "M", "VFRAME"), 1, True),
        (("ORIGINAL", "PRIMARY", "M", "ND"), 1, False),
        (("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"), 30, False),
        ((), 1, False),
    ],
)
def test_a_mosaic_says_so_in_its_image_type(
    image_type: tuple[str, ...], frames: int, expected: bool
) -> None:
    header = replace(read_header(encode(mr_dataset()), EXPLICIT), image_type=image_type)
    assert is_tiled(replace(header, number_of_frames=frames)) is expected
