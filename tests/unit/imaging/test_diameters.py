"""Diameters against shapes whose diameters are known, and against slow ways to find them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial import ConvexHull

from node.domain.measurement import Diameters, Segment
from node.imaging.diameters import (
    Mask,
    diameters,
    plane_parts,
    tilt_degrees,
    with_axial_planes,
)
from node.imaging.volume import Affine, Grid, Volume
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import a_sphere, grids, moved

MIDDLES = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])

masks = arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))).filter(
    np.any
)


def measured(mask: Mask, grid: Grid) -> Diameters:
    return diameters(mask, plane_parts(mask), grid)


def lengths(found: Diameters) -> tuple[float, float]:
    return found.longest.length_mm, found.perpendicular.length_mm


def vector(segment: Segment) -> Affine:
    found: Affine = np.subtract(segment.end_mm, segment.start_mm)
    return found


def in_plane(grid: Grid, degrees: float) -> tuple[Affine, Affine]:
    """Coordinates of all voxels along two directions in the planes of a grid, from its centre."""
    row, column = (
        (np.arange(n) - (n - 1) / 2) * mm
        for n, mm in zip(grid.shape[1:], grid.spacing_mm[1:], strict=True)
    )
    down, right = np.meshgrid(row, column, indexing="ij")
    angle = math.radians(degrees)
    along: Affine = right * math.cos(angle) + down * math.sin(angle)
    across: Affine = down * math.cos(angle) - right * math.sin(angle)
    return along, across


@pytest.mark.parametrize("spacing", [(5.0, 0.5, 2.0), (1.0, 3.0, 0.25)])
def test_a_single_voxel_is_as_long_and_wide_as_its_edges(
    spacing: tuple[float, float, float],
) -> None:
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[1, 2, 3] = True
    found = lengths(measured(mask, a_grid((3, 4, 5), spacing_mm=spacing)))
    assert found == pytest.approx((max(spacing[1:]), min(spacing[1:])))


@given(st.floats(0, 180), st.floats(8, 30), st.floats(0.3, 0.95))
def test_an_ellipse_has_the_length_of_its_axes(degrees: float, half: float, ratio: float) -> None:
    grid = a_grid((1, 160, 160), spacing_mm=(3.0, 0.5, 0.5))
    along, across = in_plane(grid, degrees)
    mask = ((along / half) ** 2 + (across / (ratio * half)) ** 2 <= 1)[None]
    longest, perpendicular = lengths(measured(mask, grid))
    assert longest == pytest.approx(2 * half, abs=0.6)
    # The longest diameter of a nearly round one may point anywhere.
    assert perpendicular == pytest.approx(2 * half * ratio, abs=0.6 if ratio < 0.8 else 0.9)


@given(st.floats(0, 180), st.floats(10, 30), st.floats(0.3, 0.8))
def test_a_turned_box_is_as_long_as_its_diagonal(
    degrees: float, length: float, ratio: float
) -> None:
    grid = a_grid((1, 120, 120), spacing_mm=(3.0, 0.5, 0.5))
    width = ratio * length
    along, across = in_plane(grid, degrees)
    mask = ((np.abs(along) <= length / 2) & (np.abs(across) <= width / 2))[None]
    longest, perpendicular = lengths(measured(mask, grid))
    assert longest == pytest.approx(math.hypot(length, width), abs=1.0)
    # A line at right angles to the diagonal runs from one long side to the other.
    assert perpendicular == pytest.approx(width * math.hypot(1, ratio), abs=1.25)


@given(st.floats(5, 25), st.floats(-2.5, 2.5))
def test_a_sphere_on_slices_of_5_mm_is_as_wide_as_its_slice_next_to_the_centre(
    radius: float, shift: float
) -> None:
    grid = a_grid((13, 64, 64), spacing_mm=(5.0, 1.0, 1.0), centre_mm=(0, 0, 0))
    found = measured(a_sphere(grid, (0.0, 0.0, shift), radius), grid)
    for length in lengths(found):
        assert length == pytest.approx(2 * math.sqrt(radius**2 - shift**2), abs=1.0)
    assert abs(found.longest.start_mm[2] - shift) <= 5.0


@given(masks, grids())
def test_the_longest_diameter_is_that_of_the_outline(mask: Mask, grid: Grid) -> None:
    mask = mask[:1] if mask[0].any() else np.ones((1, 1, 1), dtype=bool)
    one_part = np.ones(mask.shape, dtype=np.int32)
    outline = outline_mm(mask, grid)
    apart = np.linalg.norm(outline[:, None] - outline[None], axis=2)
    found = diameters(mask, one_part, placed(grid, mask.shape))
    assert found.longest.length_mm == pytest.approx(apart.max(), abs=2e-3)


@given(masks, grids())
def test_the_perpendicular_is_the_longest_chord_at_right_angles(mask: Mask, grid: Grid) -> None:
    mask = mask[:1] if mask[0].any() else np.ones((1, 1, 1), dtype=bool)
    one_part = np.ones(mask.shape, dtype=np.int32)
    grid = placed(grid, mask.shape)
    found = diameters(mask, one_part, grid)
    cosine = vector(found.longest) @ vector(found.perpendicular) / math.prod(lengths(found))
    assert abs(cosine) < 0.01
    start, end = (
        grid.indices_of(np.array([segment]))[0, 1:] * grid.spacing_mm[1:]
        for segment in (found.longest.start_mm, found.longest.end_mm)
    )
    longest = longest_chord(outline_mm(mask, grid), start, end)
    assert found.perpendicular.length_mm == pytest.approx(longest, rel=0.02, abs=2e-3)


def placed(grid: Grid, shape: tuple[int, ...]) -> Grid:
    return Grid(shape=(shape[0], shape[1], shape[2]), affine=grid.affine)


def outline_mm(mask: Mask, grid: Grid) -> Affine:
    pixels = np.argwhere(mask[0])
    outline: Affine = (pixels[:, None] + MIDDLES).reshape(-1, 2) * grid.spacing_mm[1:]
    return outline


def longest_chord(outline: Affine, start: Affine, end: Affine) -> float:
    """Cut the hull across a line at many places."""
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    equations = ConvexHull(outline).equations  # normals and offsets, <= 0 inside
    slope = equations[:, :2] @ across
    best = 0.0
    for place in np.linspace(0, 1, 400)[1:-1]:
        point = start + place * (end - start)
        room = -(equations[:, :2] @ point + equations[:, 2])
        up = (room[slope > 1e-12] / slope[slope > 1e-12]).min()
        down = (room[slope < -1e-12] / slope[slope < -1e-12]).max()
        best = max(best, up - down)
    return best


@given(masks, grids(), st.floats(-180, 180), st.floats(-180, 180), st.floats(-50, 50))
def test_a_moved_patient_has_the_same_diameters(
    mask: Mask, grid: Grid, first: float, second: float, shift: float
) -> None:
    grid = placed(grid, mask.shape)
    movement = moved((first, second, 0.0), (shift, 0.0, -shift))
    there = Grid(shape=grid.shape, affine=movement @ grid.affine)
    before, after = measured(mask, grid), measured(mask, there)
    assert lengths(after) == pytest.approx(lengths(before), abs=5e-3)
    ends = np.array([after.longest.start_mm, after.longest.end_mm])
    assert np.all(there.holds(ends + 1e-2 * (ends.mean(axis=0) - ends)))


@given(st.sampled_from([AXIAL, CORONAL, SAGITTAL]), st.floats(0, 20))
def test_planes_are_those_nearest_to_axial(
    axes: tuple[tuple[float, float, float], ...], degrees: float
) -> None:
    shape = (5, 6, 7)
    grid = a_grid(shape, axes=tilted(axes, degrees), spacing_mm=(3.0, 1.0, 2.0))
    array = np.arange(math.prod(shape)).reshape(shape)
    turned = with_axial_planes(Volume(array=array, grid=grid))
    assert tilt_degrees(turned.grid) <= degrees + 1e-5
    places = turned.grid.positions_mm(np.argwhere(turned.array >= 0))
    back = np.rint(grid.indices_of(places)).astype(int)
    assert np.array_equal(array[tuple(back.T)], turned.array.ravel())


def test_the_slice_with_the_largest_product_is_taken() -> None:
    mask = np.zeros((3, 40, 40), dtype=bool)
    mask[0, 20, 2:38] = True  # a long line
    mask[2, 10:30, 10:30] = True
    grid = a_grid((3, 40, 40), spacing_mm=(2.0, 1.0, 1.0), centre_mm=(0, 0, 0))
    found = measured(mask, grid)
    assert found.longest.start_mm[2] == found.longest.end_mm[2] == pytest.approx(2.0)
    assert found.longest.length_mm < 30


def a_horseshoe() -> Mask:
    mask = np.zeros((1, 60, 60), dtype=bool)
    mask[0, 5:55, 5:55] = True
    mask[0, 15:55, 17:43] = False
    return mask


def test_a_line_does_not_cross_a_bay() -> None:
    grid = a_grid((1, 60, 60))
    found = lengths(measured(a_horseshoe(), grid))
    assert found == pytest.approx((math.hypot(50, 12), 50), abs=2.5)
    assert math.prod(
        lengths(diameters(a_horseshoe(), np.ones((1, 60, 60), dtype=np.int32), grid))
    ) > (1.3 * math.prod(found))


def test_a_line_crosses_a_hole() -> None:
    mask = a_horseshoe()
    mask[0, 45:55, 5:55] = True
    found = lengths(measured(mask, a_grid((1, 60, 60))))
    assert found == pytest.approx((50 * math.sqrt(2),) * 2, abs=1.5)


blobs = st.builds(
    lambda seed, size: (
        ndimage.gaussian_filter(
            np.random.default_rng(seed).standard_normal((1, size, size)), (0, 1.5, 1.5)
        )
        > 0.05
    ),
    st.integers(0, 10_000),
    st.integers(6, 14),
).filter(np.any)
"""Bayed, holed and scattered shapes."""


@settings(max_examples=60)
@given(blobs, st.sampled_from([(1.0, 1.0), (0.5, 0.5), (0.9, 2.5)]))
def test_the_longest_line_that_stays_inside_is_found(
    mask: Mask, pixel: tuple[float, float]
) -> None:
    grid = a_grid((mask.shape[0], mask.shape[1], mask.shape[2]), spacing_mm=(3.0, *pixel))
    numbers, count = ndimage.label(mask[0], np.ones((3, 3)))
    best = 0.0
    for number in range(1, count + 1):
        part = numbers == number
        longest, across = longest_inside(part, pixel)
        best = max(best, longest * across)
        alone = measured(part[None], grid)
        assert alone.longest.length_mm >= longest - 2e-3
        cosine = vector(alone.longest) @ vector(alone.perpendicular) / math.prod(lengths(alone))
        assert abs(cosine) < (0.06 if part.sum() > 30 and pixel[0] == pixel[1] else 0.5)
        assert share_outside(part, alone, grid) < 0.05
    assert math.prod(lengths(measured(mask, grid))) >= 0.7 * best


def roomy(part: Mask) -> Mask:
    found: Mask = ndimage.binary_dilation(
        np.pad(ndimage.binary_fill_holes(part), 2), np.ones((3, 3))
    )
    return found


def share_outside(part: Mask, found: Diameters, grid: Grid) -> float:
    room = roomy(part)
    return max(
        float(
            np.mean(~seen(room, grid.indices_of(np.array([[line.start_mm, line.end_mm]]))[..., 1:]))
        )
        for line in (found.longest, found.perpendicular)
    )


def seen(room: Mask, lines: Affine) -> Mask:
    """Whether places along lines (n, 2, 2) lie in a mask that is padded by 2."""
    places = lines[:, :1] + np.linspace(0, 1, 150)[:, None] * (lines[:, 1:] - lines[:, :1])
    rows, columns = np.moveaxis(np.rint(places).astype(int) + 2, -1, 0)
    inside: Mask = room[rows, columns]
    return inside


def longest_inside(part: Mask, pixel: tuple[float, float]) -> tuple[float, float]:
    """Try all lines between edges of the outline, and those across the longest."""
    wide = np.pad(part, 1)
    ends = np.array(
        [
            (row - 1 + down / 2, column - 1 + right / 2)
            for row, column in np.argwhere(wide)
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
            if not wide[row + down, column + right]
        ]
    )
    first, last = np.triu_indices(len(ends), 1)
    lines = np.stack([ends[first], ends[last]], axis=1)
    lines = lines[seen(roomy(part), lines).all(axis=1)]
    ways = (lines[:, 1] - lines[:, 0]) * pixel
    sizes = np.hypot(*ways.T)
    cosines = np.abs(ways @ ways[sizes.argmax()]) / (np.maximum(sizes, 1e-9) * sizes.max())
    return float(sizes.max()), float(sizes[cosines <= 0.05].max(initial=0.0))


def test_two_parts_in_one_slice_are_not_measured_across() -> None:
    mask = np.zeros((1, 40, 40), dtype=bool)
    mask[0, 2:12, 2:12] = mask[0, 25:35, 25:35] = True
    grid = a_grid((1, 40, 40))
    assert measured(mask, grid).longest.length_mm < 15
    held_together = np.ones(mask.shape, dtype=np.int32)
    assert diameters(mask, held_together, grid).longest.length_mm > 40


@pytest.mark.parametrize(
    ("radius", "spacing", "planes", "expected"),
    [
        (5.5, 1.0, 2, True),
        (4.0, 1.0, 2, False),
        (5.5, 1.0, 1, False),
        (5.5, 5.0, 2, True),
        (5.5, 7.0, 2, False),
        (7.5, 7.0, 2, True),
    ],
)
def test_a_lesion_is_measurable_from_10_mm_on_and_on_thick_slices_from_two_of_them_on(
    radius: float, spacing: float, planes: int, expected: bool
) -> None:
    grid = a_grid((planes, 40, 40), spacing_mm=(spacing, 0.5, 0.5))
    along, across = in_plane(grid, 0)
    mask = np.repeat((np.hypot(along, across) <= radius)[None], planes, axis=0)
    assert measured(mask, grid).measurable is expected


def test_more_specks_than_are_looked_at_change_nothing() -> None:
    mask = np.zeros((1, 201, 201), dtype=bool)
    mask[0, ::4, ::4] = True
    mask[0, 99:110, 99:106] = True
    found = lengths(measured(mask, a_grid((1, 201, 201))))
    alone = mask.copy()
    alone[0, ::4, ::4] = False
    alone[0, 99:110, 99:106] = True
    assert found == pytest.approx(lengths(measured(alone, a_grid((1, 201, 201)))))
