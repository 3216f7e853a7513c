"""Bad input ends in a named reason that `segnode studies show` prints; nothing crashes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread
from pydicom.uid import generate_uid

from node.domain.errors import DestinationUnreachable
from node.domain.regions import Role
from node.domain.states import RevisionState
from node.net.scu import send_files
from node.store.stories import StudyStory
from tests.support.dicom_objects import MARKED_NAME
from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import free_port, wait_until
from tests.support.studies import (
    Defect,
    TinyStudy,
    write_localizer,
    write_no_dicom,
    write_secondary_capture,
    write_tiny_study,
    write_unknown_class,
)

pytestmark = pytest.mark.slow

ALL_BUT_FLAIR = (Role.T1, Role.T2, Role.T1C)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a node that serves and does not work: what is judged is enough here."""
    with a_node(tmp_path_factory.mktemp("node"), free_port()) as running:
        running.start("serve")
        wait_until_listening(running)
        yield running


def statuses(node: Running, paths: tuple[Path, ...]) -> list[int | None]:
    return [result.status for result in send_files(node.scanner, paths)]


def is_congested(node: Running, paths: tuple[Path, ...]) -> bool:
    """Whether the node turns senders away for now."""
    try:
        statuses(node, paths)
    except DestinationUnreachable as error:
        return "congestion" in error.what
    return False


def wait_for_images(node: Running, study: TinyStudy) -> None:
    """Wait until all images of a study are in the ledger."""
    node.wait_for(
        study.study_instance_uid,
        lambda story: story.instances == len(study.paths),
        "all images are in the ledger",
    )


def is_judged(story: StudyStory) -> bool:
    return story.current.state not in {RevisionState.RECEIVING, RevisionState.WAITING}


def is_complete(story: StudyStory) -> bool:
    return story.current.state is RevisionState.COMPLETE


def told(node: Running, uid: str) -> str:
    done = node.segnode("studies", "show", uid)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("defect", "code"),
    [
        (Defect.MISSING_SLICE, "slice-gap"),
        (Defect.DOUBLED_SLICE, "doubled-slice"),
        (Defect.TWO_ORIENTATIONS, "mixed-orientation"),
        (Defect.NO_POSITION, "no-geometry"),
    ],
)
def test_a_series_that_is_no_volume_is_named(
    node: Running, tmp_path: Path, defect: Defect, code: str
) -> None:
    study = write_tiny_study(tmp_path, salt=code, defects={Role.T2: defect})
    assert set(statuses(node, study.paths)) == {0}
    story = node.wait_for(study.study_instance_uid, is_judged, "the study is judged")
    assert story.current.state is RevisionState.GAVE_UP
    assert f"[{code}]" in told(node, study.study_instance_uid)


def test_a_missing_sequence_is_named_and_taken_when_it_comes(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="late sequence")
    uid = study.study_instance_uid
    statuses(node, tuple(p for role in ALL_BUT_FLAIR for p in study.files[role]))
    story = node.wait_for(uid, is_judged, "the study is judged")
    assert story.current.state is RevisionState.GAVE_UP
    text = told(node, uid)
    assert "[role-missing]" in text
    assert "FLAIR none" in text
    statuses(node, study.files[Role.FLAIR])
    story = node.wait_for(uid, is_complete, "the study is complete")
    assert len(story.analyses) == 1


def test_a_lost_slice_that_comes_late_completes_the_study(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="late slice", defects={Role.T2: Defect.MISSING_SLICE})
    statuses(node, study.paths)
    node.wait_for(study.study_instance_uid, is_judged, "the study is judged")
    statuses(node, study.held_back)
    node.wait_for(study.study_instance_uid, is_complete, "the study is complete")


def test_an_operator_can_have_a_study_judged_again(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="again", roles=ALL_BUT_FLAIR)
    uid = study.study_instance_uid
    statuses(node, study.paths)
    node.wait_for(uid, is_judged, "the study is judged")
    assert node.segnode("studies", "retry", uid).returncode == 0
    story = node.wait_for(uid, is_judged, "the study is judged again")
    assert any(t.who == "operator" for t in story.transitions)


def test_a_study_of_a_localizer_alone_is_not_eligible(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path / "study", salt="localizer alone")
    uid = study.study_instance_uid
    statuses(node, write_localizer(tmp_path / "localizer", study.identity))
    story = node.wait_for(uid, is_judged, "the study is judged")
    assert story.current.state is RevisionState.NOT_ELIGIBLE


def test_a_localizer_and_a_screenshot_are_no_hindrance(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path / "study", salt="with localizer")
    statuses(node, write_localizer(tmp_path / "localizer", study.identity))
    statuses(node, (write_secondary_capture(tmp_path / "shot", study.identity),))
    statuses(node, study.paths)
    node.wait_for(study.study_instance_uid, is_complete, "the study is complete")


