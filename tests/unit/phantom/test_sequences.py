"""The signal equations give the contrasts that radiologists expect."""

import math
from dataclasses import replace

import pytest

from node.domain.regions import Role
from node.phantom.sequences import READOUT_MS, READOUTS, SEQUENCES, Sequence, signal
from node.phantom.tissues import RELAXATION, Tissue

T1, T2, FLAIR, T1C = (SEQUENCES[role] for role in (Role.T1, Role.T2, Role.FLAIR, Role.T1C))
BRAIN = (Tissue.GREY, Tissue.WHITE, Tissue.CSF)


def test_white_matter_is_the_unit_of_every_sequence() -> None:
    assert [signal(Tissue.WHITE, sequence) for sequence in SEQUENCES.values()] == [1.0] * 4


def test_fluid_is_brightest_on_t2_and_nulled_on_flair() -> None:
    assert signal(Tissue.CSF, T2) > 3.0
    assert signal(Tissue.CSF, FLAIR) < 0.25


def test_white_matter_is_brighter_than_grey_on_t1_and_darker_on_t2() -> None:
    assert signal(Tissue.GREY, T1) < 1.0
    assert signal(Tissue.GREY, T1C) < 0.9
    assert signal(Tissue.GREY, T2) > 1.2
    assert signal(Tissue.GREY, FLAIR) > 1.1


def test_oedema_is_brighter_than_any_healthy_brain_on_flair() -> None:
    assert signal(Tissue.OEDEMA, FLAIR) > 1.4 * max(signal(t, FLAIR) for t in BRAIN)


def test_only_contrast_agent_makes_the_rim_bright() -> None:
    without = replace(T1C, physics=replace(T1C.physics, contrast_agent=""))
    assert signal(Tissue.ENHANCING, T1C) > 1.4
    assert signal(Tissue.ENHANCING, without) < 0.9
    assert signal(Tissue.NECROSIS, T1C) < 0.7


def test_fat_is_bright_unless_it_is_suppressed() -> None:
    shown = replace(FLAIR, physics=replace(FLAIR.physics, scan_options=""))
    assert signal(Tissue.FAT, T1) > 1.5
    assert signal(Tissue.FAT, FLAIR) < 0.5 * signal(Tissue.FAT, shown)


def test_flowing_blood_is_black_in_spin_echoes() -> None:
    assert signal(Tissue.BLOOD, T2) < 0.3
    assert signal(Tissue.BLOOD, T1C) > 1.2


@pytest.mark.parametrize("tissue", [Tissue.WHITE, Tissue.GREY, Tissue.CSF, Tissue.FAT])
def test_the_mprage_equation_agrees_with_a_simulation_of_every_pulse(tissue: Tissue) -> None:
    expected = _simulated(tissue, T1C) / _simulated(Tissue.WHITE, T1C)
    assert signal(tissue, T1C) == pytest.approx(expected, rel=1e-6)


def _simulated(tissue: Tissue, sequence: Sequence) -> float:
    properties, physics = RELAXATION[tissue], sequence.physics
    inversion_ms = physics.inversion_time_ms or 0.0
    cosine = math.cos(math.radians(physics.flip_angle_deg))
    train_ms = READOUTS * READOUT_MS
    before_ms = inversion_ms - train_ms / 2
    after_ms = physics.repetition_time_ms - before_ms - train_ms
    m, centre = 1.0, 0.0

    def relax(m: float, duration_ms: float) -> float:
        return 1.0 + (m - 1.0) * math.exp(-duration_ms / properties.t1_ms)

    for _ in range(200):
        m = relax(-m, before_ms)
        for pulse in range(READOUTS):
            centre = m if pulse == READOUTS // 2 else centre
            m = relax(m * cosine, READOUT_MS)
        m = relax(m, after_ms)
    decay = math.exp(-physics.echo_time_ms / properties.t2_ms)
    return abs(centre) * properties.proton_density * decay
