"""A real case by DCMTK to a node, its segmentation from a real Orthanc against the expert."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread

from node.domain.regions import Region
from node.domain.states import AnalysisState
from node.segmentation.importing import import_bundle
from node.store.stories import StudyStory
from tests.support.cases import CaseFiles, dice_of_seg, read_truth, write_nifti_case
from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import Orthanc, orthanc, program
from tests.support.shared import shared_path

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1200)]

CASE = "BraTS2021_01476"
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One study from a folder to Orthanc."""

    node: Running
    orthanc: Orthanc
    case: CaseFiles
    truth_folder: Path
    story: StudyStory


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    storescu = program("storescu", "dcmtk")
    case_folder = shared_path(f"data/glioma/{CASE}")
    weights = shared_path("data/weights/ca-cnn-brats17")
    folder = tmp_path_factory.mktemp("orthanc")
    case = write_nifti_case(case_folder, folder / "scanner")
    (folder / "pacs").mkdir()
    with orthanc(folder / "pacs") as pacs:
        destination = {
            "ae_title": pacs.ae_title,
            "host": "127.0.0.1",
            "port": pacs.dicom_port,
        }
        with a_node(
            folder / "node", pacs.dicom_port, destinations={"orthanc": destination}
        ) as node:
            import_bundle(weights, folder / "node" / "bundles")
            (rule_file,) = (folder / "node" / "rules").glob("*.yaml")
            rule = yaml.safe_load(rule_file.read_text(encoding="utf-8"))
            rule["bundle"] = "ca-cnn-brats17"
            rule_file.write_text(yaml.safe_dump(rule, allow_unicode=True), encoding="utf-8")
            node.start("serve")
            node.start("work")
            wait_until_listening(node)
            send = [storescu, "+sd", "+r", "-xs", "-aec", node.settings.ae_title, "127.0.0.1"]
            subprocess.run([*send, str(node.scanner.port), str(folder / "scanner")], check=True)
            story = node.wait_for(
                case.study_instance_uid, has_ended, "the study ends", limit_s=LIMIT_S
            )
            yield Outcome(node=node, orthanc=pacs, case=case, truth_folder=case_folder, story=story)


def has_ended(story: StudyStory) -> bool:
    ended = {AnalysisState.DELIVERED, AnalysisState.FAILED}
    return bool(story.analyses) and story.analyses[-1].record.state in ended


def test_the_study_is_delivered(outcome: Outcome) -> None:
    record = outcome.story.analyses[-1].record
    assert record.state is AnalysisState.DELIVERED, record.reason
    print(outcome.node.segnode("studies", "show", outcome.case.study_instance_uid).stdout)  # noqa: T201 - shown by pytest -s


def test_orthanc_holds_a_segmentation_that_agrees_with_the_expert(outcome: Outcome) -> None:
    (content,) = outcome.orthanc.instances("SEG")
    truth = read_truth(outcome.truth_folder)
    found = dice_of_seg(dcmread(BytesIO(content)), truth)
    assert found[Region.WT] >= 0.90
    assert found[Region.TC] >= 0.90


def test_the_results_stand_in_the_study_that_came(outcome: Outcome) -> None:
    (study,) = outcome.orthanc.get("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == outcome.case.study_instance_uid


def test_dciodvfy_finds_no_error_that_the_source_does_not_have(
    outcome: Outcome, tmp_path: Path
) -> None:
    dciodvfy = program("dciodvfy", "dicom3tools")

    def errors(path: Path) -> set[str]:
        done = subprocess.run([dciodvfy, path], capture_output=True, text=True, check=False)
        assert done.stderr + done.stdout
        return {line for line in (done.stderr + done.stdout).splitlines() if "Error" in line}

    known = set().union(*(errors(files[0]) for files in outcome.case.files.values()))
    for modality in ("SEG", "OT"):
        for number, content in enumerate(outcome.orthanc.instances(modality)[:3]):
            path = tmp_path / f"{modality}{number}.dcm"
            path.write_bytes(content)
            assert errors(path) <= known
