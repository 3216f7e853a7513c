"""What the frozen values say of themselves."""

import dataclasses
from datetime import UTC, timedelta

import pytest

from node.domain import header, study
from node.domain.clock import SystemClock
from node.domain.ids import RuleName, SeriesInstanceUID, Sha256
from node.domain.regions import Region, RegionVolume, Role
from node.domain.study import Reason, RoleChoice, RoleDecision


def _choice(role: Role, series: str | None) -> RoleChoice:
    return RoleChoice(
        role=role,
        chosen=None if series is None else SeriesInstanceUID(series),
        reason=Reason(code="ok", text=""),
        candidates=(),
    )


def test_a_required_role_without_a_series_is_missing_and_another_is_not() -> None:
    decision = RoleDecision(
        rule=RuleName("glioma"),
        rule_sha256=Sha256("a" * 64),
        choices=(_choice(Role.T1, None), _choice(Role.T1C, "1.2"), _choice(Role.T2, None)),
        required=(Role.T1, Role.T1C),
    )
    assert decision.missing == (Role.T1,)
    assert decision.chosen == {Role.T1C: "1.2"}


def test_a_region_of_a_million_cubic_millimetres_is_a_litre() -> None:
    volume = RegionVolume(region=Region.WT, voxels=500_000, voxel_mm3=2.0)
    assert volume.millilitres == pytest.approx(1000.0)


@pytest.mark.parametrize(
    "kind",
    [
        value
        for module in (header, study)
        for value in vars(module).values()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and value.__module__ == module.__name__
    ],
    ids=lambda kind: str(kind.__name__),
)
def test_every_value_is_frozen_named_and_slotted(kind: type) -> None:
    parameters = kind.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert hasattr(kind, "__slots__")
    assert all(f.kw_only for f in dataclasses.fields(kind))


def test_the_header_never_holds_a_name_or_a_birth_date() -> None:
    names = {f.name for f in dataclasses.fields(header.Header)}
    assert not names & {"patient_name", "patient_birth_date", "patient_address"}
    assert 55 <= len(names) <= 65


def test_the_clock_of_the_machine_speaks_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()
