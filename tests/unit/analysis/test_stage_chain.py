"""A stage trusts what earlier stages left only while it was made with what counts now."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.analysis import run
from node.analysis.bench import Job
from node.analysis.stages import STAGES, Stage
from node.domain.errors import BundleInvalid
from node.imaging.artefacts import write_durably
from node.segmentation.brains import BrainOptions


class Site:
    """A job whose bundle can be changed, and stages that only write down what they see."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.bundle = "old"
        self.bundle_meanwhile = ""
        self.done: list[tuple[str, str]] = []
        stages = tuple(replace(stage, work=self.work_of(stage.name)) for stage in STAGES)
        self.stages = {stage.name: stage for stage in stages}
        monkeypatch.setattr(run, "STAGES", stages)

    def work_of(self, name: str) -> Any:
        def work(job: Job) -> tuple[tuple[str, ...], dict[str, object]]:
            self.done.append((name, self.bundle))
            if self.bundle_meanwhile:
                cast("Any", job).bundle.sha256 = self.bundle_meanwhile
            write_durably(self.folder / f"{name}.out", self.bundle.encode())
            return (f"{name}.out",), {}

        return work

    def job(self) -> Job:
        nothing = SimpleNamespace(
            steps=lambda _: [], begin_step=lambda *_: None, end_step=lambda *_: None
        )
        bench = SimpleNamespace(
            ledger=SimpleNamespace(analyses=nothing, deliveries=SimpleNamespace(of=lambda _: [])),
            clock=SimpleNamespace(now=lambda: 0, monotonic=lambda: 0.0),
            software_version="1",
            tools=SimpleNamespace(brain=BrainOptions()),
            destinations=lambda _: (),
            overlay_thickness_mm=3.0,
        )
        order = SimpleNamespace(analysis_id="a", inputs_sha256="i")
        return cast(
            "Job",
            SimpleNamespace(
                folder=self.folder,
                record=SimpleNamespace(order=order),
                bundle=SimpleNamespace(sha256=self.bundle),
                bench=bench,
            ),
        )

    def perform(self, *names: str) -> list[tuple[str, str]]:
        """Run stages as the executor does, and return what was really done."""
        self.done.clear()
        for name in names:
            stage: Stage = self.stages[name]
            run._redo_what_changed(self.job(), stage)
            run._run_or_reuse(self.job(), stage)
        return list(self.done)


ALL = tuple(stage.name for stage in STAGES)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_what_was_done_is_not_done_again(site: Site) -> None:
    assert [name for name, _ in site.perform(*ALL)] == list(ALL)
    assert site.perform(*ALL) == []


def test_a_bundle_that_changed_while_nobody_worked_is_used_from_the_start(site: Site) -> None:
    site.perform(*ALL[: ALL.index("native")])
    site.bundle = "new"
    done = site.perform("native", "encode")
    assert done == [(name, "new") for name in ("prepare", "infer", "native", "encode")]


def test_a_bundle_that_changes_under_a_stage_stops_it(site: Site) -> None:
    site.perform(*ALL[: ALL.index("infer")])
    site.bundle_meanwhile = "new"
    with pytest.raises(BundleInvalid, match="was changed"):
        site.perform("infer")


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"key": 5, "files": 3}'])
def test_a_damaged_record_is_as_none(site: Site, content: str) -> None:
    site.perform("assemble")
    (site.folder / "assemble.json").write_text(content)
    assert [name for name, _ in site.perform("assemble")] == ["assemble"]
