import numpy as np
import pytest

from node.domain.errors import BrainNotFound
from node.domain.regions import Role
from node.imaging.measure import dice
from node.imaging.volume import Volume
from node.segmentation.brains import choose_extractor, extract_brain
from node.segmentation.brains.choose import best_effort
from node.segmentation.brains.deepbet import DeepBet
from node.segmentation.effort import Effort
from tests.support.mr_series import SAGITTAL, a_grid
from tests.unit.imaging.cases import a_head, scanned, tissues

CPU = Effort(device="cpu", threads=2, memory_bytes=1 << 32)


def test_a_stripped_series_needs_no_network() -> None:
    stripped = a_head("T1C", stripped=True)
    assert choose_extractor(stripped).name == "as received (skull-stripped)"
    found = extract_brain(stripped, Role.T1C)
    assert found.method == "as received (skull-stripped)"
    assert found.findings == ()
    assert dice(found.mask.array, tissues().array >= 3) > 0.99


def test_a_head_gets_a_network() -> None:
    assert choose_extractor(a_head("T1C"), Role.T1C, CPU).name.startswith(("deepbet 1.", "HD-BET"))


def test_the_machine_says_what_there_is_for_a_brain() -> None:
    effort = best_effort()
    assert effort.threads >= 1
    assert effort.memory_bytes > 0


@pytest.mark.slow
def test_the_network_finds_the_brain_on_the_grid_of_the_series() -> None:
    grid = a_grid((34, 180, 160), spacing_mm=(5, 1.1, 1.1), centre_mm=(4.0, -10.0, 20.0))
    truth = tissues()
    for place in (grid, a_grid((108, 132, 124), axes=SAGITTAL, spacing_mm=(1.5, 1.5, 1.5))):
        brain = DeepBet(effort=CPU)(scanned(a_head("T1C"), place))
        expected = scanned(truth.with_array((truth.array >= 3) * np.float32(1)), place, noise=0.0)
        assert brain.grid is place
        assert brain.array.dtype == np.bool_
        assert dice(brain.array, expected.array >= 0.5) > 0.95


@pytest.mark.slow
def test_a_series_without_a_head_has_no_brain() -> None:
    grid = a_grid((30, 64, 64), spacing_mm=(5, 4, 4))
    empty = Volume(array=np.zeros(grid.shape, dtype=np.float32), grid=grid)
    with pytest.raises(BrainNotFound):
        DeepBet(effort=CPU)(empty)
    noise = empty.with_array(np.random.default_rng(0).random(grid.shape).astype(np.float32))
    with pytest.raises(BrainNotFound):
        DeepBet(effort=CPU)(noise)
