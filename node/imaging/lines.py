"""Whether straight lines in a plane stay inside a mask."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from node.imaging.volume import Affine

COARSE: Final = np.linspace(0.0, 1.0, 9)[1:-1]
"""Places along a line that are looked at first; most lines that leave a mask are seen there."""

AT_ONCE: Final = 4096
FEW: Final = 32
"""Lines that are looked at together, coarsely and closely."""


class Room:
    """A mask of a plane (row, column), a pixel wider, in which lines may lie.

    Lines are (n, 2, 2): both ends as fractional (row, column).
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        wide = ndimage.generate_binary_structure(2, 2)
        self._mask = ndimage.binary_dilation(np.pad(mask, 2), wide)

    def holds(self, lines: Affine) -> NDArray[np.bool_]:
        """Return for each line whether it stays inside, seen at steps of half a pixel."""
        longest = float(np.abs(lines[:, 1] - lines[:, 0]).max())
        return self._sees(lines, np.linspace(0.0, 1.0, int(2 * longest) + 3))

    def first_held(self, lines: Affine) -> Affine:
        """Return the first line that stays inside, or the last line of all."""
        for start in range(0, len(lines), AT_ONCE):
            some = lines[start : start + AT_ONCE]
            some = some[self._sees(some, COARSE)]
            for place in range(0, len(some), FEW):
                few = some[place : place + FEW]
                held = np.flatnonzero(self.holds(few))
                if held.size:
                    first: Affine = few[held[0]]
                    return first
        last: Affine = lines[-1]
        return last

    def _sees(self, lines: Affine, places: Affine) -> NDArray[np.bool_]:
        points = lines[:, :1] + places[:, None] * (lines[:, 1:] - lines[:, :1])
        # Rounded twice, so that noise of the last digit moves no place to another pixel.
        rows, columns = np.moveaxis(np.rint(points.round(6)).astype(np.intp) + 2, -1, 0)
        inside: NDArray[np.bool_] = self._mask[rows, columns].all(axis=1)
        return inside
