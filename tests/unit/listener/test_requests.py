"""Requests of modalities, read from bytes that nobody vouches for, and their way through a port."""

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from node.domain.states import StepState
from node.listener import commitment, mpps, requests
from node.listener.parcels import MOST_OPEN, PIECE, Parcels, in_pieces
from node.listener.requests import Body, RequestRefused
from tests.support.dicom_objects import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    dataset,
    encode,
    explicit_element,
    sequence,
)
from tests.support.services import a_new_step, a_request, series_item

STUDY, STEP, TRANSACTION = "1.2.3", "1.2.3.4", "1.2.3.5"
MR = "1.2.840.10008.5.1.4.1.1.4"


def event_of(data: bytes | None, syntax: str = EXPLICIT, **request: Any) -> Any:
    """Return what pynetdicom gives a handler, as far as it is looked at."""
    stream = None if data is None else io.BytesIO(data)
    found = {
        "AttributeList": stream,
        "ModificationList": stream,
        "ActionInformation": stream,
        "RequestedSOPInstanceUID": STEP,
        "ActionTypeID": 1,
        **request,
    }
    requestor = SimpleNamespace(
        address="10.0.0.1", primitive=SimpleNamespace(calling_ae_title="MR1"), ae_title="MR1"
    )
    return SimpleNamespace(
        request=SimpleNamespace(**found),
        context=SimpleNamespace(transfer_syntax=syntax),
        assoc=SimpleNamespace(requestor=requestor),
    )


def asked(data: bytes | None, syntax: str = EXPLICIT, **request: Any) -> commitment.CommitmentAsked:
    known = {"RequestedSOPInstanceUID": commitment.PUSH_MODEL_INSTANCE, **request}
    return commitment.commitment_asked(event_of(data, syntax, **known), "MR1")


def change(made: Dataset, syntax: str = EXPLICIT) -> mpps.StepChanged:
    return mpps.step_changed(event_of(encode(made, syntax), syntax), "MR1")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_images_are_listed_by_series_each_once(syntax: str) -> None:
    made = dataset(
        PerformedProcedureStepStatus="COMPLETED",
        PerformedSeriesSequence=sequence(
            series_item("1.2.1", ["1.2.1.1", "1.2.1.2", "1.2.1.1"]),
            series_item("1.2.2", []),
            series_item("1.2.1", ["1.2.1.3"]),
        ),
    )
    assert change(made, syntax) == mpps.StepChanged(
        calling_ae_title="MR1",
        sop_instance_uid=STEP,
        state=StepState.COMPLETED,
        images={"1.2.1": ("1.2.1.1", "1.2.1.2", "1.2.1.3"), "1.2.2": ()},
    )


def test_what_is_not_said_is_none_and_what_is_empty_is_empty() -> None:
    nothing = change(dataset(Modality="MR"))
    assert (nothing.state, nothing.images) == (None, None)
    assert change(dataset(PerformedSeriesSequence=sequence())).images == {}


def test_a_series_list_that_is_no_sequence_is_no_list() -> None:
    wrong = explicit_element(0x00400340, b"LO", b"1.2.3 ")
    found = mpps.step_changed(event_of(wrong), "MR1")
    assert found.images is None


def items_of(tag: int, *items: bytes) -> bytes:
    """Encode a sequence by hand, with what pydicom would not write."""
    lengths = [len(item).to_bytes(4, "little") for item in items]
    encoded = [b"\xfe\xff\x00\xe0" + n + item for n, item in zip(lengths, items, strict=True)]
    return explicit_element(tag, b"SQ", b"".join(encoded))


@pytest.mark.parametrize("uid", ["../../etc", "1.2.3\\1.2.4", "9" * 65, "1.2.x", "1.2 .3", ""])
def test_a_uid_that_is_none_is_refused(uid: str) -> None:
    series, bad_series = (explicit_element(0x0020000E, b"UI", u) for u in (b"1.2.", uid.encode()))
    image = explicit_element(0x00081155, b"UI", uid.encode())
    for item in (bad_series, items_of(0x00081140, image) + series):
        with pytest.raises(RequestRefused) as refused:
            mpps.step_changed(event_of(items_of(0x00400340, item)), "MR1")
        assert refused.value.status == (0x0106 if uid else 0x0121)
    transaction = explicit_element(0x00081195, b"UI", b"1.2.")
    reference = explicit_element(0x00081150, b"UI", MR.encode()) + image
    with pytest.raises(RequestRefused) as refused:
        asked(transaction + items_of(0x00081199, reference))
    assert refused.value.status == 0x0115


