"""The four sequences of the phantom: what the scanner was told, and what signal it measures.

Protocols of a clinical tumour study: 2D axial T1 spin echo and T2 turbo spin echo of 5 mm,
3D sagittal MPRAGE after contrast agent and 3D sagittal dark-fluid SPACE of 1 mm.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from node.domain.regions import Role
from node.phantom.tissues import RELAXATION, Tissue

READOUT_MS: Final = 7.5
"""Time between two excitations of an MPRAGE train."""

READOUTS: Final = 128
"""Excitations of an MPRAGE train, its centre at the inversion time."""

FLOW_VOID: Final = 0.12
"""Signal that flowing blood keeps in a spin echo."""

FAT_LEFT: Final = 0.18
"""Signal that fat keeps under fat suppression."""


class Contrast(StrEnum):
    """Signal equation of a sequence."""

    SPIN_ECHO = "spin echo"
    DARK_FLUID = "inversion recovery turbo spin echo"
    MPRAGE = "magnetisation-prepared gradient echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class MRPhysics:
    """Acquisition parameters as the headers of an MR image state them (PS3.3 C.8.3.1).

    Texts are DICOM values, several of them joined by a backslash.
    contrast_agent: "" when none was given.
    """

    scanning_sequence: str
    sequence_variant: str
    mr_acquisition_type: str
    sequence_name: str
    repetition_time_ms: float
    echo_time_ms: float
    flip_angle_deg: float
    scan_options: str = ""
    inversion_time_ms: float | None = None
    echo_train_length: int = 1
    contrast_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the slices are planned.

    shape: (slices, rows, columns); spacing_mm: their distances.
    thickness_mm: what one slice averages over; less than the spacing where there is a gap.
    plane: "axial" (slices upwards) or "sagittal" (slices from right to left).
    tilt_deg: rotation about the LPS axes; centre_mm: LPS.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    thickness_mm: float
    plane: str
    tilt_deg: tuple[float, float, float]
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """One series of the study.

    effective_echo_ms: echo time of the contrast; a SPACE train with variable flip angles
    looks like a far shorter echo time than it states.
    white_level: stored value of white matter; signal_to_noise: there.
    """

    description: str
    contrast: Contrast
    physics: MRPhysics
    plan: Plan
    effective_echo_ms: float
    white_level: float
    signal_to_noise: float

    @property
    def fat_suppressed(self) -> bool:
        """Whether the scan options name fat saturation."""
        return "FS" in self.physics.scan_options.split("\\")


def signal(tissue: Tissue, sequence: Sequence) -> float:
    """Magnitude that the sequence measures in the tissue, relative to white matter."""
    return _magnitude(tissue, sequence) / _magnitude(Tissue.WHITE, sequence)


def _magnitude(tissue: Tissue, sequence: Sequence) -> float:
    properties = RELAXATION[tissue]
    physics = sequence.physics
    t1 = properties.t1_contrast_ms if physics.contrast_agent else properties.t1_ms
    longitudinal = {
        Contrast.SPIN_ECHO: _saturation_recovery,
        Contrast.DARK_FLUID: _inversion_recovery,
        Contrast.MPRAGE: _prepared_train,
    }[sequence.contrast](t1, physics)
    value = (
        properties.proton_density
        * abs(longitudinal)
        * math.exp(-sequence.effective_echo_ms / properties.t2_ms)
    )
    if properties.flows and sequence.contrast is not Contrast.MPRAGE:
        value *= FLOW_VOID
    if properties.fatty and sequence.fat_suppressed:
        value *= FAT_LEFT
    return value


def _saturation_recovery(t1_ms: float, physics: MRPhysics) -> float:
    return 1.0 - math.exp(-physics.repetition_time_ms / t1_ms)


def _inversion_recovery(t1_ms: float, physics: MRPhysics) -> float:
    inversion_ms = physics.inversion_time_ms or 0.0
    recovery_ms = physics.repetition_time_ms
    return 1.0 - 2.0 * math.exp(-inversion_ms / t1_ms) + math.exp(-recovery_ms / t1_ms)


def _prepared_train(t1_ms: float, physics: MRPhysics) -> float:
    """Longitudinal magnetisation at the centre of an MPRAGE train, in its steady state.

    One cycle is inversion, delay, train of small flips, delay; each leg maps m to a m + b.
    """
    cosine = math.cos(math.radians(physics.flip_angle_deg))
    before_ms = (physics.inversion_time_ms or 0.0) - READOUTS * READOUT_MS / 2
    after_ms = physics.repetition_time_ms - before_ms - READOUTS * READOUT_MS
    half = _train(t1_ms, cosine, READOUTS // 2)
    to_centre = _chain(_chain((-1.0, 0.0), _free(t1_ms, before_ms)), half)
    gain, offset = _chain(_chain(to_centre, half), _free(t1_ms, after_ms))
    steady = offset / (1.0 - gain)
    return to_centre[0] * steady + to_centre[1]


def _free(t1_ms: float, duration_ms: float) -> tuple[float, float]:
    decay = math.exp(-duration_ms / t1_ms)
    return decay, 1.0 - decay


def _train(t1_ms: float, cosine: float, readouts: int) -> tuple[float, float]:
    decay, growth = _free(t1_ms, READOUT_MS)
    gain = (cosine * decay) ** readouts
    return gain, growth * (1.0 - gain) / (1.0 - cosine * decay)


def _chain(first: tuple[float, float], then: tuple[float, float]) -> tuple[float, float]:
    return first[0] * then[0], first[1] * then[0] + then[1]


SEQUENCES: Final[Mapping[Role, Sequence]] = MappingProxyType(
    {
        Role.T1: Sequence(
            description="t1_se_tra",
            contrast=Contrast.SPIN_ECHO,
            physics=MRPhysics(
                scanning_sequence="SE",
                sequence_variant="OSP",
                mr_acquisition_type="2D",
                sequence_name="*se2d1",
                repetition_time_ms=715.0,
                echo_time_ms=12.0,
                flip_angle_deg=90.0,
            ),
            plan=Plan(
                shape=(32, 256, 208),
                spacing_mm=(5.0, 0.8984375, 0.8984375),
                thickness_mm=5.0,
                plane="axial",
                tilt_deg=(-7.0, 1.5, 1.0),
                centre_mm=(1.5, 9.0, 12.0),
            ),
            effective_echo_ms=12.0,
            white_level=620.0,
            signal_to_noise=38.0,
        ),
        Role.T2: Sequence(
            description="t2_tse_tra_5mm",
            contrast=Contrast.SPIN_ECHO,
            physics=MRPhysics(
                scanning_sequence="SE",
                sequence_variant="SK\\SP\\OSP",
                mr_acquisition_type="2D",
                sequence_name="*tse2d1_15",
                repetition_time_ms=5460.0,
                echo_time_ms=81.0,
                flip_angle_deg=150.0,
                echo_train_length=15,
            ),
            plan=Plan(
                shape=(32, 320, 260),
                spacing_mm=(5.0, 0.71875, 0.71875),
                thickness_mm=4.0,
                plane="axial",
                tilt_deg=(-9.0, -1.0, 1.5),
                centre_mm=(-1.0, 8.0, 11.0),
            ),
            effective_echo_ms=81.0,
            white_level=300.0,
            signal_to_noise=32.0,
        ),
        Role.FLAIR: Sequence(
            description="t2_space_dark-fluid_sag_FLAIR",
            contrast=Contrast.DARK_FLUID,
            physics=MRPhysics(
                scanning_sequence="SE\\IR",
                sequence_variant="SK\\SP\\MP",
                mr_acquisition_type="3D",
                sequence_name="*spcir_278ns",
                repetition_time_ms=6000.0,
                echo_time_ms=325.0,
                flip_angle_deg=120.0,
                scan_options="FS",
                inversion_time_ms=1850.0,
                echo_train_length=278,
            ),
            plan=Plan(
                shape=(176, 256, 256),
                spacing_mm=(1.0, 1.0, 1.0),
                thickness_mm=1.0,
                plane="sagittal",
                tilt_deg=(1.0, -1.5, 2.0),
                centre_mm=(1.0, 4.0, -12.0),
            ),
            effective_echo_ms=120.0,
            white_level=210.0,
            signal_to_noise=24.0,
        ),
        Role.T1C: Sequence(
            description="t1_mprage_sag_p2_iso +Gd",
            contrast=Contrast.MPRAGE,
            physics=MRPhysics(
                scanning_sequence="GR\\IR",
                sequence_variant="SK\\SP\\MP",
                mr_acquisition_type="3D",
                sequence_name="*tfl3d1_16ns",
                repetition_time_ms=2200.0,
                echo_time_ms=4.0,
                flip_angle_deg=15.0,
                inversion_time_ms=900.0,
                contrast_agent="GADOTERATE MEGLUMINE (SYNTHETIC)",
            ),
            plan=Plan(
                shape=(176, 256, 256),
                spacing_mm=(1.0, 1.0, 1.0),
                thickness_mm=1.0,
                plane="sagittal",
                tilt_deg=(0.5, 1.0, -1.5),
                centre_mm=(0.0, 5.0, -10.0),
            ),
            effective_echo_ms=4.0,
            white_level=340.0,
            signal_to_noise=30.0,
        ),
    }
)
"""In the order of acquisition; contrast agent comes last."""
