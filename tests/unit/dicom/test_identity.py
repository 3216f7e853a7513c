"""The identity of an object from its first bytes, against the whole as the reference."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.headers import identity_of, read_header, read_identity
from node.dicom.ours import is_ours
from node.domain.errors import MissingIdentifier, RefusedInput
from node.domain.header import Identity
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    encode,
    enhanced_dataset,
    mr_dataset,
)

SYNTAXES = [IMPLICIT, EXPLICIT, BIG_ENDIAN]
OBJECTS = {
    (name, syntax): encode(make(), syntax)
    for name, make in (("classic", mr_dataset), ("enhanced", enhanced_dataset))
    for syntax in SYNTAXES
}


@given(st.sampled_from(sorted(OBJECTS)), st.integers(0, 3000), st.binary(max_size=20))
def test_a_beginning_says_what_the_whole_says_or_nothing(
    which: tuple[str, str], length: int, before: bytes
) -> None:
    data, syntax = OBJECTS[which], which[1]
    file = before + data
    found = read_identity(file[:length], syntax, start=len(before), end=len(file))
    assert found in {None, identity_of(read_header(data, syntax))}
    if length >= len(file):
        assert found is not None


@given(st.sampled_from(sorted(OBJECTS)), st.integers(0, 2000), st.data())
def test_of_a_damaged_object_it_says_no_more_than_the_whole(
    which: tuple[str, str], length: int, data: st.DataObject
) -> None:
    syntax, damaged = which[1], bytearray(OBJECTS[which])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(damaged[: len(damaged) - data.draw(st.integers(0, 40))])
    expected = _outcome(lambda: identity_of(read_header(whole, syntax)))
    found = _outcome(lambda: read_identity(whole[:length], syntax, start=0, end=len(whole)))
    assert found in {None, expected}


def _outcome(read: Callable[[], Identity | None]) -> Identity | type[RefusedInput] | None:
    try:
        return read()
    except RefusedInput as error:
        return type(error)


def test_a_deflated_beginning_says_nothing() -> None:
    data = encode(mr_dataset(), DEFLATED)
    assert read_identity(data, DEFLATED, start=0, end=len(data)) is None


def test_a_missing_identifier_is_told_as_by_the_whole() -> None:
    data = encode(mr_dataset(StudyInstanceUID=None), EXPLICIT)
    with pytest.raises(MissingIdentifier, match="Study Instance UID"):
        read_identity(data, EXPLICIT, start=0, end=len(data))


def test_our_own_objects_are_known_by_their_identity() -> None:
    for made, ours in ((mr_dataset(Manufacturer="Segnode"), True), (mr_dataset(), False)):
        data = encode(made)
        found = read_identity(data, EXPLICIT, start=0, end=len(data))
        assert found is not None
        assert is_ours(found) is ours
