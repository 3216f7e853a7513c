"""The overlay series shows the reference series with outlines, on the right side."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.domain.regions import Region
from node.imaging.volume import Grid, Volume
from node.results.codes import STYLES
from node.results.overlay import encode_overlay
from tests.support.mr_series import (
    AXIAL,
    CORONAL,
    FRAME_UID,
    SAGITTAL,
    STUDY_UID,
    a_grid,
    tilted,
    write_mr_series,
)
from tests.unit.results.cases import (
    SMALL,
    a_case,
    a_context,
    nested_labels,
    parsed,
    pixel_position,
)

THICK = a_grid((9, 40, 36), axes=AXIAL, spacing_mm=(5.0, 1.0, 1.0))
COLOURS = {style.region: style.rgb for style in STYLES}


def outline_pixels(dataset: Dataset, region: Region, grid: Grid) -> np.ndarray:
    """Return (row, column) of the outline; the legend lies below the volume."""
    pixels = np.argwhere((dataset.pixel_array == COLOURS[region]).all(axis=-1))
    corners = np.array(np.meshgrid(*((0, n - 1) for n in grid.shape))).reshape(3, -1).T
    down = np.array(dataset.ImageOrientationPatient[3:], dtype=float)
    height = np.ptp(grid.positions_mm(corners) @ down) + max(grid.spacing_mm)
    shown: np.ndarray = pixels[pixels[:, 0] * float(dataset.PixelSpacing[0]) < height]
    return shown


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    axes=st.sampled_from([AXIAL, SAGITTAL, CORONAL]),
    degrees=st.floats(0, 25),
    place=st.tuples(st.integers(1, 10), st.integers(1, 12), st.integers(1, 11)),
)
def test_a_marker_is_seen_and_outlined_where_it_is_in_the_patient(
    axes: tuple[tuple[float, float, float], ...],
    degrees: float,
    place: tuple[int, int, int],
) -> None:
    grid = a_grid((12, 14, 13), axes=tilted(axes, degrees), spacing_mm=(1.2, 1.0, 1.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[place] = 3
    labels = Volume(array=array, grid=grid)
    ramp = np.indices(grid.shape)[2].astype(np.float32)
    reference = Volume(array=ramp + array * np.float32(300), grid=grid)
    with tempfile.TemporaryDirectory() as folder:
        files = write_mr_series(Path(folder), reference)
        made = encode_overlay(labels, reference, files, a_context(labels))
    wanted = grid.positions_mm(np.array([place]))[0]
    seen = 0
    for dataset in map(parsed, made):
        pixels = outline_pixels(dataset, Region.ET, grid)
        if len(pixels):
            seen += 1
            middle = pixel_position(dataset, *((pixels.min(axis=0) + pixels.max(axis=0)) / 2))
            across = middle - wanted
            normal = np.cross(*np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float))
            assert abs(across @ normal) <= float(dataset.SliceThickness) / 2 + 1e-3
            assert np.linalg.norm(across - (across @ normal) * normal) < 0.2
            row, column = pixels.mean(axis=0).astype(int)
            assert dataset.pixel_array[row, column].max() > 200
    assert seen == 1


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL])
def test_the_left_of_the_patient_is_on_the_right_of_an_axial_picture(
    tmp_path: Path, axes: tuple[tuple[float, float, float], ...]
) -> None:
    grid = a_grid((20, 20, 20), axes=axes)
    centre = grid.positions_mm((np.array([grid.shape]) - 1) / 2)[0]
    place = np.rint(grid.indices_of(centre[None] + [[5.0, -4.0, 3.0]])[0]).astype(int)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[tuple(place)] = 3
    case = a_case(tmp_path, grid, Volume(array=array, grid=grid))
    made = map(parsed, encode_overlay(case.labels, case.reference, case.files, case.context))
    shown = [
        (outline_pixels(dataset, Region.ET, grid).mean(axis=0), dataset)
        for dataset in made
        if len(outline_pixels(dataset, Region.ET, grid))
    ]
    (row, column), dataset = shown[0]
    assert column > 0.6 * dataset.Columns
    assert row < 0.4 * dataset.Columns
    assert list(dataset.PatientOrientation) == ["L", "P"]


def test_thick_slices_are_shown_as_they_are(tmp_path: Path) -> None:
    case = a_case(tmp_path, THICK)
    made = [
        parsed(made)
        for made in encode_overlay(case.labels, case.reference, case.files, case.context)
    ]
    assert len(made) == THICK.shape[0]
    for number, dataset in enumerate(made):
        assert float(dataset.SliceThickness) == pytest.approx(5.0)
        wanted = THICK.positions_mm(np.array([[number, -0.5, -0.5]]))[0]
        np.testing.assert_allclose(pixel_position(dataset, -0.5, -0.5), wanted, atol=1e-6)
        image = dataset.SourceImageSequence[0]
        assert str(image.ReferencedSOPInstanceUID).endswith(f".7.{number + 1}")


def test_thin_slices_become_axial_slabs_that_cover_the_volume(tmp_path: Path) -> None:
    case = a_case(tmp_path, SMALL)
    made = encode_overlay(case.labels, case.reference, case.files, case.context, thickness_mm=4.0)
    heights = [float(parsed(picture).ImagePositionPatient[2]) for picture in made]
    assert np.diff(heights) == pytest.approx(4.0)
    assert len(made) == 5  # 18 rows of 1 mm
    middle = SMALL.positions_mm((np.array([SMALL.shape]) - 1) / 2)[0]
    assert np.mean(heights) == pytest.approx(middle[2])


def test_grey_values_of_a_slab_are_the_mean_of_its_slices(tmp_path: Path) -> None:
    grid = a_grid((12, 16, 14), axes=AXIAL)
    array = np.repeat(np.arange(12, dtype=np.float32)[:, None, None] * 20, 16, axis=1)
    reference = Volume(array=np.repeat(array, 14, axis=2), grid=grid)
    labels = Volume(array=np.zeros(grid.shape, dtype=np.uint8), grid=grid)
    files = write_mr_series(tmp_path, reference)
    made = encode_overlay(labels, reference, files, a_context(labels))
    levels = [int(parsed(picture).pixel_array[40, 40, 0]) for picture in made]
    assert len(levels) == 4
    steps = np.diff([level for level in levels if 0 < level < 255])
    assert len(set(steps)) <= 2  # even, but for rounding
    assert (steps > 0).all()


def test_identifiers_tie_the_pictures_to_study_and_space(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    made = encode_overlay(case.labels, case.reference, case.files, case.context)
    datasets = [parsed(picture) for picture in made]
    assert {str(d.StudyInstanceUID) for d in datasets} == {STUDY_UID}
    assert {str(d.FrameOfReferenceUID) for d in datasets} == {FRAME_UID}
    assert {str(d.SeriesInstanceUID) for d in datasets} == {made[0].series_instance_uid}
    assert len({picture.sop_instance_uid for picture in made}) == len(made)
    assert [d.InstanceNumber for d in datasets] == list(range(1, len(made) + 1))
    first = datasets[0]
    assert (first.SeriesNumber, first.BurnedInAnnotation) == (9002, "YES")
    assert list(first.ImageType) == ["DERIVED", "SECONDARY"]
    assert (first.PatientName, first.Manufacturer) == ("Müller^Test", "Segnode")
    assert min(first.Rows, first.Columns) >= 256


def test_a_repeat_gives_the_same_bytes_in_any_order_of_files(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    first = encode_overlay(case.labels, case.reference, case.files, case.context)
    second = encode_overlay(case.labels, case.reference, case.files[::-1], case.context)
    assert first == second


def test_no_labelled_voxel_is_hidden_by_the_mean_of_a_slab(tmp_path: Path) -> None:
    grid = a_grid((24, 24, 24), axes=AXIAL)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[4::3, 4:20:5, 4:20:5] = 2
    case = a_case(tmp_path, grid, Volume(array=array, grid=grid))
    made = encode_overlay(case.labels, case.reference, case.files, case.context)
    outlined = sum(len(outline_pixels(d, Region.WT, grid)) > 0 for d in map(parsed, made))
    assert outlined == len(np.unique(np.argwhere(array)[:, 0] // 3))


def test_where_borders_coincide_all_three_outlines_are_seen(tmp_path: Path) -> None:
    labels = nested_labels(SMALL)
    labels = labels.with_array(np.where(labels.array > 0, 3, 0).astype(np.uint8))
    case = a_case(tmp_path, SMALL, labels)
    made = encode_overlay(case.labels, case.reference, case.files, case.context)
    counts = {
        region: sum(len(outline_pixels(d, region, SMALL)) for d in map(parsed, made))
        for region in Region
    }
    assert min(counts.values()) > 0


def test_an_empty_result_has_pictures_without_outlines(tmp_path: Path) -> None:
    nothing = Volume(array=np.zeros(SMALL.shape, dtype=np.uint8), grid=SMALL)
    case = a_case(tmp_path, labels=nothing)
    for made in encode_overlay(case.labels, case.reference, case.files, case.context):
        dataset = parsed(made)
        for region in Region:
            assert not len(outline_pixels(dataset, region, SMALL))


def test_a_series_of_one_grey_value_is_shown_without_error(tmp_path: Path) -> None:
    grid: Grid = SMALL
    flat = Volume(array=np.full(grid.shape, 7, dtype=np.float32), grid=grid)
    labels = nested_labels(grid)
    files = write_mr_series(tmp_path, flat)
    assert encode_overlay(labels, flat, files, a_context(labels))
