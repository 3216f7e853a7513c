"""A small sample of tests/benchmarks/registration.py: phantoms that moved in a known way."""

import pytest

from tests.benchmarks.registration import (
    AXIAL_2D,
    AXIAL_3D,
    CORONAL_2D,
    SAGITTAL_3D,
    Geometry,
    measure,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("geometry", "start"),
    [
        pytest.param(SAGITTAL_3D, 2, id="3D sagittal FLAIR"),
        pytest.param(AXIAL_3D, 4, id="3D axial T2"),
        pytest.param(AXIAL_2D, 0, id="2D axial T1"),
        pytest.param(CORONAL_2D, 4, id="20 coronal T2"),
    ],
)
def test_a_movement_is_found_in_clinical_geometries(geometry: Geometry, start: int) -> None:
    found = measure(geometry, SAGITTAL_3D, start)
    assert found.what == ""
    assert found.error_mm < 0.6
    assert found.error_deg < 0.5
