"""Turning arrays to the axes with which a network was trained, and back; nothing is resampled."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from node.segmentation.network_options import OPPOSITE

OURS: Final = "SPL"
"""Where Segnode's (slice, row, column) of a model grid run: superior, posterior, left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """order: which of our axes becomes each axis of the network. backwards: those turned round."""

    order: tuple[int, ...]
    backwards: tuple[int, ...]

    @classmethod
    def to(cls, axes: str) -> Self:
        """Return the turn to axes that run as three letters say, as "LPS" or "RAS"."""
        order = tuple(OURS.index(letter if letter in OURS else OPPOSITE[letter]) for letter in axes)
        backwards = tuple(i for i, letter in enumerate(axes) if letter not in OURS)
        return cls(order=order, backwards=backwards)

    def there(self, channels: NDArray[Any]) -> NDArray[Any]:
        """Turn (channel, slice, row, column) to (channel, the network's axes)."""
        turned = channels.transpose(0, *(axis + 1 for axis in self.order))
        return np.flip(turned, tuple(axis + 1 for axis in self.backwards))

    def back(self, values: NDArray[Any]) -> NDArray[Any]:
        """Turn an array on the network's axes, without channels, to (slice, row, column)."""
        return np.flip(values, self.backwards).transpose(tuple(np.argsort(self.order)))

    def spacing(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the spacing along the network's axes."""
        first, second, third = (spacing_mm[axis] for axis in self.order)
        return (first, second, third)
