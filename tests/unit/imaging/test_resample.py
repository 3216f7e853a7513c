import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.imaging.grids import LPS_AXES, model_grid, turn
from node.imaging.resample import resample, to_native
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import a_sphere, grids, inverse, moved

SIGNED_AXES = [
    tuple(tuple(float(s * c) for c in np.eye(3)[axis]) for axis, s in zip(p, signs, strict=True))
    for p in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def numbered(grid: Grid) -> Volume:
    array = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    return Volume(array=array, grid=grid)


@given(st.sampled_from(SIGNED_AXES), st.sampled_from(SIGNED_AXES))
def test_values_move_to_their_place_without_interpolation(
    axes: tuple[tuple[float, float, float], ...], others: tuple[tuple[float, float, float], ...]
) -> None:
    volume = numbered(a_grid((3, 4, 5), axes=axes))
    turned = resample(volume, turn(volume.grid, np.array(others).T))
    back = resample(turned, volume.grid)
    assert sorted(turned.array.ravel()) == sorted(volume.array.ravel())
    assert np.array_equal(back.array, volume.array)
    where = np.argwhere(turned.array == 7)[0]
    expected = volume.grid.positions_mm(np.argwhere(volume.array == 7)[0])
    assert np.allclose(turned.grid.positions_mm(where), expected)


@pytest.mark.parametrize("axes", [AXIAL, CORONAL, SAGITTAL, tilted(AXIAL, 20.0)])
@pytest.mark.parametrize("order", ["nearest", "linear", "cubic"])
def test_left_stays_left(axes: tuple[tuple[float, float, float], ...], order: str) -> None:
    native = a_grid((30, 40, 40), axes=axes, spacing_mm=(2, 1.5, 1.5), centre_mm=(0, 0, 0))
    on_the_left = a_sphere(native, (20.0, 5.0, -8.0), 6.0).astype(np.float32)
    grid = model_grid(native, (1.0, 1.0, 1.0))
    found = resample(Volume(array=on_the_left, grid=native), grid, order=order)  # type: ignore[arg-type]
    centre = grid.positions_mm(np.argwhere(found.array > 0.5)).mean(axis=0)
    assert centre == pytest.approx([20.0, 5.0, -8.0], abs=0.8)


def test_a_grid_beyond_the_volume_gets_zeros_there() -> None:
    volume = numbered(a_grid((4, 4, 4), centre_mm=(0, 0, 0)))
    volume = volume.with_array(volume.array + 1)
    larger = a_grid((8, 8, 8), centre_mm=(0, 0, 0))
    found = resample(volume, larger).array
    assert np.array_equal(found[2:6, 2:6, 2:6], volume.array)
    assert np.count_nonzero(found) == volume.array.size
    elsewhere = resample(volume, a_grid((8, 8, 8), centre_mm=(100, 0, 0)))
    assert not elsewhere.array.any()


def test_a_part_of_the_volume_is_cut_out_unchanged() -> None:
    volume = numbered(a_grid((8, 8, 8), centre_mm=(0, 0, 0)))
    part = resample(volume, a_grid((4, 4, 4), centre_mm=(1, 0, -2)))
    assert np.array_equal(part.array, volume.array[0:4, 2:6, 3:7])


def test_a_matrix_leads_from_the_grid_to_the_volume() -> None:
    grid = a_grid((20, 20, 20), centre_mm=(0, 0, 0))
    volume = Volume(array=a_sphere(grid, (3.0, 0.0, 0.0), 3.0).astype(np.float32), grid=grid)
    shift = np.eye(4)
    shift[:3, 3] = (2.5, 0.0, -1.5)
    found = resample(volume, grid, matrix=shift)
    centre = np.average(
        grid.positions_mm(np.argwhere(found.array > 0)),
        axis=0,
        weights=found.array[found.array > 0],
    )
    assert centre == pytest.approx([0.5, 0.0, 1.5], abs=0.05)


def test_a_mask_stays_a_mask_of_its_size() -> None:
    native = a_grid((12, 50, 50), spacing_mm=(5, 1, 1), centre_mm=(0, 0, 0))
    mask = Volume(array=a_sphere(native, (0, 0, 0), 18.0), grid=native)
    found = resample(mask, model_grid(native, (1.0, 1.0, 1.0)))
    assert found.array.dtype == np.bool_
    assert np.count_nonzero(found.array) == pytest.approx(
        np.count_nonzero(mask.array) * 5, rel=0.03
    )


def test_nearest_keeps_the_type_and_cubic_the_range() -> None:
    volume = numbered(a_grid((6, 6, 6)))
    labels = volume.with_array((volume.array % 3).astype(np.uint8))
    grid = a_grid((9, 9, 9), axes=tilted(AXIAL, 30.0))
    assert resample(labels, grid, order="nearest").array.dtype == np.uint8
    step = volume.with_array((volume.array > 100).astype(np.float32))
    cubic = resample(step, grid, order="cubic").array
    assert cubic.min() >= 0.0
    assert cubic.max() <= 1.0


def nested_spheres(grid: Grid, centre: tuple[float, float, float]) -> Volume:
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[a_sphere(grid, centre, 14.0)] = 2
    array[a_sphere(grid, centre, 9.0)] = 3
    array[a_sphere(grid, centre, 5.0)] = 1
    return Volume(array=array, grid=grid)


def millilitres(labels: Volume) -> float:
    return np.count_nonzero(labels.array) * labels.grid.voxel_mm3 / 1000


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-4, 4),
    st.sampled_from([0.45, 0.7, 0.9, 1.0]),
    st.sampled_from([AXIAL, CORONAL, SAGITTAL]),
    st.floats(0, 25),
)
def test_a_sphere_of_20_mm_keeps_its_volume_on_slices_of_5_mm(
    off_mm: float,
    in_plane: float,
    axes: tuple[tuple[float, float, float], ...],
    degrees: float,
) -> None:
    model = a_grid((40, 40, 40), centre_mm=(0, 0, 0))
    labels = Volume(
        array=a_sphere(model, (off_mm, -off_mm, off_mm), 10.0) * np.uint8(3), grid=model
    )
    side = round(60 / in_plane)
    native = a_grid(
        (12, side, side),
        axes=tilted(axes, degrees),
        spacing_mm=(5.0, in_plane, in_plane),
        centre_mm=(0.3, 0.1, 0.2),
    )
    assert millilitres(to_native(labels, native)) == pytest.approx(millilitres(labels), rel=0.025)


