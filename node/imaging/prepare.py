"""From series to what a model sees; training and inference share it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from node.domain.regions import Role
from node.imaging.normalise import Normalisation, normalise
from node.imaging.register import Registration
from node.imaging.resample import model_grid, resample
from node.imaging.volume import Grid, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a bundle's manifest demands.

    spacing_mm: along (slice, row, column). orientation: letters of the patient's left,
    posterior and superior, which columns, rows and slices run to. brain: "mask" sets
    everything outside it to 0, "keep" leaves the head.
    """

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: Literal["LPS"] = "LPS"
    normalisation: Normalisation = "none"
    brain: Literal["mask", "keep"] = "mask"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInput:
    """All roles on one grid. channels: float32; brain: bool."""

    channels: Mapping[Role, Volume]
    brain: Volume
    grid: Grid


def prepare(
    volumes: Mapping[Role, Volume],
    registrations: Mapping[Role, Registration],
    brain: Volume,
    spec: Preprocessing,
) -> ModelInput:
    """Put all roles on the model's grid, brain-masked and normalised as the spec says.

    The one role without a registration is the reference; the model's grid covers it. The
    brain is bool on any grid in the reference's patient coordinates.
    Raises ValueError when not exactly one role is without a registration.
    """
    reference = _reference(volumes, registrations)
    grid = model_grid(volumes[reference].grid, spec.spacing_mm, spec.orientation)
    mask = resample(brain, grid)
    channels = {}
    for role, volume in volumes.items():
        matrix = None if role == reference else registrations[role].matrix
        placed = resample(volume, grid, matrix=matrix)
        if spec.brain == "mask":
            placed = placed.with_array(np.where(mask.array, placed.array, 0).astype(np.float32))
        channels[role] = normalise(placed, mask, spec.normalisation)
    return ModelInput(channels=channels, brain=mask, grid=grid)


def _reference(volumes: Mapping[Role, Volume], registrations: Mapping[Role, Registration]) -> Role:
    without = [role for role in volumes if role not in registrations]
    if len(without) != 1:
        raise ValueError(f"{len(without)} roles without a registration; the reference is one")
    return without[0]
