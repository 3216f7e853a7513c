"""One study through a real node that loses its worker and its archive on the way.

`work` is killed in the middle of inference, the archive is down when the results are ready, an
operator retries: the study still ends, once.
"""

import json
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from node.domain.regions import Region
from node.domain.states import AnalysisState, DeliveryState
from node.net.archive import FolderArchive, ReceivedObject
from node.net.scu import send_files
from node.store.stories import StudyStory
from tests.support.cases import dice_of_seg
from tests.support.dicom_objects import MARKED_NAME
from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import free_port
from tests.support.studies import TinyStudy, write_tiny_study

pytestmark = pytest.mark.slow

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen on the way.

    killed: the story when `work` was dead; undelivered: when the archive had not answered;
    delivered: at the end.
    """

    node: Running
    study: TinyStudy
    killed: StudyStory
    undelivered: StudyStory
    delivered: StudyStory
    received: list[ReceivedObject]


def is_inferring(story: StudyStory) -> bool:
    steps = story.analyses[-1].steps if story.analyses else ()
    return bool(steps) and steps[-1].step == "infer" and steps[-1].seconds is None


def has_state(state: AnalysisState, story: StudyStory) -> bool:
    return bool(story.analyses) and story.analyses[-1].record.state is state


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("flow")
    study = write_tiny_study(folder / "scanner", salt="flow")
    uid = study.study_instance_uid
    port = free_port()
    with a_node(folder / "node", port) as node:
        node.start("serve")
        node.start("work")
        wait_until_listening(node)
        results = send_files(node.scanner, study.paths)
        assert {result.status for result in results} == {0}
        node.wait_for(uid, is_inferring, "inference runs")
        node.signal("work", signal.SIGSTOP)
        killed = node.story(uid)
        node.kill("work")
        node.start("work")
        undelivered = node.wait_for(
            uid, lambda s: has_state(AnalysisState.FAILED, s), "delivery is given up"
        )
        archive = FolderArchive(folder / "archive", ae_title="DEMO-ARCHIVE", port=port)
        archive.start()
        try:
            assert node.segnode("studies", "retry", uid).returncode == 0
            delivered = node.wait_for(
                uid, lambda s: has_state(AnalysisState.DELIVERED, s), "all is delivered"
            )
            yield Outcome(
                node=node,
                study=study,
                killed=killed,
                undelivered=undelivered,
                delivered=delivered,
                received=archive.received,
            )
        finally:
            archive.stop()


def one(received: list[ReceivedObject], sop_class: str) -> Path:
    return next(item.path for item in received if item.sop_class_uid == sop_class)


def test_work_was_killed_while_inference_ran(outcome: Outcome) -> None:
    assert is_inferring(outcome.killed)


def test_a_killed_analysis_ends_once(outcome: Outcome) -> None:
    assert len(outcome.delivered.analyses) == 1
    states = [t.to_state for t in outcome.delivered.transitions if t.entity == "analysis"]
    assert states.count(AnalysisState.DELIVERED) == 1


def test_what_was_done_before_the_kill_is_not_done_again(outcome: Outcome) -> None:
    before = {s.step: s.started_at for s in outcome.killed.analyses[0].steps if s.seconds}
    after = {s.step: s.started_at for s in outcome.delivered.analyses[0].steps}
    assert before
    assert {step: after[step] for step in before} == before


def test_every_object_reached_the_archive_once(outcome: Outcome) -> None:
    planned = {d.sop_instance_uid for d in outcome.delivered.analyses[0].deliveries}
    assert {item.sop_instance_uid for item in outcome.received} == planned
    assert {item.times for item in outcome.received} == {1}
    classes = [str(item.sop_class_uid) for item in outcome.received]
    assert classes.count(SEGMENTATION) == 1
    assert classes.count(SECONDARY_CAPTURE) > 1


def test_a_destination_that_is_down_is_named_and_loses_nothing(outcome: Outcome) -> None:
    analysis = outcome.undelivered.analyses[0]
    assert analysis.record.reason is not None
    assert analysis.record.reason.code == "destination-unreachable"
    assert {d.state for d in analysis.deliveries} == {DeliveryState.DEAD}


def test_a_retry_sends_and_does_not_compute_again(outcome: Outcome) -> None:
    assert outcome.delivered.analyses[0].record.attempt == 2
    first = {s.step: s.started_at for s in outcome.undelivered.analyses[0].steps}
    assert {s.step: s.started_at for s in outcome.delivered.analyses[0].steps} == first


def test_the_segmentation_lies_on_the_tumour(outcome: Outcome) -> None:
    found = dice_of_seg(dcmread(one(outcome.received, SEGMENTATION)), outcome.study.truth)
    assert found[Region.WT] > 0.5


def test_the_results_belong_to_the_study_that_came(outcome: Outcome) -> None:
    source = dcmread(outcome.study.paths[0], stop_before_pixels=True)
    for item in outcome.received:
        result = dcmread(item.path, stop_before_pixels=True)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
            assert result[keyword].value == source[keyword].value


def test_the_workflow_id_is_the_analysis_id_and_nothing_is_pickled(outcome: Outcome) -> None:
    analysis_id = outcome.delivered.analyses[0].record.order.analysis_id
    database = outcome.node.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT workflow_uuid, serialization FROM workflow_status")
        workflows = dict(rows.fetchall())
        outputs = connection.execute("SELECT output FROM operation_outputs").fetchall()
    assert analysis_id in workflows
    assert set(workflows.values()) == {"portable_json"}
    assert max(len(output or "") for (output,) in outputs) < 300


def test_the_story_tells_stages_with_times_and_deliveries(outcome: Outcome) -> None:
    told = outcome.node.segnode("studies", "show", outcome.study.study_instance_uid).stdout
    for stage in ("assemble", "register", "brain", "prepare", "infer", "native", "encode"):
        assert stage in told
    assert "all stages" in told
    assert "SENT" in told


def test_the_list_names_the_study_as_delivered(outcome: Outcome) -> None:
    told = outcome.node.segnode("studies").stdout
    (line,) = [x for x in told.splitlines() if outcome.study.study_instance_uid in x]
    assert "DELIVERED" in line


def test_there_is_nothing_to_retry_of_a_delivered_study(outcome: Outcome) -> None:
    done = outcome.node.segnode("studies", "retry", outcome.study.study_instance_uid)
    assert done.returncode == 1
    assert "nothing to retry" in done.stdout


def test_our_own_objects_are_never_input(outcome: Outcome) -> None:
    before = outcome.node.story(outcome.study.study_instance_uid)
    paths = tuple(item.path for item in outcome.received)
    assert {result.status for result in send_files(outcome.node.scanner, paths)} == {0}
    after = outcome.node.story(outcome.study.study_instance_uid)
    assert (after.instances, after.current) == (before.instances, before.current)


def test_the_node_is_healthy_ready_and_measured(outcome: Outcome) -> None:
    base = f"http://127.0.0.1:{outcome.node.settings.http.port}"
    with urllib.request.urlopen(f"{base}/readyz", timeout=10) as answer:
        assert json.load(answer)["ready"] is True
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'segnode_ledger_analyses{state="DELIVERED"} 1.0' in metrics
    assert "segnode_executors 1.0" in metrics
    assert 'segnode_stage_seconds_count{stage="infer"} 1.0' in metrics


def test_the_doctor_finds_every_part_sound(outcome: Outcome) -> None:
    done = outcome.node.segnode("doctor", "--json")
    findings = {found["check"]: found["grade"] for found in json.loads(done.stdout)}
    assert done.returncode == 0
    for check in ("configuration", "spool", "database", "rules", "destination archive"):
        assert findings[check] == "ok"


def test_a_second_worker_on_sqlite_is_refused(outcome: Outcome) -> None:
    done = outcome.node.segnode("work")
    assert done.returncode == 2
    assert "another `segnode work`" in done.stderr


def test_patient_data_is_in_no_log_metric_file_name_or_workflow(outcome: Outcome) -> None:
    node = outcome.node
    secrets = (MARKED_NAME, outcome.study.identity.patient_id, outcome.study.study_instance_uid)
    with urllib.request.urlopen(
        f"http://127.0.0.1:{node.settings.http.port}/metrics", timeout=10
    ) as answer:
        written = [answer.read().decode(), node.logs()]
    written.append("\n".join(str(p.relative_to(node.folder)) for p in node.folder.rglob("*")))
    database = node.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        for table in ("workflow_status", "operation_outputs"):
            written += [str(row) for row in connection.execute(f"SELECT * FROM {table}")]
    for text in written:
        for secret in secrets:
            assert secret not in text
