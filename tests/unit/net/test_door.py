"""What the first bytes of a connection say about it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.door import HEAD, LONGEST_REQUEST, LOOK, bytes_wanted


def request(length: int) -> bytes:
    return struct.pack(">BBI", 1, 0, length)


@given(st.integers(0, LONGEST_REQUEST), st.binary(max_size=50))
def test_a_request_is_waited_for_up_to_the_limit(length: int, rest: bytes) -> None:
    assert bytes_wanted(request(length) + rest) == min(HEAD + length, LOOK)


@given(st.integers(0, 5))
def test_less_than_a_head_asks_for_the_head(length: int) -> None:
    assert bytes_wanted(request(200)[:length]) == HEAD


@given(st.binary(min_size=1, max_size=50).filter(lambda data: data[0] != 1))
def test_whatever_else_is_no_request(data: bytes) -> None:
    assert bytes_wanted(data) is None


@pytest.mark.parametrize("length", [LONGEST_REQUEST + 1, 400 * 2**20, 2**32 - 1])
def test_a_request_of_absurd_length_is_none(length: int) -> None:
    assert bytes_wanted(request(length)) is None
