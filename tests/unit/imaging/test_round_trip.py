"""Volumes of labels before and after the way to the native grid."""

import numpy as np
import pytest

from node.domain.regions import Region
from node.imaging.resample import to_native
from node.imaging.round_trip import round_trip, round_trip_findings
from node.imaging.volume import Volume
from tests.support.mr_series import AXIAL, CORONAL, a_grid, tilted
from tests.unit.imaging.cases import a_sphere

MODEL = a_grid((70, 70, 70), centre_mm=(0.0, 0.0, 0.0))


def a_tumour() -> Volume:
    array = np.zeros(MODEL.shape, dtype=np.uint8)
    array[a_sphere(MODEL, (2.0, 1.0, -3.0), 24.0)] = 2
    array[a_sphere(MODEL, (4.0, 3.0, -4.0), 16.0)] = 3
    array[a_sphere(MODEL, (5.0, 3.0, -4.0), 11.0)] = 1
    return Volume(array=array, grid=MODEL)


@pytest.mark.parametrize(("axes", "thick_mm"), [(AXIAL, 5.0), (CORONAL, 7.0)])
def test_a_tumour_keeps_its_volumes_on_thick_slices(
    axes: tuple[tuple[float, float, float], ...], thick_mm: float
) -> None:
    native = a_grid(
        (16, 90, 90),
        axes=tilted(axes, 8),
        spacing_mm=(thick_mm, 0.9, 0.9),
        centre_mm=(1.0, 0.0, 0.0),
    )
    model = a_tumour()
    trips = round_trip(model, to_native(model, native))
    assert [trip.region for trip in trips] == list(Region)
    assert round_trip_findings(trips) == ()
    assert all(0.0 < abs(trip.change) < 0.03 for trip in trips)
    assert all(0.8 < trip.dice < 0.97 for trip in trips)


def test_labels_on_the_same_voxels_come_home_as_they_are() -> None:
    model = a_tumour()
    turned = a_grid((80, 80, 80), axes=CORONAL, centre_mm=(0.0, 1.0, -2.0))
    for trip in round_trip(model, to_native(model, turned)):
        assert trip.change == 0.0
        assert trip.dice == 1.0


def test_a_tumour_that_the_series_does_not_cover_is_told() -> None:
    model = a_tumour()
    half = a_grid((20, 90, 90), spacing_mm=(1.0, 0.9, 0.9), centre_mm=(0.0, 0.0, 10.0))
    found = round_trip_findings(round_trip(model, to_native(model, half)))
    assert [finding.code for finding in found] == ["volume-changed-by-resampling"] * 3
    assert found[0].text.startswith("WT has ")


def test_a_few_voxels_more_or_less_of_almost_nothing_are_no_news() -> None:
    few = np.zeros(MODEL.shape, dtype=np.uint8)
    few[30, 30, 30] = 3
    model = Volume(array=few, grid=MODEL)
    none = model.with_array(np.zeros_like(few))
    assert round_trip(model, none)[2].change == pytest.approx(-0.001 / 0.051)
    assert round_trip_findings(round_trip(model, none)) == ()
