"""Letters say where the picture's sides point; windows and outlines behave at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.regions import Region
from node.results.captions import millilitres
from node.results.drawing import direction_letters, legend, outlines, rim_letters, window_of
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL


@pytest.mark.parametrize(
    ("axes", "letters"),
    [
        (AXIAL, ("R", "L", "A", "P")),
        (CORONAL, ("R", "L", "H", "F")),
        (SAGITTAL, ("A", "P", "H", "F")),
    ],
)
def test_letters_stand_as_radiologists_read_them(
    axes: tuple[tuple[float, float, float], ...], letters: tuple[str, str, str, str]
) -> None:
    assert rim_letters(np.array(axes, dtype=float).T) == letters


def test_an_oblique_side_has_two_letters() -> None:
    slightly, clearly = np.deg2rad([10, 40])
    assert direction_letters([np.cos(slightly), np.sin(slightly), 0]) == "L"
    assert direction_letters([-np.cos(clearly), np.sin(clearly), 0]) == "RP"


@given(st.integers(0, 2**32 - 1))
def test_outlines_of_nested_regions_never_hide_each_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = random.random((16, 16)) < 0.6
    core = whole & (random.random((16, 16)) < 0.7)
    enhancing = core & (random.random((16, 16)) < 0.7)
    lines = outlines({Region.WT: whole, Region.TC: core, Region.ET: enhancing})
    total = sum(line.astype(int) for line in lines.values())
    assert np.max(total) <= 1


def test_a_window_leaves_out_air_and_the_brightest_vessels() -> None:
    array = np.zeros((20, 20, 20), dtype=np.float32)
    array[5:15] = 100.0
    array[10, 10, :4] = 5000.0
    window = window_of(array)
    assert window.low == pytest.approx(0.0)
    assert 100.0 <= window.high < 5000.0


@pytest.mark.parametrize(
    ("volume", "text"), [(0.0, "0.0 mL"), (0.04, "< 0.1 mL"), (0.26, "0.3 mL"), (57.3, "57.3 mL")]
)
def test_a_small_volume_is_never_written_as_zero(volume: float, text: str) -> None:
    assert millilitres(volume) == text


@pytest.mark.parametrize("columns", [256, 512, 1600])
def test_a_legend_is_as_wide_as_its_picture(columns: int) -> None:
    entries = [((255, 0, 0), "Whole tumour (WT): 57.3 mL"), ((0, 255, 0), "Tumour core: 1 mL")]
    strip = legend(columns, entries, ["A long sentence that has to be folded " * 4])
    assert strip.shape[1:] == (columns, 3)
    assert (strip == (255, 0, 0)).all(axis=-1).any()