@given(st.tuples(*[st.floats(-3, 3)] * 3))
@settings(max_examples=8, deadline=None)
def test_each_label_keeps_its_volume_and_its_place(centre: tuple[float, float, float]) -> None:
    model = a_grid((44, 44, 44), centre_mm=(0, 0, 0))
    labels = nested_spheres(model, centre)
    native = a_grid((60, 60, 60), axes=tilted(SAGITTAL, 12.0), centre_mm=(0, 0, 0))
    found = to_native(labels, native)
    for label in (1, 2, 3):
        before, after = labels.array == label, found.array == label
        assert np.count_nonzero(after) == pytest.approx(np.count_nonzero(before), rel=0.02)
        assert native.positions_mm(np.argwhere(after)).mean(axis=0) == pytest.approx(
            model.positions_mm(np.argwhere(before)).mean(axis=0), abs=0.2
        )


@given(st.sampled_from(SIGNED_AXES))
def test_labels_on_a_native_grid_of_the_model_s_voxels_come_back_exactly(
    axes: tuple[tuple[float, float, float], ...],
) -> None:
    native = a_grid((9, 10, 11), axes=axes)
    random = np.random.default_rng(3).integers(0, 4, native.shape).astype(np.uint8)
    labels = resample(Volume(array=random, grid=native), turn(native, LPS_AXES), order="nearest")
    assert np.array_equal(to_native(labels, native).array, random)


