"""Bundle folders and inputs for the tests of this room."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from node.domain.regions import Role
from node.imaging.prepare import ModelInput
from node.imaging.volume import Grid, Volume
from node.segmentation.effort import Effort

EFFORT = Effort(device="cpu", threads=1, memory_bytes=2_000_000_000)
"""Enough for everything that is small."""

MODELS = Path(__file__).parents[3] / "models"
INTENSITY = MODELS / "intensity-glioma"
CASCADE = MODELS / "ca-cnn-brats17"
ZOO = MODELS / "brats-mri-segmentation"


def a_bundle(folder: Path, template: Path = INTENSITY) -> Path:
    """Copy a bundle of the repository below folder."""
    return Path(shutil.copytree(template, folder / template.name))


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the key `segnode` of a bundle's metadata.json."""
    path = bundle / "configs/metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata["segnode"])
    path.write_text(json.dumps(metadata))


def a_head(*, lesion: bool = True, shape: tuple[int, int, int] = (44, 60, 52)) -> ModelInput:
    """Return a crude head: an ellipsoid of tissue and, in its left half, a tumour.

    The tumour is a ball of oedema around an enhancing shell around necrosis.
    """
    rng = np.random.default_rng(0)
    position = np.indices(shape) - (np.array(shape) - 1).reshape(3, 1, 1, 1) / 2
    radii = np.array(shape).reshape(3, 1, 1, 1) / 2 - 2
    brain = ((position / radii) ** 2).sum(axis=0) < 1
    distance = np.sqrt(((position - np.array([0, 0, 10]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    oedema, rim, necrosis = distance < 11, distance < 7, distance < 4
    channels = {}
    for role, (bright, ring, hole) in {
        Role.FLAIR: (60, 40, 40),
        Role.T1: (-5, -5, -20),
        Role.T1C: (-5, 80, -20),
        Role.T2: (60, 40, 70),
    }.items():
        image = 100 + rng.normal(0, 8, shape)
        if lesion:
            image += bright * oedema + (ring - bright) * rim + (hole - ring) * necrosis
        channels[role] = np.where(brain, image, 0).astype(np.float32)
    grid = Grid(shape=shape, affine=np.eye(4)[[2, 1, 0, 3]])
    return ModelInput(
        channels={role: Volume(array=array, grid=grid) for role, array in channels.items()},
        brain=Volume(array=brain, grid=grid),
        grid=grid,
    )
