"""Brain extractors that are networks, behind imaging's port."""

import threading
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from node.domain.errors import BrainNotFound, BundleMissing
from node.imaging.brain import BrainExtractor, StrippedBrain, check_brain, is_stripped
from node.imaging.grids import turn
from node.imaging.resample import resample
from node.imaging.volume import Array, Volume

THRESHOLD: Final = 0.5

RAS_AXES: Final = np.diag([-1.0, -1.0, 1.0])
"""Directions, LPS, in which the network wants its three axes to run: to R, A and S."""

_ONE_AT_A_TIME: Final = threading.Lock()


class DeepBet:
    """deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845, MIT).

    Made for T1 of healthy adults; finds the brain on T1 after contrast and FLAIR as well.
    Its weights are part of the wheel. Axes are turned for it, nothing is interpolated here.
    """

    def __init__(self) -> None:
        self.name = f"deepbet {version('deepbet')}"

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference.

        Raises BrainNotFound when there is none, BundleMissing without network or weights.
        """
        turned = resample(reference, turn(reference.grid, RAS_AXES))
        mask = _extract(np.ascontiguousarray(turned.array, dtype=np.float32))
        brain = resample(turned.with_array(mask), reference.grid)
        check_brain(brain)
        return brain


def choose_extractor(reference: Volume) -> BrainExtractor:
    """Return what suits the reference: no network where the skull is gone already."""
    return StrippedBrain() if is_stripped(reference) else DeepBet()


def _extract(values: Array) -> Array:
    """Bool mask of (x, y, z) values in RAS."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        # The network was saved in a form that torch is about to give up.
        warnings.simplefilter("ignore")
        network = _network()
        try:
            found: Array = network.postprocess(network.run_model(values) > THRESHOLD)
        except (AssertionError, ValueError) as error:
            raise BrainNotFound("The brain extraction found nothing like a brain.") from error
    return found > 0


@cache
def _network() -> Any:
    """Load the network once for the life of the process; on the GPU where there is one."""
    try:
        from deepbet.bet import BrainExtraction  # noqa: PLC0415 - torch is heavy

        return BrainExtraction()
    except (ImportError, OSError, ValueError) as error:
        raise BundleMissing("The brain extractor deepbet is not installed whole.") from error
