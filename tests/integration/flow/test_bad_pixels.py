"""What only the analysis can see ends in a named reason too, and a retry works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.domain.regions import Role
from node.domain.states import AnalysisState
from node.net.scu import send_files
from node.store.stories import StudyStory
from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import free_port
from tests.support.studies import Defect, write_tiny_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with a_node(tmp_path_factory.mktemp("node"), free_port()) as running:
        running.start("serve")
        running.start("work")
        wait_until_listening(running)
        yield running


def has_failed(story: StudyStory) -> bool:
    return bool(story.analyses) and story.analyses[-1].record.state is AnalysisState.FAILED


@pytest.mark.parametrize(
    ("defect", "code"),
    [
        (Defect.TRUNCATED_PIXELS, "undecodable-pixels"),
        (Defect.OTHER_MATRIX, "mixed-geometry"),
    ],
)
def test_a_series_that_cannot_be_assembled_is_named(
    node: Running, tmp_path: Path, defect: Defect, code: str
) -> None:
    study = write_tiny_study(tmp_path, salt=code, defects={Role.FLAIR: defect})
    uid = study.study_instance_uid
    assert {result.status for result in send_files(node.scanner, study.paths)} == {0}
    node.wait_for(uid, has_failed, "the analysis has failed")
    assert f"[{code}]" in node.segnode("studies", "show", uid).stdout


def test_a_bundle_that_is_missing_is_named_and_a_retry_goes_on(
    node: Running, tmp_path: Path
) -> None:
    (path,) = (node.folder / "rules").glob("*.yaml")
    rule = path.read_text(encoding="utf-8")
    path.write_text(rule.replace("intensity-glioma", "no-such-bundle"), encoding="utf-8")
    study = write_tiny_study(tmp_path, salt="no bundle")
    uid = study.study_instance_uid
    try:
        send_files(node.scanner, study.paths)
        story = node.wait_for(uid, has_failed, "the analysis has failed")
    finally:
        path.write_text(rule, encoding="utf-8")
    reason = story.analyses[-1].record.reason
    assert reason is not None
    assert reason.code == "bundle-missing"
    assert node.segnode("studies", "retry", uid).returncode == 0
    again = node.wait_for(
        uid,
        lambda s: s.analyses[-1].record.attempt == 2 and has_failed(s),
        "the second attempt has failed",
    )
    first = {step.step: step.started_at for step in story.analyses[-1].steps if step.seconds}
    second = {step.step: step.started_at for step in again.analyses[-1].steps if step.seconds}
    assert {step: second[step] for step in first} == first
