"""Regular expressions of a rule file: compiled without case, refused when they could run away.

Python's `re` has no time limit, so a pattern is judged before it is ever run. `ways` walks the
parse tree and counts, for a text of TEXT_LIMIT characters, in how many ways the pattern could
be tried from one position: a sequence multiplies, an alternation adds, a repeat takes the powers
of its body. That number bounds the backtracking, so every pattern below WAYS_LIMIT is fast on
every text; `(a+)+`, `(a|a)*` or thirty `a?` in a row are far above it. Back-references and
conditionals are refused outright.
"""

import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

TEXT_LIMIT: Final = 128
"""Characters of a header value that are looked at; LO, the longest of them, allows 64."""

PATTERN_LIMIT: Final = 300
"""Characters of a pattern."""

WAYS_LIMIT: Final = 20_000
"""One `.*` costs 129; two of them in a row are allowed, three are not."""

# `re._parser` is private, but sre_parse, the same module's public name, is deprecated.
_parser: Any = importlib.import_module("re._parser")

_ONE_WAY: Final = frozenset({"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "CATEGORY", "RANGE"})
_REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_GROUPS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "SUBPATTERN": lambda argument: argument[-1],
        "ATOMIC_GROUP": lambda argument: argument,
        "ASSERT": lambda argument: argument[1],
        "ASSERT_NOT": lambda argument: argument[1],
    }
)


def compile_pattern(source: str) -> re.Pattern[str]:
    """Compile one pattern of a rule file, ignoring case.

    Raises ValueError, with a sentence for the administrator, if it is no regular expression,
    matches the empty text, is too long, or could take too long.
    """
    if len(source) > PATTERN_LIMIT:
        raise ValueError(f"the pattern is longer than {PATTERN_LIMIT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(source, re.IGNORECASE)
            cost = _ways(_parser.parse(source, re.IGNORECASE))
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if cost > WAYS_LIMIT:
        raise ValueError("the pattern could take too long: fewer repeats, no back-reference")
    if compiled.search("") is not None:
        raise ValueError("the pattern also matches an empty text, so it would always match")
    return compiled


def _ways(tree: Any) -> int:
    """Return the number of ways to try a parsed pattern; stops counting above the limit."""
    total = 1
    for operator, argument in tree:
        total *= _ways_of(str(operator), argument)
        if total > WAYS_LIMIT:
            break
    return total


def _ways_of(operator: str, argument: Any) -> int:
    if operator in _ONE_WAY:
        return 1
    if operator == "BRANCH":
        return sum(_ways(branch) for branch in argument[1])
    if operator in _GROUPS:
        return _ways(_GROUPS[operator](argument))
    if operator in _REPEATS:
        low, high, body = argument
        return _repeated(_ways(body), int(low), min(int(high), TEXT_LIMIT))
    return WAYS_LIMIT + 1


def _repeated(body: int, low: int, high: int) -> int:
    total = 0
    for count in range(low, high + 1):
        total += body**count
        if total > WAYS_LIMIT:
            break
    return total


@lru_cache(maxsize=4096)
def readable(text: str) -> str:
    """Return a header's text as patterns see it: `_` is a blank, runs of blanks are one.

    Scanners and converters write blanks as underscores, and an underscore counts as a letter
    for the word boundary of a regular expression.
    """
    return " ".join(text[: 2 * TEXT_LIMIT].replace("_", " ").split())[:TEXT_LIMIT]


def hits(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    """Return whether any of the patterns is found in a text that went through `readable`."""
    return any(pattern.search(text) is not None for pattern in patterns)
