"""Fuzz a decoder of ours against its reference: `python -m tests.fuzz TARGET [options]`.

Needs atheris (`pip install atheris`), which is no dependency of Segnode. Options are libFuzzer's:
`-max_total_time=300`, a folder for the corpus. Targets: fragments, command, header.
"""

import sys
from collections.abc import Callable
from io import BytesIO

import atheris

with atheris.instrument_imports(include=["node.net.wire", "node.net.commands", "node.dicom"]):
    from node.dicom.headers import identity_of, read_header, read_identity
    from node.net.commands import NO_DATA_SET, read_store_command
    from node.net.storing import Hangup
    from node.net.wire import fragments

from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from node.domain.errors import RefusedInput

SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)


def fuzz_fragments(data: bytes) -> None:
    """Hold what we split against what pynetdicom splits."""
    try:
        ours = [
            (context, bytes([control]) + bytes(part))
            for context, control, part in fragments(memoryview(data))
        ]
    except Hangup:
        return
    pdu = P_DATA_TF()
    pdu.decode(b"\x04\x00" + len(data).to_bytes(4, "big") + data)
    theirs = [
        (item.presentation_context_id, bytes(item.presentation_data_value))
        for item in pdu.presentation_data_value_items
    ]
    assert ours == theirs


def fuzz_command(data: bytes) -> None:
    """Hold what we read of a command against what pydicom reads."""
    ours = read_store_command(data)
    if ours is None:
        return
    theirs = decode(BytesIO(data), True, True)
    assert theirs.MessageID == ours.message_id
    assert (theirs.CommandDataSetType != NO_DATA_SET) == ours.has_data_set
    for tag, value in ((0x00000002, ours.sop_class_uid), (0x00001000, ours.sop_instance_uid)):
        assert (theirs.get_item(tag).value or b"") == value


def fuzz_header(data: bytes) -> None:
    """Hold the short way against the long one; nothing is raised but named refusals."""
    if not data:
        return
    syntax, data_set = SYNTAXES[data[0] % len(SYNTAXES)], data[1:]
    try:
        header = read_header(data_set, syntax)
    except RefusedInput:
        header = None
    try:
        identity = read_identity(data_set, syntax, start=0, end=len(data_set))
    except RefusedInput:
        assert header is None
        return
    if identity is not None:
        assert header is not None
        assert identity == identity_of(header)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "fragments": fuzz_fragments,
    "command": fuzz_command,
    "header": fuzz_header,
}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(__doc__)
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
