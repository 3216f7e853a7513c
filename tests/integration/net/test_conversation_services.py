"""Services that pynetdicom serves within a conversation, and reports that follow a response."""

import threading
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt

from node.net.dimse import VERIFICATION
from node.net.storing import Ending
from tests.support.conversing import (
    ECHO,
    UID,
    Keeper,
    application_entity,
    caller,
    calling,
    command,
    command_set,
    data,
    pdu,
    store_command,
    talking,
)
from tests.support.dicom_objects import MR, encode, mr_dataset

PUSH_MODEL = "1.2.840.10008.1.20.1"
COMMITMENT = "1.2.840.10008.1.20.1.1"
MPPS = "1.2.840.10008.3.1.2.3.3"
NO_DATA_SET = 0x0101


def with_services() -> AE:
    ae = application_entity()
    ae.add_supported_context(PUSH_MODEL)
    ae.add_supported_context(MPPS)
    return ae


def test_created_and_set_steps_reach_their_handlers() -> None:
    came: list[Dataset] = []

    def on_create(event: evt.Event) -> tuple[int, None]:
        came.append(event.attribute_list)
        return 0, None

    def on_set(event: evt.Event) -> tuple[int, None]:
        came.append(event.modification_list)
        return 0, None

    handlers = [(evt.EVT_N_CREATE, on_create), (evt.EVT_N_SET, on_set)]
    step = Dataset()
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.TextValue = "x" * 60_000  # many PDUs
    ae = with_services()
    with talking(handlers=handlers, ae=ae) as talk, calling(talk, MPPS) as association:
        assert association.send_n_create(step, MPPS, UID)[0].Status == 0
        assert association.send_n_set(step, MPPS, UID)[0].Status == 0
    assert [found.PerformedProcedureStepStatus for found in came] == ["IN PROGRESS"] * 2
    assert talk.endings == [Ending.RELEASED]


class Modality:
    """Asks for commitment and takes the report on the same association."""

    def __init__(self) -> None:
        self.reports: list[int] = []
        self.reported = threading.Event()

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append(event.event_type)
        self.reported.set()
        return 0, None


def committing(answers: list[Any]) -> Any:
    def on_action(event: evt.Event) -> tuple[int, None]:
        association = event.assoc

        def report() -> None:
            if association.is_established and not association.is_peer_leaving():
                information = Dataset()
                information.TransactionUID = UID
                status, _ = association.send_n_event_report(information, 1, PUSH_MODEL, COMMITMENT)
                answers.append(status.get("Status"))

        association.after_response(report)
        return 0, None

    return on_action


def test_a_report_can_follow_the_response_on_the_same_association() -> None:
    answers: list[Any] = []
    modality = Modality()
    handlers = [(evt.EVT_N_ACTION, committing(answers))]
    keeper = Keeper()
    stored = mr_dataset()
    encode(stored)
    stored["PixelData"].VR = "OW"
    asked = Dataset()
    asked.TransactionUID = UID
    with (
        talking(keeper, handlers, ae=with_services()) as talk,
        calling(
            talk, PUSH_MODEL, MR, evt_handlers=[(evt.EVT_N_EVENT_REPORT, modality.on_report)]
        ) as association,
    ):
        for _ in range(2):
            modality.reported.clear()
            status, _ = association.send_n_action(asked, 1, PUSH_MODEL, COMMITMENT)
            assert status.Status == 0
            assert modality.reported.wait(20)
        assert association.send_c_store(stored).Status == 0
    assert modality.reports == [1, 1]
    assert answers == [0, 0]
    assert talk.endings == [Ending.RELEASED]


def action_request() -> bytes:
    """Return an N-ACTION-RQ without a data set."""
    elements: dict[int, str | bytes | int] = {
        0x0003: PUSH_MODEL,
        0x0100: 0x0130,
        0x0110: 5,
        0x0800: NO_DATA_SET,
        0x1001: COMMITMENT,
        0x1008: 1,
    }
    return command(command_set(elements), context_id=ECHO)


def echo_request() -> bytes:
    elements: dict[int, str | bytes | int] = {
        0x0002: VERIFICATION,
        0x0100: 0x0030,
        0x0110: 9,
        0x0800: NO_DATA_SET,
    }
    return command(command_set(elements), context_id=ECHO)


def report_answer() -> bytes:
    """Return an N-EVENT-REPORT-RSP."""
    elements: dict[int, str | bytes | int] = {
        0x0002: PUSH_MODEL,
        0x0100: 0x8100,
        0x0120: 1,
        0x0800: NO_DATA_SET,
        0x0900: 0,
        0x1000: COMMITMENT,
        0x1002: 1,
    }
    return command(command_set(elements), context_id=ECHO)


def test_what_a_peer_asks_while_it_owes_an_answer_is_done_too() -> None:
    """Stores are answered at once, other requests after what is in hand."""
    answers: list[Any] = []
    ae = with_services()
    handlers = [(evt.EVT_N_ACTION, committing(answers)), (evt.EVT_C_ECHO, lambda _: 0)]
    keeper = Keeper()
    with talking(keeper, handlers, ae=ae) as talk, caller(talk, second=PUSH_MODEL) as peer:
        peer.say(action_request())
        assert peer.statuses(1) == [0]
        report = [peer.hear(), peer.hear()]
        assert all(heard is not None and heard[0] == 4 for heard in report)
        peer.say(echo_request(), command(store_command()), data(b"x"))
        assert peer.statuses(1) == [0]
        assert [kept.data for kept in keeper.kept] == [b"x"]
        assert answers == []
        peer.say(report_answer())
        assert peer.statuses(1) == [0]
        peer.say(pdu(5))
        assert peer.hear() == (6, bytes(4))
    assert answers == [0]
    assert talk.endings == [Ending.RELEASED]


def test_a_peer_that_releases_instead_of_answering_a_report_is_released() -> None:
    answers: list[Any] = []
    handlers = [(evt.EVT_N_ACTION, committing(answers))]
    ae = with_services()
    with talking(handlers=handlers, ae=ae) as talk, caller(talk, second=PUSH_MODEL) as peer:
        peer.say(action_request())
        assert peer.statuses(1) == [0]
        assert [peer.hear() is not None for _ in range(2)] == [True, True]
        peer.say(pdu(5))
        assert peer.hear() == (6, bytes(4))
    assert answers == [None]
    assert talk.endings == [Ending.RELEASED]
