"""Derived UIDs: the same parts give the same UID, other parts another."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from node.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    UID_ROOT,
    derived_uid,
    is_uid,
)

parts = st.lists(st.text(max_size=20), min_size=1, max_size=4)


@given(parts)
def test_a_derived_uid_is_a_uuid_under_the_root(names: list[str]) -> None:
    uid = derived_uid(*names)
    assert uid == derived_uid(*names)
    assert is_uid(uid)
    assert len(uid) <= 44
    number = uid.removeprefix(UID_ROOT)
    assert str(int(number)) == number
    assert uuid.UUID(int=int(number)).variant == uuid.RFC_4122


@given(parts, parts)
def test_other_parts_give_another_uid(some: list[str], others: list[str]) -> None:
    assert (derived_uid(*some) == derived_uid(*others)) == (some == others)


def test_parts_are_not_run_together() -> None:
    assert derived_uid("ab", "c") != derived_uid("a", "bc")


def test_what_is_no_uid_is_told() -> None:
    assert is_uid("1.2.840.10008.1.2")
    assert is_uid("1.2.0010")  # scanners write leading zeros
    for text in ("", "1.2/3", "../1", "1.2 ", "1.2\n", "1" * 65, "٣"):
        assert not is_uid(text)


def test_our_implementation_is_named() -> None:
    assert is_uid(IMPLEMENTATION_CLASS_UID)
    assert IMPLEMENTATION_VERSION_NAME.startswith("SEGNODE_")
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16
