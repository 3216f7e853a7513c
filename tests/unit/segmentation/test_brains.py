import warnings

import numpy as np
import pytest

from node.domain.errors import BrainNotFound
from node.imaging.bridges import from_nifti
from node.imaging.measure import dice
from node.imaging.volume import Volume
from node.segmentation.brains import DeepBet, choose_extractor
from tests.support.mr_series import SAGITTAL, a_grid
from tests.support.shared import shared_path
from tests.unit.imaging.cases import a_head, scanned, tissues


def test_a_stripped_series_needs_no_network() -> None:
    stripped = a_head("T1C", stripped=True)
    extractor = choose_extractor(stripped)
    assert extractor.name == "as received (skull-stripped)"
    assert dice(extractor(stripped).array, tissues().array >= 3) > 0.99


def test_a_head_gets_the_network() -> None:
    assert choose_extractor(a_head("T1C")).name.startswith("deepbet 1.")


@pytest.mark.slow
def test_the_network_finds_the_brain_on_the_grid_of_the_series() -> None:
    grid = a_grid((34, 180, 160), spacing_mm=(5, 1.1, 1.1), centre_mm=(4.0, -10.0, 20.0))
    truth = tissues()
    for place in (grid, a_grid((108, 132, 124), axes=SAGITTAL, spacing_mm=(1.5, 1.5, 1.5))):
        brain = DeepBet()(scanned(a_head("T1C"), place))
        expected = scanned(truth.with_array((truth.array >= 3) * np.float32(1)), place, noise=0.0)
        assert brain.grid is place
        assert brain.array.dtype == np.bool_
        assert dice(brain.array, expected.array >= 0.5) > 0.95


@pytest.mark.slow
def test_a_series_without_a_head_has_no_brain() -> None:
    grid = a_grid((30, 64, 64), spacing_mm=(5, 4, 4))
    empty = Volume(array=np.zeros(grid.shape, dtype=np.float32), grid=grid)
    with pytest.raises(BrainNotFound):
        DeepBet()(empty)
    noise = empty.with_array(np.random.default_rng(0).random(grid.shape).astype(np.float32))
    with pytest.raises(BrainNotFound):
        DeepBet()(noise)


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize(
    ("file", "expected_ml"),
    [
        ("TCGA-FG-6692-raw/TCGA-FG-6692-raw_t1ce.nii.gz", 1550),
        ("TCGA-FG-6692-raw/TCGA-FG-6692-raw_t1.nii.gz", 1590),
        ("pyradiomics-brain1-raw/pyradiomics-brain1-raw_t1ce.nii.gz", 1700),
    ],
)
def test_real_heads_have_a_brain_of_the_size_seen_by_eye(file: str, expected_ml: float) -> None:
    path = shared_path(f"data/glioma/{file}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nibabel as nib  # noqa: PLC0415

        image = nib.load(path)
    head = from_nifti(np.asanyarray(image.dataobj).astype(np.float32), image.affine)
    extractor = choose_extractor(head)
    brain = extractor(head)
    assert extractor.name.startswith("deepbet")
    assert np.count_nonzero(brain.array) * head.grid.voxel_mm3 / 1000 == pytest.approx(
        expected_ml, rel=0.05
    )
