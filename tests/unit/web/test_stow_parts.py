"""Splitting a multipart body that arrives in any pieces."""

from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.web.stow_parts import BodyBroken, PartLimits, PartReader, parse_media_type

BOUNDARY = "-bound-"
DELIMITER = b"\r\n--" + BOUNDARY.encode()
TEMPORARY = Path(gettempdir())

# Contents that are close to a boundary are the ones that could be split wrongly.
CLOSE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"--", b"\r\n--", b"\r\n--" + BOUNDARY.encode()[:-1], b"-bound-", b"\0"]
)
CONTENT = st.lists(st.one_of(CLOSE, st.binary(max_size=40)), max_size=12).map(b"".join)


def read(
    body: bytes, cuts: list[int], *, part_bytes: int = 10_000, memory_bytes: int = 64
) -> list[tuple[str | None, bytes, bool]]:
    """Feed a body in pieces; return each part's type, content and whether it was too long."""
    found: list[tuple[str | None, bytes, bool]] = []
    reader = PartReader(
        BOUNDARY,
        PartLimits(part_bytes=part_bytes, memory_bytes=memory_bytes, temporary=TEMPORARY),
        lambda part: found.append(
            (part.media_type.essence if part.media_type else None, part.file.read(), part.too_long)
        ),
    )
    try:
        edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
        for start, end in pairwise(edges):
            reader.feed(body[start:end])
        reader.finish()
    finally:
        reader.close()
    return found


def a_body(contents: list[bytes], epilogue: bytes = b"\r\n") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return (
        b"".join(head + content + b"\r\n" for content in contents)
        + f"--{BOUNDARY}--".encode()
        + epilogue
    )


@given(
    st.lists(
        CONTENT.filter(lambda c: b"\r\n--" + BOUNDARY.encode() not in b"\r\n" + c), max_size=4
    ),
    st.lists(st.integers(0, 5000), max_size=20),
)
def test_whatever_the_pieces_the_parts_are_what_was_put_in(
    contents: list[bytes], cuts: list[int]
) -> None:
    found = read(a_body(contents), cuts)
    assert found == [("application/dicom", content, False) for content in contents]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
def test_any_bytes_are_parts_or_a_broken_body_and_nothing_else(
    body: bytes, cuts: list[int]
) -> None:
    try:
        read(body, cuts)
    except BodyBroken:
        return


@given(st.data())
def test_a_body_that_was_cut_or_changed_never_gives_more_than_it_had(
    data: st.DataObject,
) -> None:
    body = bytearray(a_body([b"first" * 9, b"second" * 9]))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(body)))
    try:
        found = read(bytes(body[:end]), data.draw(st.lists(st.integers(0, 400), max_size=5)))
    except BodyBroken:
        return
    assert sum(len(content) for _, content, _ in found) <= len(body)


def test_a_part_over_the_limit_is_named_and_not_kept() -> None:
    found = read(a_body([b"x" * 100, b"y" * 101, b"z"]), list(range(0, 400, 7)), part_bytes=100)
    assert [(len(content), too_long) for _, content, too_long in found] == [
        (100, False),
        (0, True),
        (1, False),
    ]


def test_a_part_beyond_the_memory_limit_lies_in_a_file_and_reads_the_same() -> None:
    content = bytes(range(256)) * 30
    assert read(a_body([content]), [1000, 2000, 3000], memory_bytes=100)[0][1] == content


def test_a_body_without_its_last_boundary_is_broken() -> None:
    with pytest.raises(BodyBroken, match="last boundary"):
        read(a_body([b"whole"])[:-6], [])


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary at all",
        f"--{BOUNDARY}\r\nNo colon\r\n\r\n".encode(),
        f"--{BOUNDARY}\r\nX: ".encode() + b"a" * 10_000,
        f"--{BOUNDARY}\r\n".encode() + b"X: a\r\n" * 100,
    ],
)
def test_what_is_no_multipart_body_is_broken(body: bytes) -> None:
    with pytest.raises(BodyBroken):
        read(body, [])


@pytest.mark.parametrize("boundary", ["", "a\r\nb", "x" * 201, "ends with blank ", "ü", 'quo"te'])
def test_a_boundary_that_the_standard_does_not_know_is_broken(boundary: str) -> None:
    with pytest.raises(BodyBroken):
        PartReader(
            boundary,
            PartLimits(part_bytes=1, memory_bytes=1, temporary=TEMPORARY),
            lambda part: None,
        )


def test_a_quoted_parameter_is_read_whole() -> None:
    found = parse_media_type('Multipart/Related; TYPE="application/dicom"; boundary="a;b c"')
    assert found.essence == "multipart/related"
    assert found.parameters == {"type": "application/dicom", "boundary": "a;b c"}


@given(st.text(max_size=80))
def test_any_text_can_be_looked_at_as_a_media_type(text: str) -> None:
    assert parse_media_type(text).essence == text.partition(";")[0].strip().lower()