@settings(deadline=None)
@given(grids(most=6))
def test_labels_never_appear_where_the_model_had_none(native: Grid) -> None:
    model = a_grid((12, 12, 12), centre_mm=(0, 0, 0))
    labels = Volume(array=np.full(model.shape, 2, dtype=np.uint8), grid=model)
    found = to_native(labels, native)
    assert set(np.unique(found.array)) <= {0, 2}
    reach = max(native.spacing_mm)
    outside = native.positions_mm(np.argwhere(found.array > 0))
    assert np.all(np.abs(outside) <= 6.0 + reach)


def test_no_labels_give_no_labels() -> None:
    model = a_grid((6, 6, 6))
    empty = Volume(array=np.zeros(model.shape, dtype=np.uint8), grid=model)
    native = a_grid((4, 5, 6), spacing_mm=(2, 2, 2))
    found = to_native(empty, native)
    assert found.array.dtype == np.uint8
    assert found.grid is native
    assert not found.array.any()


def test_labels_far_from_the_native_field_of_view_are_left_out() -> None:
    model = a_grid((6, 6, 6), centre_mm=(300.0, 0, 0))
    labels = Volume(array=np.ones(model.shape, dtype=np.uint8), grid=model)
    assert not to_native(labels, a_grid((4, 4, 4), centre_mm=(0, 0, 0))).array.any()


def test_a_moved_head_is_put_back_by_its_registration() -> None:
    grid = a_grid((30, 30, 30), centre_mm=(0, 0, 0))
    ball = Volume(array=a_sphere(grid, (6, 2, -4), 4.0).astype(np.float32), grid=grid)
    matrix = moved((5, -10, 20), (3, -2, 1), (0, 0, 0))
    scan = resample(ball, grid, matrix=inverse(matrix))
    back = resample(scan, grid, matrix=matrix)
    overlap = np.count_nonzero((back.array > 0.5) & (ball.array > 0.5))
    assert overlap > 0.85 * np.count_nonzero(ball.array > 0.5)


def a_wave(grid: Grid) -> Volume:
    """Return a texture of a wave length of 9 mm in every direction."""
    places = grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T)
    waves = np.sin(2 * np.pi / 9.0 * places).sum(axis=1).reshape(grid.shape)
    return Volume(array=(100 + 20 * waves).astype(np.float32), grid=grid)


@pytest.mark.parametrize("degrees", [0.0, 8.0])
def test_the_anisotropic_rule_beats_linear_in_the_plane_of_thick_slices(degrees: float) -> None:
    thick = a_grid(
        (12, 40, 40), axes=tilted(AXIAL, degrees), spacing_mm=(6, 1.8, 1.8), centre_mm=(0, 0, 0)
    )
    level = thick.positions_mm(np.indices(thick.shape).reshape(3, -1).T) @ thick.directions[:, 1:]
    waves = np.sin(2 * np.pi / 9.0 * level).sum(axis=1).reshape(thick.shape)
    grid = a_grid((30, 40, 40), centre_mm=(0.3, 0.2, 0.1))
    level = grid.positions_mm(np.indices(grid.shape).reshape(3, -1).T) @ thick.directions[:, 1:]
    truth = np.sin(2 * np.pi / 9.0 * level).sum(axis=1).reshape(grid.shape)
    volume = Volume(array=(100 + 20 * waves).astype(np.float32), grid=thick)
    off = {
        order: np.abs(resample(volume, grid, order=order).array - 100 - 20 * truth).max()
        for order in ("linear", "anisotropic")
    }
    assert off["anisotropic"] < 0.3 * off["linear"]


def test_across_thick_slices_values_lie_on_the_line_between_them() -> None:
    """A cubic would swing beyond the bright slice; only what lies beside it may know of it."""
    thick = a_grid((9, 12, 12), spacing_mm=(6, 1, 1), centre_mm=(0, 0, 0))
    array = np.zeros(thick.shape, dtype=np.float32)
    array[4] = 90
    grid = a_grid((49, 12, 12), centre_mm=(0.3, 0.2, 0))
    found = resample(Volume(array=array, grid=thick), grid, order="anisotropic").array
    heights = np.abs(np.arange(49) - 24)
    expected = np.clip(90 - 15 * heights, 0, None)
    assert np.abs(found[:, 6, 6] - expected).max() < 2.0
    assert found[heights > 10].max() < 0.01


