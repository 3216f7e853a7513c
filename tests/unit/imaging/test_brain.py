import numpy as np
import pytest
from scipy import ndimage

from node.domain.errors import BrainNotFound, HeadIncomplete
from node.imaging.brain import (
    StrippedBrain,
    check_brain,
    cut_faces,
    doubts,
    is_stripped,
    main_pieces,
)
from node.imaging.volume import Array, Volume
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid
from tests.unit.imaging.cases import CONTRASTS, a_head, a_sphere, scanned, tissues

THICK = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(4.0, -10.0, 20.0))


@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_a_brain_on_a_constant_background_is_stripped(contrast: str) -> None:
    assert is_stripped(a_head(contrast, stripped=True))
    assert is_stripped(scanned(a_head(contrast, stripped=True), THICK, noise=0.0))


def test_a_background_of_another_value_than_zero_is_one_too() -> None:
    head = a_head("T1C", stripped=True)
    assert is_stripped(head.with_array(np.where(head.array == 0, -3.5, head.array)))


@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_a_head_on_a_constant_background_is_not_stripped(contrast: str) -> None:
    assert not is_stripped(a_head(contrast))
    assert not is_stripped(scanned(a_head(contrast), THICK, noise=0.0))


def test_a_head_in_noisy_air_is_not_stripped() -> None:
    assert not is_stripped(scanned(a_head("T1C"), THICK))


def test_an_empty_volume_and_a_small_thing_are_not_stripped_brains() -> None:
    grid = a_grid((40, 40, 40), spacing_mm=(4, 4, 4))
    assert not is_stripped(Volume(array=np.zeros(grid.shape, np.float32), grid=grid))
    ball = a_sphere(grid, (3.0, -12.0, 20.0), 30.0)
    assert not is_stripped(Volume(array=ball.astype(np.float32), grid=grid))


def test_the_brain_of_a_stripped_volume_is_all_but_its_background() -> None:
    head = a_head("T1", stripped=True)
    truth = tissues().array >= 3
    holes = head.with_array(np.where(ndimage.binary_erosion(truth, iterations=30), 0, head.array))
    brain = StrippedBrain()(holes)
    assert brain.array.dtype == np.bool_
    assert brain.array[truth].all()
    assert np.count_nonzero(brain.array) < 1.02 * np.count_nonzero(truth)


def test_a_brain_that_is_too_small_too_large_or_in_pieces_is_refused() -> None:
    grid = a_grid((50, 60, 60), spacing_mm=(4, 4, 4), centre_mm=(0, 0, 0))

    def balls(*radii: float) -> Volume:
        places = [(-60.0, 0.0, 0.0), (60.0, 0.0, 0.0)]
        parts = [a_sphere(grid, c, r) for c, r in zip(places, radii, strict=False)]
        return Volume(array=np.any(parts, axis=0), grid=grid)

    check_brain(balls(68.0))
    with pytest.raises(BrainNotFound, match="mL"):
        check_brain(balls(40.0))
    with pytest.raises(BrainNotFound, match="mL"):
        check_brain(balls(85.0))
    with pytest.raises(BrainNotFound, match="falls apart"):
        check_brain(balls(55.0, 50.0))
    with pytest.raises(BrainNotFound):
        check_brain(Volume(array=np.zeros(grid.shape, dtype=bool), grid=grid))


CENTRE = (0.0, 0.0, 0.0)


def a_brain_in(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = CENTRE,
    *,
    axes: Array | tuple[tuple[float, float, float], ...] = AXIAL,
) -> Volume:
    """Return a ball of 68 mm, 1317 mL, as far as it lies in a field of view."""
    grid = a_grid(shape, axes=axes, spacing_mm=spacing_mm, centre_mm=centre_mm)
    return Volume(array=a_sphere(grid, CENTRE, 68.0), grid=grid)


def test_a_whole_brain_leaves_no_doubt() -> None:
    for axes in (AXIAL, SAGITTAL, CORONAL):
        whole = a_brain_in((50, 50, 50), (4, 4, 4), axes=axes)
        check_brain(whole)
        assert cut_faces(whole) == {}
        assert doubts(whole) == ()


@pytest.mark.parametrize(
    ("axes", "shift_mm", "side"),
    [
        (AXIAL, (0.0, 0.0, -60.0), "top"),
        (SAGITTAL, (0.0, 0.0, -60.0), "top"),
        (AXIAL, (0.0, 60.0, 0.0), "front"),
        (CORONAL, (0.0, -60.0, 0.0), "back"),
        (AXIAL, (60.0, 0.0, 0.0), "right"),
        (SAGITTAL, (-60.0, 0.0, 0.0), "left"),
        (AXIAL, (0.0, 0.0, 60.0), "bottom"),
    ],
)
def test_a_brain_that_the_field_of_view_cuts_is_taken_with_a_doubt(
    axes: tuple[tuple[float, float, float], ...],
    shift_mm: tuple[float, float, float],
    side: str,
) -> None:
    cut = a_brain_in((45, 45, 45), (4, 4, 4), shift_mm, axes=axes)
    check_brain(cut)
    assert list(cut_faces(cut)) == [side]
    (doubt,) = doubts(cut)
    assert doubt.code == "brain-cut"
    assert side in doubt.text
    assert cut_faces(cut)[side] == pytest.approx(np.pi * (6.8**2 - 3.0**2), rel=0.15)


def test_series_may_end_in_the_brainstem_or_just_below_the_vertex_without_a_doubt() -> None:
    for shift_mm in (16.0, -16.0):
        nearly = a_brain_in((40, 50, 50), (4, 4, 4), (0.0, 0.0, shift_mm))
        ends = nearly.array[0] if shift_mm > 0 else nearly.array[-1]
        assert 20.0 < np.count_nonzero(ends) * 0.16 < 45.0
        assert doubts(nearly) == ()


def test_a_coronal_block_through_the_brain_is_taken_with_a_doubt() -> None:
    block = a_brain_in((14, 60, 60), (7, 3, 3), axes=CORONAL)
    check_brain(block)
    assert set(cut_faces(block)) == {"front", "back"}


def test_a_tenth_of_a_brain_is_refused_as_such() -> None:
    with pytest.raises(HeadIncomplete, match="ends inside of the brain"):
        check_brain(a_brain_in((3, 60, 60), (6, 3, 3)))
    with pytest.raises(BrainNotFound, match="mL"):
        check_brain(a_brain_in((10, 20, 20), (3, 3, 3), (0.0, 0.0, 75.0)))


def test_pieces_that_are_not_small_stay() -> None:
    mask = np.zeros((30, 10, 10), dtype=bool)
    mask[:10], mask[12:14], mask[20, 0, :5] = True, True, True
    kept = main_pieces(mask)
    assert kept[:14].sum() == 1200
    assert not kept[20].any()
    assert not main_pieces(np.zeros((3, 3, 3), dtype=bool)).any()


def test_a_stripped_brain_that_is_cut_gives_what_is_left() -> None:
    head = a_head("T1C", stripped=True)
    lower = Volume(array=head.array[:60], grid=a_grid((60, 128, 112), spacing_mm=(1.5, 1.5, 1.5)))
    assert "top" in cut_faces(StrippedBrain()(lower))
    slab = Volume(array=head.array[40:50], grid=a_grid((10, 128, 112), spacing_mm=(1.5, 1.5, 1.5)))
    with pytest.raises(HeadIncomplete):
        StrippedBrain()(slab)
