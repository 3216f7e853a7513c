"""Our C-STORE command sets against pynetdicom's own decoder, on every input."""

import struct
from io import BytesIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RSP, DIMSEMessage
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from node.net.commands import (
    NO_DATA_SET,
    StoreCommand,
    read_store_command,
    store_response,
    text_of,
)
from node.net.storing import LONGEST_COMMENT, StoreAnswer
from tests.support.conversing import store_command
from tests.support.dicom_objects import MR

shorts = st.integers(0, 0xFFFF)
uids = st.from_regex(r"[0-9.]{0,64}", fullmatch=True)


def reference(command: bytes) -> Any:
    return decode(BytesIO(command), True, True)


@given(shorts, shorts, uids, uids, st.booleans())
def test_a_usual_command_is_read_as_it_was_written(
    message_id: int, kind: int, sop_class: str, instance: str, moved: bool
) -> None:
    origin: dict[str, Any] = {
        "MoveOriginatorApplicationEntityTitle": "PACS",
        "MoveOriginatorMessageID": 3,
    }
    command = store_command(
        MessageID=message_id,
        CommandDataSetType=kind,
        AffectedSOPClassUID=sop_class,
        AffectedSOPInstanceUID=instance,
        **(origin if moved else {}),
    )
    found = read_store_command(command)
    assert found is not None
    assert found.message_id == message_id
    assert text_of(found.sop_class_uid) == sop_class
    assert text_of(found.sop_instance_uid) == instance
    assert found.has_data_set == (kind != NO_DATA_SET)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a command set with some bytes replaced, cut out, or put in."""
    command = bytearray(store_command(Priority=draw(st.sampled_from([None, 0, 2]))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(command)))
        length = draw(st.integers(0, 3))
        command[at : at + length] = draw(st.binary(max_size=4))
    return bytes(command)


@given(st.one_of(damaged(), st.binary(max_size=200)))
def test_what_is_read_of_a_damaged_command_is_what_the_reference_reads(command: bytes) -> None:
    found = read_store_command(command)
    if found is None:
        return  # left to the reference
    theirs = reference(command)
    assert theirs.CommandField == 1
    assert theirs.MessageID == found.message_id
    assert (theirs.CommandDataSetType != NO_DATA_SET) == found.has_data_set
    for tag, ours in ((0x00000002, found.sop_class_uid), (0x00001000, found.sop_instance_uid)):
        raw = theirs.get_item(tag)
        assert (raw.value or b"") == ours


def test_other_messages_and_forms_are_left_to_the_reference() -> None:
    usual = store_command()
    assert read_store_command(usual) is not None
    for unusual in (
        b"",
        usual[:-1],
        usual + b"\0",
        usual + usual,
        store_command(CommandField=0x0030),
        store_command(MessageID=None),
        store_command(CommandDataSetType=None),
        store_command(AffectedSOPInstanceUID=None),
        store_command(ErrorComment="in a request"),
        usual + struct.pack("<HHIH", 8, 0x0005, 2, 0),
    ):
        assert read_store_command(unusual) is None


@given(
    shorts,
    st.integers(0, 255),
    shorts,
    st.text(max_size=100),
    st.binary(max_size=80),
    st.from_regex(r"[0-9.]{0,64}", fullmatch=True),
)
def test_a_response_is_understood_by_the_reference(
    message_id: int, context_id: int, status: int, comment: str, wrong: bytes, uid: str
) -> None:
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    command = StoreCommand(message_id, wrong, padded, has_data_set=True)
    pdu = P_DATA_TF()
    pdu.decode(store_response(command, context_id, StoreAnswer(status=status, comment=comment)))
    primitive = pdu.to_primitive()
    ((found_context, data),) = primitive.presentation_data_value_list
    assert (found_context, data[0]) == (context_id, 0x03)
    message = DIMSEMessage()
    assert message.decode_msg(primitive)
    assert isinstance(message, C_STORE_RSP)
    found = message.command_set
    assert found.MessageIDBeingRespondedTo == message_id
    assert found.Status == status
    assert found.CommandDataSetType == NO_DATA_SET
    assert found.CommandGroupLength == len(data) - 1 - 12
    assert (found.get_item(0x00001000).value or b"") == padded
    if comment:
        raw = found.get_item(0x00000902).value
        assert len(raw) <= LONGEST_COMMENT
        assert raw.rstrip(b" ").isascii()


def test_a_uid_that_is_too_long_is_not_repeated() -> None:
    command = StoreCommand(1, MR.encode() + b"\0", b"1" * 66, has_data_set=True)
    pdu = store_response(command, 1, StoreAnswer(status=0xA900))
    assert MR.encode() in pdu
    assert b"1" * 66 not in pdu


def test_a_uid_loses_its_padding_and_nothing_else() -> None:
    assert text_of(b"1.2.3\0") == "1.2.3"
    assert text_of(b"1.2.3 ") == "1.2.3"
    assert text_of(b"../\xe4\0x\0") == "../ä\0x"
    assert text_of(b"") == ""
