"""What a sender is told of the objects of one request."""

import json
import xml.etree.ElementTree as ET

import pytest
from pydicom import Dataset

from node.web.stow_answer import Failure, Outcome, Reference, to_json, to_xml

MR = Reference(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid="1.2.3")
OTHER = Reference(sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid="1.2.4")


def an_outcome() -> Outcome:
    return Outcome(
        taken=[MR],
        failures=[
            Failure(object=OTHER, reason=0xA700, http=503),
            Failure(object=None, reason=0xC000),
        ],
    )


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(), 400),
        (Outcome(taken=[MR]), 200),
        (an_outcome(), 202),
        (Outcome(failures=[Failure(object=MR, reason=0x0111)]), 409),
        (Outcome(failures=[Failure(object=MR, reason=0xA700, http=503)] * 2), 503),
        (Outcome(failures=[Failure(object=None, reason=0xC000, http=415)]), 415),
        (
            Outcome(
                failures=[
                    Failure(object=None, reason=0xC000, http=415),
                    Failure(object=MR, reason=0xA700, http=503),
                ]
            ),
            409,
        ),
    ],
)
def test_the_status_says_whether_all_some_or_none_were_taken(outcome: Outcome, status: int) -> None:
    assert outcome.status == status


def test_each_object_stands_where_the_standard_looks_for_it() -> None:
    content = json.loads(to_json(an_outcome()))
    found = Dataset.from_json(content)
    assert found.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert found.FailedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.4"
    assert found.FailedSOPSequence[0].FailureReason == 0xA700
    assert found.OtherFailuresSequence[0].FailureReason == 0xC000


def test_the_answer_in_xml_says_the_same() -> None:
    root = ET.fromstring(to_xml(an_outcome()))
    assert root.tag == "NativeDicomModel"
    reason = root.find(
        "./DicomAttribute[@keyword='FailedSOPSequence']/Item/"
        "DicomAttribute[@keyword='FailureReason']/Value"
    )
    assert reason is not None
    assert reason.text == str(0xA700)


def test_a_sequence_without_items_is_left_out() -> None:
    content = json.loads(to_json(Outcome(taken=[MR])))
    assert sorted(content) == ["00081190", "00081199"]
