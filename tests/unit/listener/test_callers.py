"""Who may call."""

import pytest

from node.domain.errors import ConfigurationInvalid
from node.listener.callers import may_call, parse_callers


@pytest.mark.parametrize(
    ("entries", "title", "address", "admitted"),
    [
        ([], "ANY", "10.0.0.1", True),
        (["*"], "ANY", "10.0.0.1", True),
        (["MR1"], "MR1", "10.0.0.1", True),
        (["MR1"], "MR2", "10.0.0.1", False),
        (["MR1"], "mr1", "10.0.0.1", False),
        (["MR1@10.0.0.1"], "MR1", "10.0.0.1", True),
        (["MR1@10.0.0.1"], "MR1", "10.0.0.2", False),
        (["MR1@10.0.0.1"], "MR2", "10.0.0.1", False),
        (["MR1@10.0.0.0/24", "CT"], "MR1", "10.0.0.77", True),
        (["MR1@10.0.0.5/24"], "MR1", "10.0.1.77", False),
        (["*@10.0.0.0/8"], "X", "10.9.8.7", True),
        (["*@10.0.0.0/8"], "X", "::ffff:10.9.8.7", True),
        (["*@10.0.0.0/8"], "X", "fe80::1%eth0", False),
        (["MR1@fe80::/10"], "MR1", "fe80::1%eth0", True),
    ],
)
def test_a_caller_is_admitted_by_title_and_address(
    entries: list[str], title: str, address: str, *, admitted: bool
) -> None:
    assert may_call(parse_callers(entries), title, address) is admitted


@pytest.mark.parametrize(
    "entry", ["", "@10.0.0.1", "MR1@", "MR1@host", "A" * 17, "MR1@10.0.0.1/99"]
)
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"caller '"):
        parse_callers(["GOOD", entry])