def test_an_unknown_sop_class_is_refused_and_the_rest_is_taken(
    node: Running, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path / "study", salt="unknown class")
    stranger = write_unknown_class(tmp_path / "stranger", study.identity)
    assert statuses(node, (stranger,)) == [0x0122]
    assert set(statuses(node, study.paths)) == {0}
    node.wait_for(study.study_instance_uid, is_complete, "the study is complete")
    assert "unsupported-sop-class" in told(node, study.study_instance_uid)


def test_another_object_under_a_known_uid_is_put_aside(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="other content")
    statuses(node, study.paths)
    wait_for_images(node, study)
    path = study.files[Role.T1][0]
    dataset = dcmread(path)
    dataset.ImageComments = "another object"
    dataset.save_as(path)
    assert statuses(node, (path,)) == [0x0111]
    assert "duplicate-differs" in told(node, study.study_instance_uid)


def test_a_repeat_changes_nothing(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="repeat")
    statuses(node, study.paths)
    before = node.wait_for(study.study_instance_uid, is_complete, "the study is complete")
    assert set(statuses(node, study.paths)) == {0}
    after = node.story(study.study_instance_uid)
    assert (after.instances, after.current.revision) == (before.instances, before.current.revision)


def test_late_images_open_a_new_revision(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="late images")
    uid = study.study_instance_uid
    *early, late = study.paths
    statuses(node, tuple(early))
    node.wait_for(uid, is_complete, "the study is complete")
    statuses(node, (late,))
    story = node.wait_for(
        uid, lambda s: s.current.revision == 2 and is_complete(s), "revision 2 is complete"
    )
    assert story.revisions[0].state is RevisionState.SUPERSEDED
    assert len(story.analyses) == 2


def test_a_rule_that_is_mended_brings_left_out_studies_back(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="new rule", roles=ALL_BUT_FLAIR)
    uid = study.study_instance_uid
    statuses(node, study.paths)
    node.wait_for(uid, is_judged, "the study is judged")
    (path,) = (node.folder / "rules").glob("*.yaml")
    before = path.read_text(encoding="utf-8")
    try:
        rule = yaml.safe_load(before)
        rule["require"] = [role.value for role in ALL_BUT_FLAIR]
        path.write_text(yaml.safe_dump(rule, allow_unicode=True), encoding="utf-8")
        node.wait_for(uid, is_complete, "the study is complete by the new rule")
    finally:
        path.write_text(before, encoding="utf-8")


def test_a_file_that_is_not_dicom_is_named_by_the_sender(node: Running, tmp_path: Path) -> None:
    write_no_dicom(tmp_path / "letter.txt")
    done = node.segnode_plain("send", str(tmp_path), "--to", str(node.scanner))
    assert done.returncode == 1
    assert "not in the DICOM file format" in done.stderr


def test_bytes_that_are_no_data_set_are_refused_and_told(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="garbage", roles=(Role.T1,))
    path = study.paths[0]
    content = path.read_bytes()
    meta_bytes = 132 + 12 + int.from_bytes(content[140:144], "little")
    path.write_bytes(content[:meta_bytes] + b"\xff" * 500)
    assert statuses(node, (path,)) == [0xC000]
    assert "not-dicom" in told(node, "unidentified")


def test_an_unwritable_spool_refuses_and_recovers(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="unwritable")
    uid = study.study_instance_uid
    objects, moved = node.folder / "spool" / "objects", node.folder / "spool" / "elsewhere"
    objects.rename(moved)
    objects.write_text("a file where the folder should be")
    try:
        # The first ones are safe in a journal; that they cannot be settled closes the gate.
        assert set(statuses(node, study.paths[:3])) == {0}
        wait_until(lambda: is_congested(node, study.paths[:1]), "the node takes no more", 30)
    finally:
        objects.unlink()
        moved.rename(objects)
    wait_until(lambda: not is_congested(node, study.paths[:1]), "it takes images again", 30)
    assert set(statuses(node, study.paths)) == {0}
    story = node.wait_for(uid, is_complete, "the study is complete")
    assert story.instances == len(study.paths)


def test_no_patient_data_is_in_logs_or_file_names(node: Running, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, salt="marked")
    statuses(node, study.paths)
    node.wait_for(study.study_instance_uid, is_complete, "the study is complete")
    logs = list(node.folder.glob("*.log"))
    assert logs
    for path in logs:
        assert MARKED_NAME.encode() not in path.read_bytes()
    names = "\n".join(str(path.relative_to(node.folder)) for path in node.folder.rglob("*"))
    assert study.study_instance_uid not in names
    assert study.identity.patient_id not in names


def test_a_study_that_nobody_sent_is_not_known(node: Running) -> None:
    assert node.segnode("studies", "show", generate_uid()).returncode == 1
