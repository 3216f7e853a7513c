"""The tumour has the shape that was asked for, on the side that was asked for."""

import numpy as np
import pytest
from scipy import ndimage

from node.imaging.volume import Array, Volume
from node.phantom.fields import axis_grid
from node.phantom.tumour import ENHANCING, NECROSIS, OEDEMA, Side, Tumour, fractions, grow, push

GRID = axis_grid((-70.0, -60.0, -30.0), (70.0, 60.0, 90.0), 1.0)
SMOOTH = Tumour(irregularity_mm=0.0)


def grown(tumour: Tumour, *, seed: int = 0, white: float = 1.0) -> Array:
    brain = Volume(array=np.ones(GRID.shape, dtype=bool), grid=GRID)
    return grow(
        np.random.default_rng(seed),
        tumour,
        brain,
        brain.array,
        np.full(GRID.shape, white, dtype=np.float32),
    ).array


def test_the_core_without_irregularity_is_the_ellipsoid() -> None:
    core = np.isin(grown(SMOOTH), (NECROSIS, ENHANCING)).sum()
    assert core == pytest.approx(4.0 / 3.0 * np.pi * 14.0 * 18.0 * 16.0, rel=0.02)


def test_irregularity_changes_the_shape_but_hardly_the_size() -> None:
    smooth = np.isin(grown(SMOOTH), (NECROSIS, ENHANCING))
    rough = np.isin(grown(Tumour()), (NECROSIS, ENHANCING))
    assert rough.sum() == pytest.approx(smooth.sum(), rel=0.25)
    assert (rough != smooth).sum() > 0.05 * smooth.sum()


def test_left_is_the_positive_side_of_the_patient() -> None:
    for side, sign in ((Side.LEFT, 1.0), (Side.RIGHT, -1.0)):
        labels = grown(Tumour(side=side))
        places = GRID.positions_mm(np.argwhere(labels))
        assert (sign * places[:, 0] > 0).mean() > 0.99
        assert sign * places[:, 0].mean() == pytest.approx(34.0, abs=3.0)


def test_the_rim_is_three_to_five_millimetres_thick() -> None:
    labels = grown(SMOOTH)
    inner = ndimage.distance_transform_edt(labels != NECROSIS)
    outermost = (labels == ENHANCING) & ndimage.binary_dilation(labels == OEDEMA)
    assert 2.5 <= inner[outermost].mean() <= 5.5
    assert inner[outermost].max() < 8.0


def test_compartments_are_nested() -> None:
    labels = grown(Tumour())
    around_necrosis = ndimage.binary_dilation(labels == NECROSIS) & (labels != NECROSIS)
    assert set(np.unique(labels[around_necrosis])) == {ENHANCING}
    assert ndimage.label(labels > 0)[1] == 1


def test_oedema_reaches_farther_in_white_matter() -> None:
    wide, narrow = (int((grown(Tumour(), white=w) == OEDEMA).sum()) for w in (1.0, 0.0))
    assert wide > 3 * narrow > 0


def test_a_tumour_outside_the_brain_is_an_error() -> None:
    nowhere = np.zeros(GRID.shape, dtype=bool)
    brain = Volume(array=nowhere, grid=GRID)
    with pytest.raises(ValueError, match="outside the brain"):
        grow(np.random.default_rng(0), Tumour(), brain, nowhere, np.zeros(GRID.shape))
    with pytest.raises(ValueError, match="outside the brain"):
        grown(Tumour(up_mm=500.0))


def test_tissue_is_pushed_away_without_folding() -> None:
    for tumour in (Tumour(), Tumour(radii_mm=(4.0, 5.0, 4.0))):
        vectors = push(tumour, GRID)
        length = np.linalg.norm(vectors, axis=-1)
        assert length.max() <= 4.0
        along = np.diff(vectors[..., 0], axis=2)  # of x per mm of x
        assert along.min() > -0.8


def test_fractions_never_exceed_a_whole_voxel() -> None:
    shares = fractions(grown(Tumour()))
    total = np.sum(list(shares.values()), axis=0)
    assert total.max() <= 1.0 + 1e-5
    assert total[GRID.shape[0] // 2].min() >= 0.0
