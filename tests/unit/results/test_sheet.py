"""The demo picture shows three planes through the tumour."""

from pathlib import Path

import numpy as np
from PIL import Image

from node.imaging.volume import Volume
from node.results.codes import STYLES
from node.results.overlay import render_png
from tests.unit.results.cases import SMALL, a_case


def test_the_picture_shows_every_region_with_its_colour(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    path = tmp_path / "sheet.png"
    render_png(case.labels, case.reference, path, case.context)
    picture = np.asarray(Image.open(path))
    for style in STYLES:
        assert (picture == style.rgb).all(axis=-1).any()


def test_the_tumour_on_the_left_is_right_of_the_middle_of_the_axial_panel(tmp_path: Path) -> None:
    case = a_case(tmp_path)
    path = tmp_path / "sheet.png"
    render_png(case.labels, case.reference, path, case.context)
    picture = np.asarray(Image.open(path))
    first_gap = int(np.flatnonzero((picture[:300] == 0).all(axis=(0, 2)))[0])
    panel = picture[:300, :first_gap]
    columns = np.argwhere((panel == STYLES[2].rgb).all(axis=-1))[:, 1]
    assert columns.mean() > 0.5 * first_gap


def test_an_empty_result_is_drawn_too(tmp_path: Path) -> None:
    nothing = Volume(array=np.zeros(SMALL.shape, dtype=np.uint8), grid=SMALL)
    case = a_case(tmp_path, labels=nothing)
    path = tmp_path / "sheet.png"
    render_png(case.labels, case.reference, path, case.context)
    assert path.stat().st_size > 0
