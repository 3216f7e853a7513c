"""From series to what a model sees; training and inference share it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from node.domain.errors import RegistrationFailed
from node.domain.quality import Finding
from node.domain.regions import Role
from node.imaging.bias import correct_bias
from node.imaging.grids import Box, box_around, cut, model_grid
from node.imaging.normalise import normalise
from node.imaging.preprocessing import Preprocessing
from node.imaging.register import Registration
from node.imaging.resample import resample
from node.imaging.space import BRATS_GRID, Placement, place_in_brats
from node.imaging.volume import Affine, Grid, Volume

__all__ = ["ModelInput", "Preprocessing", "prepare"]

NOT_PLACED: Final = "not-placed"
"""Code of the finding that the model sees the head as it lay in the scanner."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInput:
    """All roles on one grid. channels: float32; brain: bool.

    matrix: (4, 4) LPS mm, point of the grid -> point of the reference series; None where both
    are one. findings: what lowers the trust in what a model makes of it.
    """

    channels: Mapping[Role, Volume]
    brain: Volume
    grid: Grid
    matrix: Affine | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def way_home(self) -> Affine | None:
        """(4, 4) LPS mm, point of the reference series -> point of the grid; None if one."""
        return None if self.matrix is None else np.linalg.inv(self.matrix).astype(np.float64)


def prepare(
    volumes: Mapping[Role, Volume],
    registrations: Mapping[Role, Registration],
    brain: Volume,
    spec: Preprocessing,
    *,
    placement: Placement | None = None,
    threads: int = 1,
) -> ModelInput:
    """Put all roles on the model's grid, brain-masked and normalised as the spec says.

    The one role without a registration is the reference; the model's grid covers it, or is
    the grid of BraTS. Each role is resampled once, from its own voxels. The brain is bool on
    any grid in the reference's patient coordinates. placement: where the head lies for BraTS,
    when it is known; else it is found, and a head for which that fails stays in its own pose,
    with a finding. threads: CPU threads to use; the result does not depend on them.
    Raises ValueError when not exactly one role is without a registration.
    """
    reference = _reference(volumes, registrations)
    findings: tuple[Finding, ...] = ()
    if spec.space == "brats" and placement is None:
        placement, findings = _placed(volumes[reference], brain)
    matrix = placement.matrix if spec.space == "brats" and placement is not None else None
    if matrix is None:
        grid = model_grid(volumes[reference].grid, spec.spacing_mm, spec.orientation)
    else:
        grid = BRATS_GRID
    mask = resample(brain, grid, matrix=matrix, threads=threads)
    if spec.crop_margin_mm is not None:
        mask = _cropped(mask, spec.crop_margin_mm)
    move = np.eye(4) if matrix is None else matrix
    moves = {
        role: move if role == reference else registrations[role].matrix @ move for role in volumes
    }
    workers = max(1, min(threads, len(volumes)))
    work = partial(_channel, mask=mask, spec=spec, threads=max(1, threads // workers))
    with ThreadPoolExecutor(workers) as pool:
        made = list(pool.map(work, volumes.values(), (moves[role] for role in volumes)))
    return ModelInput(
        channels=dict(zip(volumes, made, strict=True)),
        brain=mask,
        grid=mask.grid,
        matrix=matrix,
        findings=findings,
    )


def _channel(
    volume: Volume, move: Affine, *, mask: Volume, spec: Preprocessing, threads: int
) -> Volume:
    """One role on the grid of the mask; of a masked one only the brain's box is resampled."""
    grid, where = mask.grid, mask.array
    box: Box = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    if spec.brain == "mask":
        box = box_around(where) or (slice(0, 1), slice(0, 1), slice(0, 1))
    part = resample(
        volume,
        cut(grid, box),
        matrix=move,
        order=spec.interpolation,
        where=where[box] if spec.brain == "mask" else None,
        threads=threads,
    )
    values = np.zeros(grid.shape, dtype=np.float32)
    values[box] = part.array
    placed = Volume(array=values, grid=grid)
    if spec.bias_correction:
        placed = correct_bias(placed, mask)
    return normalise(placed, mask, spec.normalisation, spec.percentiles)


def _placed(reference: Volume, brain: Volume) -> tuple[Placement | None, tuple[Finding, ...]]:
    try:
        return place_in_brats(reference, brain), ()
    except RegistrationFailed as error:
        text = f"The model knows heads in the pose of BraTS; this one stays as it lay. {error.what}"
        return None, (Finding(code=NOT_PLACED, text=text),)


def _cropped(mask: Volume, margin_mm: float) -> Volume:
    """Return a brain cut to its box and a margin; an empty one is left whole."""
    margin = [int(np.ceil(margin_mm / mm - 1e-6)) for mm in mask.grid.spacing_mm]
    box = box_around(mask.array, (margin[0], margin[1], margin[2]))
    return mask if box is None else Volume(array=mask.array[box], grid=cut(mask.grid, box))


def _reference(volumes: Mapping[Role, Volume], registrations: Mapping[Role, Registration]) -> Role:
    without = [role for role in volumes if role not in registrations]
    if len(without) != 1:
        raise ValueError(f"{len(without)} roles without a registration; the reference is one")
    return without[0]
