"""Which method is tried first, and what becomes of a method that fails."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from node.domain.errors import BrainNotFound, BundleMissing, HeadIncomplete, OutOfMemory
from node.domain.regions import Role
from node.imaging.brain import BrainExtractor
from node.imaging.volume import Volume
from node.segmentation.brains import (
    BrainOptions,
    Method,
    choose,
    extract_brain,
    methods_at_hand,
    rank_methods,
)
from node.segmentation.effort import Effort
from tests.support.mr_series import a_grid
from tests.unit.imaging.cases import a_sphere

CPU = Effort(device="cpu", threads=2, memory_bytes=4 << 30, half=True)
GPU = replace(CPU, device="cuda:0")
ALL = frozenset({Method.HD_BET_1, Method.HD_BET_2, Method.DEEPBET})
AUTO = BrainOptions()
BRAIN = (0.0, 0.0, 0.0)


def first(role: Role, effort: Effort, at_hand: frozenset[Method] = ALL) -> Method:
    return rank_methods(role, effort, AUTO, at_hand).methods[0]


@pytest.mark.parametrize("role", list(Role))
def test_hd_bet_comes_first_where_it_is_installed(role: Role) -> None:
    assert first(role, CPU) is Method.HD_BET_1
    assert first(role, GPU) is Method.HD_BET_2
    assert first(role, GPU, ALL - {Method.HD_BET_2}) is Method.HD_BET_1


def test_without_hd_bet_1_only_other_sequences_than_t1_wait_for_hd_bet_2_on_a_processor() -> None:
    others = ALL - {Method.HD_BET_1}
    assert first(Role.T1C, CPU, others) is Method.DEEPBET
    assert first(Role.T2, CPU, others) is Method.HD_BET_2
    assert first(Role.FLAIR, CPU, frozenset({Method.DEEPBET})) is Method.DEEPBET


@pytest.mark.parametrize(
    ("change", "word"),
    [({"memory_bytes": 1 << 30, "half": False}, "memory"), ({"threads": 1, "half": False}, "time")],
)
def test_a_small_machine_takes_the_light_method_for_t1_and_hd_bet_for_others(
    change: dict[str, int], word: str
) -> None:
    small = replace(CPU, **change)  # type: ignore[arg-type]
    options = BrainOptions(most_s=10.0)
    ranking = rank_methods(Role.T1, small, options, ALL)
    assert ranking.methods[0] is Method.DEEPBET
    assert word in ranking.reason
    assert rank_methods(Role.T2, small, options, ALL).methods[0] is Method.HD_BET_1


def test_a_site_may_name_the_method_and_all_others_stay_behind_it() -> None:
    for method in ALL:
        ranking = rank_methods(Role.T1C, CPU, BrainOptions(method=method), ALL)
        assert ranking.methods[0] is method
        assert set(ranking.methods) == ALL
        assert "configuration" in ranking.reason


def test_a_machine_without_any_method_names_the_one_that_is_missing() -> None:
    assert rank_methods(Role.T1C, CPU, AUTO, frozenset()).methods == (Method.DEEPBET,)


def test_hd_bet_2_is_at_hand_when_its_folder_is_whole(tmp_path: Path) -> None:
    options = BrainOptions(hd_bet_folder=tmp_path)
    assert Method.HD_BET_2 not in methods_at_hand(options)
    (tmp_path / "fold_all").mkdir()
    for name in ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth"):
        (tmp_path / name).touch()
    assert Method.HD_BET_2 in methods_at_hand(options)
    assert Method.DEEPBET in methods_at_hand(AUTO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fake:
    """An extractor that gives a ball, or fails."""

    name: str
    error: Exception | None = None

    def __call__(self, reference: Volume) -> Volume:
        if self.error is not None:
            raise self.error
        return reference.with_array(a_sphere(reference.grid, BRAIN, 68.0))


def a_reference(slices: int = 50) -> Volume:
    grid = a_grid((slices, 50, 50), spacing_mm=(4, 4, 4), centre_mm=(0, 0, 2.0 * (slices - 50)))
    noise = np.random.default_rng(1).random(grid.shape)
    return Volume(array=noise.astype(np.float32), grid=grid)


def with_fakes(
    monkeypatch: pytest.MonkeyPatch, failing: dict[Method, Exception], asked: list[Method]
) -> None:
    def build(method: Method, effort: Effort, options: BrainOptions) -> BrainExtractor:
        asked.append(method)
        return Fake(name=f"fake {method}", error=failing.get(method))

    monkeypatch.setattr(choose, "_build", build)
    monkeypatch.setattr(choose, "methods_at_hand", lambda options: ALL)


def test_what_worked_at_once_is_reported_without_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Method] = []
    with_fakes(monkeypatch, {}, asked)
    found = extract_brain(a_reference(), Role.T2, CPU)
    assert found.method == "fake hd-bet-v1"
    assert found.findings == ()
    assert found.reason == "the first of those installed for T2 on cpu"
    assert asked == [Method.HD_BET_1]


def test_the_next_method_is_taken_when_one_fails_and_that_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Method] = []
    failing: dict[Method, Exception] = {Method.HD_BET_1: OutOfMemory("It did not fit.")}
    with_fakes(monkeypatch, failing, asked)
    found = extract_brain(a_reference(), Role.T1C, CPU)
    assert found.method == "fake deepbet"
    assert asked == [Method.HD_BET_1, Method.DEEPBET]
    (finding,) = found.findings
    assert finding.code == "brain-fallback"
    assert "It did not fit." in finding.text
    assert "hd-bet-v1 failed" in found.reason


def test_memory_that_a_gpu_lacks_is_looked_for_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Method] = []
    failing: dict[Method, Exception] = {
        Method.HD_BET_2: OutOfMemory("No."),
        Method.HD_BET_1: BundleMissing("No weights."),
    }
    with_fakes(monkeypatch, failing, asked)
    found = extract_brain(a_reference(), Role.FLAIR, GPU)
    assert asked == [Method.HD_BET_2, Method.HD_BET_2, Method.HD_BET_1, Method.DEEPBET]
    assert [finding.code for finding in found.findings] == ["brain-fallback", "brain-method"]
    assert "made for T1" in found.findings[1].text


def test_a_brain_that_is_cut_is_a_finding_of_the_extraction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_fakes(monkeypatch, {}, [])
    found = extract_brain(a_reference(30), Role.T1C, CPU)
    assert [finding.code for finding in found.findings] == ["brain-cut"]


def test_when_all_methods_fail_the_most_telling_error_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing: dict[Method, Exception] = {
        Method.HD_BET_1: OutOfMemory("It did not fit."),
        Method.DEEPBET: HeadIncomplete("Only 40 mL."),
        Method.HD_BET_2: BrainNotFound("Nothing."),
    }
    with_fakes(monkeypatch, failing, [])
    with pytest.raises(HeadIncomplete):
        extract_brain(a_reference(), Role.T1C, CPU)
    failing.pop(Method.DEEPBET)
    failing[Method.DEEPBET] = BrainNotFound("Nothing either.")
    with pytest.raises(BrainNotFound):
        extract_brain(a_reference(), Role.T1C, CPU)


def test_a_defect_of_ours_is_not_hidden_by_the_next_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_fakes(monkeypatch, {Method.HD_BET_1: ZeroDivisionError()}, [])
    with pytest.raises(ZeroDivisionError):
        extract_brain(a_reference(), Role.T1C, CPU)
