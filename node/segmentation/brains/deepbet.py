"""deepbet: the light extractor, made for T1."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np

from node.domain.errors import BrainNotFound, BundleMissing
from node.imaging.brain import check_brain
from node.imaging.grids import turn
from node.imaging.resample import resample
from node.imaging.volume import Array, Volume
from node.segmentation.brains.computing import computing
from node.segmentation.effort import Effort

WHEEL: Final = "deepbet"
THRESHOLD: Final = 0.5

RAS_AXES: Final = np.diag([-1.0, -1.0, 1.0])
"""Directions, LPS, in which the network wants its three axes to run: to R, A and S."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepBet:
    """deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845, MIT).

    Made for T1 of healthy adults; finds the brain on T1 after contrast and FLAIR as well.
    Its weights are part of the wheel. Axes are turned for it, nothing is interpolated here.
    """

    effort: Effort

    @property
    def name(self) -> str:
        """Method and version."""
        return f"{WHEEL} {installed_version()}"

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference.

        Raises BrainNotFound when there is none, HeadIncomplete when most of it is cut off,
        BundleMissing without network or weights, OutOfMemory.
        """
        turned = resample(reference, turn(reference.grid, RAS_AXES))
        mask = self._extract(np.ascontiguousarray(turned.array, dtype=np.float32))
        brain = resample(turned.with_array(mask), reference.grid)
        check_brain(brain)
        return brain

    def _extract(self, values: Array) -> Array:
        """Bool mask of (x, y, z) values in RAS."""
        with computing(self.effort, WHEEL), warnings.catch_warnings():
            # The network was saved in a form that torch is about to give up.
            warnings.simplefilter("ignore")
            network = _network(on_cpu=self.effort.device == "cpu")
            try:
                found: Array = network.postprocess(network.run_model(values) > THRESHOLD)
            except (AssertionError, ValueError, IndexError) as error:
                raise BrainNotFound("deepbet found nothing like a brain.") from error
        return found > 0


def installed_version() -> str | None:
    """Return the version of the wheel; None when it is not installed."""
    try:
        return version(WHEEL)
    except PackageNotFoundError:
        return None


@cache
def _network(*, on_cpu: bool) -> Any:
    """Load the network once for the life of the process."""
    try:
        from deepbet.bet import BrainExtraction  # noqa: PLC0415 - torch is heavy

        return BrainExtraction(no_gpu=on_cpu)
    except (ImportError, OSError, ValueError) as error:
        raise BundleMissing("The brain extractor deepbet is not installed whole.") from error