@pytest.mark.parametrize("syntax", [DEFLATED, "1.2.840.10008.1.2.2", "1.2.3"])
def test_only_the_two_negotiated_syntaxes_are_read(syntax: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        asked(encode(a_request(TRANSACTION, (MR, "1.2"))), syntax)
    assert refused.value.status == 0x0115


def test_a_request_without_a_data_set_is_refused() -> None:
    with pytest.raises(RequestRefused) as refused:
        asked(None)
    assert refused.value.status == 0x0115
    with pytest.raises(RequestRefused) as refused:
        mpps.step_created(event_of(None), "MR1", STEP)
    assert refused.value.status == 0x0120


def test_too_many_bytes_or_items_are_refused_before_they_are_read() -> None:
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    for data in (bytes(requests.MOST_BYTES + 1), item * (requests.MOST_ITEMS + 1)):
        with pytest.raises(RequestRefused) as refused:
            asked(data)
        assert refused.value.status == 0x0213


def test_objects_of_a_commitment_are_asked_for_once_each() -> None:
    found = asked(encode(a_request(TRANSACTION, (MR, "1.2"), (MR, "1.3"), (MR, "1.2"))))
    assert found.objects == ((MR, "1.2"), (MR, "1.3"))
    assert (found.transaction_uid, found.address) == (TRANSACTION, "10.0.0.1")


WHOLE = (
    encode(a_new_step(STUDY, PerformedSeriesSequence=sequence(series_item("1.2", ["1.2.1"])))),
    encode(a_request(TRANSACTION, (MR, "1.2"), (MR, "1.3"))),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a data set that was cut, or in which some bytes are others."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@given(st.one_of(st.binary(max_size=300), damaged()), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_any_bytes_are_taken_or_refused_with_a_status(data: bytes, syntax: str) -> None:
    readers = (
        lambda: mpps.step_created(event_of(data, syntax), "MR1", STEP),
        lambda: mpps.step_changed(event_of(data, syntax), "MR1"),
        lambda: asked(data, syntax),
    )
    for read in readers:
        try:
            message = read()
        except RequestRefused as refusal:
            found = refusal.status
        else:
            found = requests.PROCESSING_FAILURE
            assert type(message).from_json(json.loads(json.dumps(message.to_json()))) == message
        assert found in requests.COMMENTS


uids = st.from_regex(r"[0-9]{1,8}(\.[0-9]{1,8}){0,5}", fullmatch=True)


@given(
    st.sampled_from([None, *StepState]),
    st.none() | st.dictionaries(uids, st.lists(uids, max_size=4).map(tuple), max_size=4),
)
def test_a_change_survives_its_way_through_json(
    state: StepState | None, images: dict[str, tuple[str, ...]] | None
) -> None:
    message = mpps.StepChanged(
        calling_ae_title="MR1", sop_instance_uid=STEP, state=state, images=images
    )
    assert mpps.StepChanged.from_json(json.loads(json.dumps(message.to_json()))) == message


@given(st.text(max_size=20), st.integers(0, 4 * PIECE))
def test_a_message_of_any_length_arrives_whole_in_short_pieces(text: str, length: int) -> None:
    parcels, whole = Parcels(), []

    def port(body: Body) -> Body:
        assert len(json.dumps(body)) < 128 * 1024
        found = parcels.accept(json.loads(json.dumps(body)))
        whole.extend([] if found is None else [found])
        return {"status": 0, "whole": found is not None}

    message: Body = {"kind": "x", "text": text, "more": "1.2\\" * (length // 4)}
    assert in_pieces(port)(message)["whole"]
    assert whole == [message]


def test_pieces_that_do_not_fit_are_not_put_together() -> None:
    parcels = Parcels()
    piece = {"kind": "piece", "of": "a", "number": 2, "last": 3, "text": "x"}
    with pytest.raises(ValueError, match="do not fit"):
        parcels.accept(piece)


def test_of_many_messages_that_never_become_whole_the_oldest_is_forgotten() -> None:
    parcels = Parcels()
    for number in range(MOST_OPEN + 2):
        piece = {"kind": "piece", "of": str(number), "number": 1, "last": 2, "text": "{"}
        assert parcels.accept(piece) is None
    with pytest.raises(ValueError, match="do not fit"):
        parcels.accept({"kind": "piece", "of": "0", "number": 2, "last": 2, "text": "}"})
    last = {"kind": "piece", "of": str(MOST_OPEN + 1), "number": 2, "last": 2, "text": "}"}
    assert parcels.accept(last) == {}


def test_a_refused_piece_ends_the_message() -> None:
    sent = []

    def port(body: Body) -> Body:
        sent.append(body)
        return {"status": 0x0110}

    assert in_pieces(port)({"text": "x" * (3 * PIECE)})["status"] == 0x0110
    assert len(sent) == 1


def test_every_status_has_a_comment_that_fits() -> None:
    assert all(0 < len(words) <= 64 for words in requests.COMMENTS.values())
