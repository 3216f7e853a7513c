"""What a manifest demands of the inputs; free of SimpleITK, so listing bundles is light."""

from dataclasses import dataclass
from typing import Literal

from node.imaging.normalise import Normalisation

Interpolation = Literal["anisotropic", "linear"]
Space = Literal["native", "brats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a bundle's manifest demands.

    spacing_mm: along (slice, row, column). orientation: letters of the patient's left,
    posterior and superior, which columns, rows and slices run to. normalisation, percentiles:
    see node.imaging.normalise. brain: "mask" sets everything outside it to 0, "keep" leaves
    the head. bias_correction: N4, see node.imaging.bias. interpolation: "anisotropic" is cubic
    in the plane of a series and, where its slices are thick, linear across them, "linear" is so
    everywhere. space: "native" lies along the reference series' patient axes, "brats" is the
    grid and pose of BraTS, see node.imaging.space. crop_margin_mm: the model's grid is cut to
    the brain's box and so much more; None leaves it whole.
    """

    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: Literal["LPS"] = "LPS"
    normalisation: Normalisation = "none"
    percentiles: tuple[float, float] | None = None
    brain: Literal["mask", "keep"] = "mask"
    bias_correction: bool = False
    interpolation: Interpolation = "anisotropic"
    space: Space = "native"
    crop_margin_mm: float | None = None
