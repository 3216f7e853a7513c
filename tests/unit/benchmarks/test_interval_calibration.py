"""The fit that a manifest's uncertainty comes from."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.interval_calibration import KnownCase, covered, fit, main


def cases(count: int, *, floor: float, gain: float, seed: int) -> list[KnownCase]:
    """Draw cases whose errors are as stated; opinions of three views differ from case to case."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        true = float(np.exp(random.uniform(1, 5)))
        views = random.standard_normal(3) * random.choice([0.02, 0.1, 0.3])
        deviation = np.hypot(floor, gain * views.std(ddof=1))
        found = true * float(np.exp(deviation * random.standard_normal()))
        opinions = tuple((found * np.exp(views)).tolist())
        made.append(KnownCase(found_ml=found, true_ml=true, opinions_ml=opinions))
    return made


def test_floor_and_gain_are_found_again() -> None:
    found = fit(cases(400, floor=0.05, gain=1.5, seed=1))
    assert found.floor == pytest.approx(0.05, rel=0.15)
    assert found.gain == pytest.approx(1.5, rel=0.15)


def test_opinions_that_tell_nothing_get_no_gain() -> None:
    assert fit(cases(400, floor=0.1, gain=0.0, seed=2)).gain < 0.2


def test_without_opinions_the_floor_is_the_whole_error() -> None:
    alone = [
        KnownCase(found_ml=case.found_ml, true_ml=case.true_ml, opinions_ml=())
        for case in cases(400, floor=0.1, gain=0.0, seed=3)
    ]
    found = fit(alone)
    assert found.floor == pytest.approx(0.1, rel=0.1)
    assert found.gain == 0.0


def test_fits_to_eleven_cases_cover_most_of_what_they_have_not_seen() -> None:
    inside = sum(covered(cases(11, floor=0.08, gain=1.0, seed=seed)) for seed in range(4, 24))
    assert inside / 220 == pytest.approx(0.93, abs=0.04)


def test_the_command_prints_what_a_manifest_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        {
            "case": str(number),
            "region": region,
            "found_ml": case.found_ml,
            "true_ml": case.true_ml,
            "opinions_ml": case.opinions_ml,
        }
        for region in ("WT", "TC", "ET")
        for number, case in enumerate(cases(6, floor=0.1, gain=1.0, seed=9))
    ]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(entries))
    main(path)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ['"WT":', '"TC":', '"ET":']
    assert all("of 6 truths inside" in line for line in lines)
