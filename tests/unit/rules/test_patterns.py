"""Patterns: what is compiled, what is refused, and that nothing accepted can run away."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rules.patterns import PATTERN_LIMIT, TEXT_LIMIT, compile_pattern, hits, readable


def test_a_pattern_is_found_without_regard_to_case() -> None:
    assert hits([compile_pattern("t1")], "AX T1 POST")


@pytest.mark.parametrize(
    "source",
    [
        "(a+)+$",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*)*x",
        "(?:a*b*)*c",
        ".*.*.*x",
        "a?" * 30 + "a" * 30,
        "(?:a{1,50}){1,50}x",
        r"(a)\1",
        "(a)?(?(1)b|c)",
    ],
)
def test_a_pattern_that_could_run_away_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="could take too long"):
        compile_pattern(source)


@pytest.mark.parametrize("source", ["(", "[z-a]", "a{2,1}", "*", "(?P<x", "(?z)", "a" * 301])
def test_what_is_no_pattern_is_refused_with_a_sentence(source: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|longer than"):
        compile_pattern(source)


@pytest.mark.parametrize("source", ["", "a*", "(?:t1)?", "x|"])
def test_a_pattern_that_always_matches_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="always match"):
        compile_pattern(source)


@given(st.text(alphabet="ab.*+?|(){}1,", max_size=40), st.text(alphabet="ab", max_size=200))
def test_every_accepted_pattern_is_fast_on_every_text(source: str, text: str) -> None:
    try:
        pattern = compile_pattern(source)
    except ValueError:
        return
    started = time.process_time()
    pattern.search(readable(text + "a" * TEXT_LIMIT + "c"))
    assert time.process_time() - started < 1.0


def test_the_costliest_accepted_patterns_are_fast_on_a_bad_text() -> None:
    for source in (".*.*x", "(?:a|a|a|a|a){6}x", "a?" * 13 + "b", "a{0,99}a{0,99}x"):
        pattern = compile_pattern(source)
        started = time.process_time()
        assert pattern.search("a" * TEXT_LIMIT) is None
        assert time.process_time() - started < 2.0


def test_an_underscore_is_read_as_a_blank_and_blanks_are_joined() -> None:
    assert readable("  t1_mprage__sag \t iso ") == "t1 mprage sag iso"


@given(st.text())
def test_a_readable_text_is_short_and_reading_it_again_changes_nothing(text: str) -> None:
    once = readable(text)
    assert len(once) <= TEXT_LIMIT
    assert readable(once) == once.strip()


def test_the_pattern_limit_is_a_length_that_is_accepted() -> None:
    compile_pattern("a" * PATTERN_LIMIT)
