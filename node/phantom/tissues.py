"""Tissues of the phantom and what a 3 T scanner measures in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class Tissue(IntEnum):
    """What a voxel of the head is made of; the value is the code in the label map."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4  # cortical: no signal
    MARROW = 5  # diploe and vertebral bodies
    DURA = 6
    CSF = 7
    GREY = 8
    WHITE = 9
    BLOOD = 10
    MUCOSA = 11
    VITREOUS = 12
    LENS = 13
    CHOROID = 14
    OEDEMA = 15
    ENHANCING = 16
    NECROSIS = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """MR properties of a tissue at 3 T, round values of the literature.

    proton_density: relative to water. t1_contrast_ms: T1 some minutes after a single dose of a
    gadolinium agent; equal to t1_ms behind an intact blood-brain barrier.
    fatty: signal that fat suppression removes. flows: gives no signal in spin echoes.
    """

    proton_density: float
    t1_ms: float
    t2_ms: float
    t1_contrast_ms: float
    fatty: bool = False
    flows: bool = False


def _tissue(
    density: float, t1_ms: float, t2_ms: float, contrast: float | None = None
) -> Relaxation:
    return Relaxation(
        proton_density=density,
        t1_ms=t1_ms,
        t2_ms=t2_ms,
        t1_contrast_ms=t1_ms if contrast is None else contrast,
    )


def _fat(density: float, t1_ms: float, t2_ms: float) -> Relaxation:
    return Relaxation(
        proton_density=density, t1_ms=t1_ms, t2_ms=t2_ms, t1_contrast_ms=t1_ms, fatty=True
    )


T = Tissue

RELAXATION: Final[Mapping[Tissue, Relaxation]] = MappingProxyType(
    {
        T.AIR: _tissue(0.0, 1000.0, 10.0),
        T.SKIN: _tissue(0.55, 900.0, 35.0, 800.0),
        T.FAT: _fat(0.80, 370.0, 95.0),
        T.MUSCLE: _tissue(0.75, 1350.0, 38.0, 1150.0),
        T.BONE: _tissue(0.06, 900.0, 20.0),
        T.MARROW: _fat(0.45, 480.0, 65.0),
        T.DURA: _tissue(0.45, 1100.0, 30.0, 450.0),
        T.CSF: _tissue(1.0, 3700.0, 1500.0),
        T.GREY: _tissue(0.82, 1350.0, 92.0),
        T.WHITE: _tissue(0.70, 850.0, 68.0),
        T.BLOOD: Relaxation(
            proton_density=0.85, t1_ms=1700.0, t2_ms=120.0, t1_contrast_ms=450.0, flows=True
        ),
        T.MUCOSA: _tissue(0.80, 1400.0, 110.0, 620.0),
        T.VITREOUS: _tissue(1.0, 3600.0, 1200.0),
        T.LENS: _tissue(0.60, 1100.0, 28.0),
        T.CHOROID: _tissue(0.88, 1700.0, 150.0, 650.0),
        T.OEDEMA: _tissue(0.88, 1600.0, 175.0),
        T.ENHANCING: _tissue(0.85, 1500.0, 118.0, 580.0),
        T.NECROSIS: _tissue(0.95, 2300.0, 250.0, 2100.0),
    }
)
