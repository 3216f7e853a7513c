"""The error tree: names, meanings and remedies that an administrator can rely on."""

import inspect
import re
from collections.abc import Iterator

import pytest

from node.domain import errors
from node.domain.errors import (
    OwnFault,
    PeerFault,
    RefusedInput,
    SegnodeError,
    SeriesUnusable,
    SiteFault,
    StudyUnusable,
    all_codes,
)


def _tree(kind: type[SegnodeError] = SegnodeError) -> Iterator[type[SegnodeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


ERRORS = list(_tree())
BRANCHES = (RefusedInput, SiteFault, PeerFault, OwnFault)


def test_every_code_is_its_own() -> None:
    codes = [kind.__dict__.get("code") for kind in ERRORS]
    assert None not in codes
    assert len(set(codes)) == len(codes)
    assert all_codes() == frozenset(codes)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda k: k.code)
def test_every_code_is_fit_as_a_metric_label(kind: type[SegnodeError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda k: k.code)
def test_every_error_says_what_it_means_and_what_to_do(kind: type[SegnodeError]) -> None:
    for sentence in (kind.meaning, kind.remedy):
        assert sentence[0].isupper() or sentence.startswith("`segnode ")
        assert sentence.endswith(".")
    assert kind.__doc__


@pytest.mark.parametrize("kind", ERRORS[1:], ids=lambda k: k.code)
def test_every_error_says_whose_fault_it_is(kind: type[SegnodeError]) -> None:
    assert sum(issubclass(kind, branch) for branch in BRANCHES) == 1


@pytest.mark.parametrize("kind", ERRORS, ids=lambda k: k.code)
def test_every_error_carries_what_happened(kind: type[SegnodeError]) -> None:
    error = kind("what happened")
    assert (str(error), error.what) == ("what happened", "what happened")


def test_a_broken_series_is_the_fault_of_the_input_and_so_is_a_broken_study() -> None:
    assert issubclass(SeriesUnusable, RefusedInput)
    assert issubclass(StudyUnusable, RefusedInput)


def test_the_whole_tree_is_drawn_where_it_is_defined() -> None:
    drawn = inspect.getdoc(errors) or ""
    assert [k.__name__ for k in ERRORS if not re.search(rf"\b{k.__name__}\b", drawn)] == []
