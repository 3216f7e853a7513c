"""Frozen values to JSON and back, by their type hints."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.domain.header import Header, Plane
from node.domain.states import RevisionState
from node.domain.study import (
    AnalysisOrder,
    CompletionDecision,
    DeliveryRecord,
    RoleDecision,
    SeriesFacts,
)
from node.store import codec

finite = st.floats(allow_nan=False, allow_infinity=False)

st.register_type_strategy(float, finite)
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))

KEPT: list[Any] = [
    Header,
    Plane,
    SeriesFacts,
    RoleDecision,
    CompletionDecision,
    AnalysisOrder,
    DeliveryRecord,
]


@given(st.sampled_from(KEPT).flatmap(st.from_type))
def test_every_value_that_the_ledger_keeps_comes_back_the_same(value: object) -> None:
    assert codec.loads(type(value), codec.dumps(value)) == value


@given(st.lists(st.from_type(Plane), max_size=5))
def test_planes_come_back_bit_by_bit(planes: list[Plane]) -> None:
    packed = codec.pack_planes(planes)
    assert len(packed) == 72 * len(planes)
    assert codec.unpack_planes(packed) == tuple(planes)


def test_fields_that_an_older_version_did_not_write_take_their_defaults() -> None:
    text = '{"state":"WAITING","reason":{"code":"ok","text":"t"},"evidence":["a"],"later":1}'
    decision = codec.loads(CompletionDecision, text)
    assert decision.state is RevisionState.WAITING
    assert decision.evidence == ("a",)
    assert decision.roles is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (RevisionState, '"NEVER"'),
        (int, '"1"'),
        (int, "true"),
        (str, "1"),
        (tuple[int, int], "[1]"),
        (datetime, '"yesterday"'),
        (CompletionDecision, "{}"),
        (int | str, "1"),
    ],
)
def test_what_is_not_of_the_type_is_refused(kind: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        codec.loads(kind, text)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_values_that_are_not_plain_are_not_kept(value: object) -> None:
    with pytest.raises(TypeError, match="does not keep"):
        codec.dumps(value)