def test_thin_slices_are_cubic_in_every_direction() -> None:
    volume = a_wave(a_grid((40, 40, 40), spacing_mm=(2, 1.5, 1.5), centre_mm=(0, 0, 0)))
    grid = a_grid((30, 30, 30), axes=tilted(AXIAL, 10.0), centre_mm=(0, 0, 0))
    found = resample(volume, grid, order="anisotropic").array
    assert np.array_equal(found, resample(volume, grid, order="cubic").array)
    assert np.abs(found - a_wave(grid).array).max() < 1.5


def test_the_anisotropic_rule_never_leaves_the_range_of_the_values() -> None:
    volume = Volume(
        array=np.random.default_rng(2).integers(50, 3000, (8, 30, 30)).astype(np.int16),
        grid=a_grid((8, 30, 30), spacing_mm=(5, 0.9, 0.9), centre_mm=(0, 0, 0)),
    )
    found = resample(volume, a_grid((40, 30, 30), centre_mm=(0, 0, 0)), order="anisotropic").array
    assert found.dtype == np.float32
    assert found.min() >= 0.0
    assert found.max() <= volume.array.max()


def test_a_much_finer_source_is_averaged_so_that_noise_falls() -> None:
    fine = a_grid((60, 60, 60), spacing_mm=(0.5, 0.5, 0.5), centre_mm=(0, 0, 0))
    noise = np.random.default_rng(0).normal(100, 20, fine.shape).astype(np.float32)
    grid = a_grid((20, 20, 20), axes=tilted(AXIAL, 5.0), centre_mm=(0, 0, 0))
    found = resample(Volume(array=noise, grid=fine), grid, order="anisotropic").array
    assert found.mean() == pytest.approx(100, abs=1)
    assert found.std() < 10


def test_one_value_that_is_no_number_spoils_only_its_place() -> None:
    volume = a_wave(a_grid((20, 20, 20), spacing_mm=(1.5, 1.5, 1.5), centre_mm=(0, 0, 0)))
    spoilt = volume.array.copy()
    spoilt[3, 3, 3] = np.nan
    grid = a_grid((26, 26, 26), axes=tilted(AXIAL, 5.0), centre_mm=(0, 0, 0))
    found = resample(volume.with_array(spoilt), grid, order="cubic").array
    assert np.isfinite(found).all()
    assert np.abs(found - resample(volume, grid, order="cubic").array)[16:].max() < 0.1


def test_only_the_wanted_voxels_are_computed() -> None:
    volume = a_wave(a_grid((20, 20, 20), spacing_mm=(1.5, 1.5, 1.5), centre_mm=(0, 0, 0)))
    grid = a_grid((26, 26, 26), axes=tilted(AXIAL, 5.0), centre_mm=(0, 0, 0))
    wanted = a_sphere(grid, (0, 0, 0), 8.0)
    for order in ("linear", "cubic", "anisotropic"):
        whole = resample(volume, grid, order=order).array
        found = resample(volume, grid, order=order, where=wanted).array
        assert np.array_equal(found, np.where(wanted, whole, 0))


def test_labels_come_home_through_a_movement_by_one_resampling() -> None:
    model = a_grid((44, 44, 44), centre_mm=(0, 0, 0))
    labels = nested_spheres(model, (2.0, -1.0, 3.0))
    matrix = moved((12, -20, 8), (30, -12, 9), (0, 0, 0))
    native = a_grid((70, 70, 70), axes=tilted(SAGITTAL, 12.0), centre_mm=(30, -12, 9))
    found = to_native(labels, native, matrix=inverse(matrix))
    for label in (1, 2, 3):
        before, after = labels.array == label, found.array == label
        assert np.count_nonzero(after) == pytest.approx(np.count_nonzero(before), rel=0.02)
        centre = np.append(model.positions_mm(np.argwhere(before)).mean(axis=0), 1.0)
        assert native.positions_mm(np.argwhere(after)).mean(axis=0) == pytest.approx(
            (matrix @ centre)[:3], abs=0.1
        )
