"""The whole room: files of two series in, labels on the native grid of the reference out."""

from pathlib import Path

import numpy as np
import pytest

from node.domain.regions import Region, Role
from node.imaging.artefacts import load_volume, save_volume
from node.imaging.assemble import assemble
from node.imaging.brain import StrippedBrain, is_stripped
from node.imaging.measure import dice, labels_to_region, region_volumes
from node.imaging.prepare import Preprocessing, prepare
from node.imaging.register import Gate, register
from node.imaging.resample import resample, to_native
from tests.support.mr_series import SAGITTAL, a_grid, tilted, write_mr_series
from tests.unit.imaging.cases import a_head, error_mm, moved, scanned, tissues

CENTRE = (4.0, -10.0, 20.0)
MOVE = moved((4.0, -3.0, 5.0), (5.0, -6.0, 4.0))


def test_a_tumour_on_the_left_is_found_there_and_keeps_its_volume(tmp_path: Path) -> None:
    reference_grid = a_grid(
        (108, 132, 124), axes=tilted(SAGITTAL, 7.0), spacing_mm=(1.5, 1.5, 1.5), centre_mm=CENTRE
    )
    thick = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=CENTRE)
    written = {
        Role.T1C: scanned(a_head("T1C", stripped=True), reference_grid, noise=0.0),
        Role.FLAIR: scanned(a_head("FLAIR", stripped=True), thick, MOVE, noise=0.0),
    }
    volumes = {}
    for role, volume in written.items():
        save_volume(
            assemble(write_mr_series(tmp_path / role, volume, seed=7)), tmp_path / f"{role}.v"
        )
        volumes[role] = load_volume(tmp_path / f"{role}.v")
    reference = volumes[Role.T1C]

    registration = register(volumes[Role.FLAIR], reference, same_frame=True)
    assert registration.gate == Gate.ALIGNED
    assert error_mm(registration.matrix, MOVE) < 0.3

    assert is_stripped(reference)
    spec = Preprocessing(normalisation="none")
    seen = prepare(volumes, {Role.FLAIR: registration}, StrippedBrain()(reference), spec)
    bright = (seen.channels[Role.T1C].array > 800) & (seen.channels[Role.FLAIR].array > 650)
    labels = seen.brain.with_array(bright.astype(np.uint8) * np.uint8(3))

    native = to_native(labels, reference.grid)
    truth = tissues()
    expected = resample(truth.with_array(truth.array == 6), reference.grid)
    found = labels_to_region(native, Region.ET)
    assert dice(found, expected.array) > 0.93
    assert native.grid.positions_mm(np.argwhere(found)).mean(axis=0) == pytest.approx(
        [36.0, 8.0, 32.0], abs=0.7
    )
    whole = region_volumes(native)[0]
    model_ml = np.count_nonzero(bright) * seen.grid.voxel_mm3 / 1000
    assert whole.millilitres == pytest.approx(model_ml, rel=0.02)
