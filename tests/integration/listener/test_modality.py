"""What a modality does in one association, through a real receiving process."""

from pathlib import Path

import pytest
from pynetdicom import build_context, evt

from node.domain.ids import StudyInstanceUID
from node.listener.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from node.listener.mpps import CONTEXTS as MPPS
from node.net.dimse import CallingAE
from tests.support.conversing import command, data, store_command
from tests.support.dicom_objects import EXPLICIT, IMPLICIT, MR, encode, mr_dataset
from tests.support.listening import association
from tests.support.peers import wait_until
from tests.support.receiving import a_node
from tests.support.services import MODALITY, Reports, a_new_step, a_request


@pytest.mark.parametrize("processes", [0, 2])
def test_images_a_step_and_a_commitment_in_one_association(tmp_path: Path, processes: int) -> None:
    images = [mr_dataset(number) for number in range(5)]
    study = str(images[0].StudyInstanceUID)
    reports = Reports()
    with a_node(tmp_path, processes) as node:
        caller = CallingAE(MODALITY, timeout_s=20).associate(
            "127.0.0.1",
            node.heard.port,
            contexts=[
                build_context(MR, EXPLICIT),
                build_context(MPPS[0], IMPLICIT),
                build_context(PUSH_MODEL, IMPLICIT),
            ],
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)],
        )
        created, _ = caller.send_n_create(a_new_step(study), MPPS[0], "1.2.826.0.1.3680043.10.9.9")
        assert created.Status == 0
        for image in images:
            encode(image)
            image["PixelData"].VR = "OW"
            assert caller.send_c_store(image).Status == 0
        asked = a_request(
            "1.2.826.0.1.3680043.10.9.77",
            *((MR, str(image.SOPInstanceUID)) for image in images),
            (MR, "1.2.826.0.1.3680043.10.9.404"),
        )
        answer, _ = caller.send_n_action(asked, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        assert answer.Status == 0
        assert reports.arrived.wait(20)
        caller.release()
        caller.join(20)
        wait_until(lambda: node.clerk.is_idle, "all is settled", 20)
        assert node.ledger.health.counts().instances == 5
        story = node.ledger.stories.story(StudyInstanceUID(study))
    ((kind, information),) = reports.came
    assert kind == 2
    assert {str(item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence} == {
        str(image.SOPInstanceUID) for image in images
    }
    assert [item.FailureReason for item in information.FailedSOPSequence] == [0x0112]
    assert story is not None
    assert [step.state for step in story.procedure_steps] == ["IN PROGRESS"]


def test_a_long_uid_that_is_none_stops_no_report(tmp_path: Path) -> None:
    with a_node(tmp_path, 1) as node, association(node.heard) as caller:
        for _ in range(70):  # more than go in one message
            caller.dul.socket.send(command(store_command(AffectedSOPInstanceUID="1" * 60_000), 1))
            caller.dul.socket.send(data(b"", 1))
        wait_until(lambda: len(node.heard.news) == 70, "all are reported", 20)
    assert node.heard.outcomes() == ["refused"] * 70
