"""What an engine gives: labels, and what its single views think of the volumes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from node.domain.quality import Finding
from node.domain.regions import Region
from node.segmentation.effort import Effort

Progress = Callable[[float], None]
"""Told the finished part of the work, rising from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Labels of one study, and the opinions behind them.

    labels: uint8 (slice, row, column), in the engine's own convention.
    opinions: for each region its size in voxels as single views, folds or mirrored inputs
    see it; their disagreement tells how sure the answer is. Empty where there is only one.
    findings: what lowers the trust in the labels.
    """

    labels: NDArray[np.uint8]
    opinions: Mapping[Region, tuple[float, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class Segmenter(Protocol):
    """What an engine is: from channels and brain to labels in its own convention."""

    def __call__(
        self,
        channels: NDArray[np.float32],
        brain: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        """Segment one study.

        channels: (role, slice, row, column) in the manifest's order, as its preprocessing
        says. Raises MemoryError (or torch's own) when the effort's memory is not there.
        """
        ...
