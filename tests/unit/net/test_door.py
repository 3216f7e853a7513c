"""What the first bytes of a connection say about it."""

import resource
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.net.door import (
    ASSOCIATE_RQ,
    CLIENT_HELLO,
    HEAD,
    LONGEST_RECORD,
    LONGEST_REQUEST,
    LOOK,
    RECORD_HEAD,
    bytes_wanted,
    more_descriptors,
)


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


def hello(length: int, *, minor: int = 1, message: int = 1) -> bytes:
    return struct.pack(">BBBHB", 0x16, 3, minor, length, message)


@given(st.integers(1, LONGEST_RECORD), st.integers(0, 255), st.binary(max_size=50))
def test_a_client_hello_of_any_version_is_waited_for(length: int, minor: int, rest: bytes) -> None:
    wanted = bytes_wanted(hello(length, minor=minor) + rest, CLIENT_HELLO)
    assert wanted == min(RECORD_HEAD + length, LOOK)


@given(st.integers(0, 5))
def test_less_than_the_head_of_a_record_asks_for_it(length: int) -> None:
    assert bytes_wanted(hello(200)[:length], CLIENT_HELLO) == HEAD


@given(st.binary(min_size=1, max_size=50).filter(lambda data: data[:2] != b"\x16\x03"[: len(data)]))
def test_whatever_else_is_no_client_hello(data: bytes) -> None:
    assert bytes_wanted(data, CLIENT_HELLO) is None


@pytest.mark.parametrize(
    "head",
    [hello(0), hello(LONGEST_RECORD + 1), hello(0xFFFF), hello(200, message=2), request(200)],
)
def test_a_record_that_no_client_begins_with_is_none(head: bytes) -> None:
    assert bytes_wanted(head, CLIENT_HELLO) is None


@given(st.binary(max_size=50))
def test_nothing_is_welcome_at_both_doors(data: bytes) -> None:
    wanted = [bytes_wanted(data, first) for first in (ASSOCIATE_RQ, CLIENT_HELLO)]
    assert None in wanted or data == b""


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert more_descriptors(400) == 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, hard)
        assert more_descriptors(300) == 400  # never lowered
        assert more_descriptors(2**40) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
