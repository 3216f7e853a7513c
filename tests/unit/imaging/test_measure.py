"""Volumes, lesions, findings and overlap of labels."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.domain.regions import Region
from node.imaging.measure import (
    dice,
    labels_to_region,
    measure,
    region_volumes,
    tumour_findings,
)
from node.imaging.volume import Array, Grid, Volume
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid
from tests.unit.imaging.cases import a_sphere

GRID = a_grid((3, 4, 5), spacing_mm=(5.0, 0.5, 2.0))


def test_regions_are_counted_as_a_hand_counts_them() -> None:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[0, 0, :4] = 2  # 4 oedema
    array[1, 0, :3] = 1  # 3 necrosis
    array[2, 0, :2] = 3  # 2 enhancing
    found = {v.region: v for v in region_volumes(Volume(array=array, grid=GRID))}
    assert {r: v.voxels for r, v in found.items()} == {Region.WT: 9, Region.TC: 5, Region.ET: 2}
    assert found[Region.WT].millilitres == pytest.approx(9 * 5.0 / 1000)


@given(arrays(np.uint8, GRID.shape, elements=st.integers(0, 3)))
def test_the_regions_are_nested(array: np.ndarray) -> None:
    labels = Volume(array=array, grid=GRID)
    whole, core, enhancing = (labels_to_region(labels, region) for region in Region)
    assert np.all(whole >= core)
    assert np.all(core >= enhancing)


def test_dice_of_two_empty_masks_is_1_and_of_one_empty_mask_0() -> None:
    nothing, something = np.zeros(5, dtype=bool), np.array([0, 1, 0, 0, 1], dtype=bool)
    assert dice(nothing, nothing) == 1.0
    assert dice(nothing, something) == 0.0
    assert dice(something, something) == 1.0


def test_dice_is_twice_the_common_part_over_the_sum() -> None:
    assert dice(np.array([1, 1, 1, 0]), np.array([0, 1, 1, 0])) == pytest.approx(0.8)


@given(arrays(bool, 20), arrays(bool, 20))
def test_dice_is_symmetric_and_between_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == dice(b, a)
    assert 0.0 <= dice(a, b) <= 1.0


def a_ball(grid: Grid, label: int, centre: tuple[float, float, float], radius: float) -> Array:
    return a_sphere(grid, centre, radius).astype(np.uint8) * label


@dataclass(frozen=True)
class Spread:
    floor: float
    gain: float


@dataclass(frozen=True)
class Bundled:
    method: str
    spreads: dict[Region, Spread]


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_a_tumour_measures_the_same_in_every_orientation(
    axes: tuple[tuple[float, float, float], ...],
) -> None:
    grid = a_grid((80, 80, 80), axes=axes, centre_mm=(0.0, 0.0, 0.0))
    array = np.maximum(
        a_ball(grid, 2, (3.0, -4.0, 5.0), 20.0), a_ball(grid, 3, (3.0, -4.0, 5.0), 11.0)
    )
    found = measure(Volume(array=array, grid=grid))
    assert found.tilt_degrees == 0.0
    for region, radius in ((Region.WT, 20.0), (Region.TC, 11.0), (Region.ET, 11.0)):
        measured = found.of(region)
        assert measured.volume.millilitres == pytest.approx(
            4 / 3 * math.pi * radius**3 / 1e3, rel=0.01
        )
        assert measured.lesion_count == len(measured.lesions) == 1
        cross = measured.lesions[0].diameters
        assert cross.longest.length_mm == pytest.approx(2 * radius, abs=1.0)
        assert cross.perpendicular.length_mm == pytest.approx(2 * radius, abs=1.0)
        assert cross.longest.start_mm[2] == cross.longest.end_mm[2] == pytest.approx(5.0, abs=0.51)
        assert measured.sum_of_products_mm2 == pytest.approx(4 * radius**2, rel=0.08)


def test_lesions_are_counted_from_50_mm3_on_and_the_three_largest_measured() -> None:
    grid = a_grid((30, 30, 200))
    array = np.zeros(grid.shape, dtype=np.uint8)
    for number, side in enumerate((3, 4, 9, 12, 10, 11)):
        array[4 : 4 + side, 4 : 4 + side, 30 * number + 4 : 30 * number + 4 + side] = 3
    found = measure(Volume(array=array, grid=grid)).of(Region.ET)
    assert found.volume.voxels == 27 + 64 + 729 + 1728 + 1000 + 1331
    assert found.lesion_count == 5
    assert [lesion.volume_ml for lesion in found.lesions] == [1.728, 1.331, 1.0]


def test_a_broken_ring_is_measured_over_its_core() -> None:
    grid = a_grid((8, 60, 60), centre_mm=(0.0, 0.0, 0.0))
    around = np.hypot(*(grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T)[:, :2].T))
    around = around.reshape(grid.shape)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[around <= 20] = 1
    array[(around <= 20) & (around > 17)] = 3
    array[:7, 28:32] = np.minimum(array[:7, 28:32], 1)  # two arcs in all slices but the last
    array[7] = 0
    array[7, 28:32, 9:12] = array[6, 28:32, 9:12] = 3
    cross = measure(Volume(array=array, grid=grid)).of(Region.ET).lesions[0].diameters
    assert cross.longest.length_mm == pytest.approx(40, abs=1.0)
    assert cross.perpendicular.length_mm == pytest.approx(40, abs=2.5)


def test_volumes_have_an_interval_where_the_bundle_knows_its_errors() -> None:
    grid = a_grid((20, 20, 20))
    labels = Volume(array=a_ball(grid, 3, (3.0, -12.0, 20.0), 8.0), grid=grid)
    known = Bundled("tried", {Region.WT: Spread(0.1, 1.0), Region.TC: Spread(0.1, 0.0)})
    found = measure(labels, {Region.WT: (2.0, 2.2)}, known)
    for region in (Region.WT, Region.TC):
        bounds = found.of(region).interval
        assert bounds is not None
        assert bounds.low_ml < found.of(region).volume.millilitres < bounds.high_ml
    assert found.of(Region.ET).interval is None
    assert measure(labels, {Region.WT: (2.0, 2.2)}).of(Region.WT).interval is None


def test_no_interval_ends_above_that_of_the_region_around_it() -> None:
    grid = a_grid((20, 20, 20))
    labels = Volume(array=a_ball(grid, 3, (3.0, -12.0, 20.0), 8.0), grid=grid)
    known = Bundled(
        "tried",
        {Region.WT: Spread(0.1, 0.0), Region.TC: Spread(0.5, 0.0), Region.ET: Spread(2.0, 0.0)},
    )
    found = measure(labels, dict.fromkeys(Region, (2.0, 2.2)), known)
    bounds = [found.of(region).interval for region in Region]
    highs = [one.high_ml for one in bounds if one is not None]
    assert len(highs) == 3
    assert highs[0] == highs[1] == highs[2] > found.of(Region.ET).volume.millilitres


def test_nothing_is_measured_as_nothing_and_told() -> None:
    labels = Volume(array=np.zeros(GRID.shape, dtype=np.uint8), grid=GRID)
    found = measure(labels)
    assert [one.volume.voxels for one in found.regions] == [0, 0, 0]
    assert all(one.lesions == () and one.lesion_count == 0 for one in found.regions)
    assert codes(labels) == ["no-tumour-found"]


def codes(labels: Volume) -> list[str]:
    return [finding.code for finding in tumour_findings(labels)]


@pytest.mark.parametrize("face", range(6))
def test_a_tumour_at_any_face_of_the_series_is_told(face: int) -> None:
    grid = a_grid((9, 9, 9))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[3:6, 3:6, 3:6] = 3
    assert codes(Volume(array=array, grid=grid)) == []
    place = [4, 4, 4]
    place[face // 2] = 0 if face % 2 else 8
    array[tuple(place)] = 2
    assert codes(Volume(array=array, grid=grid)) == ["tumour-at-edge"]


def test_a_tumour_without_enhancement_is_told() -> None:
    grid = a_grid((9, 9, 9))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[3:6, 3:6, 3:6] = 1
    assert codes(Volume(array=array, grid=grid)) == ["no-enhancing-tumour"]
