"""The default rule on the table of real headers, which lies outside the repository."""

import pytest

from tests.benchmarks.rules_on_headers import Row, read_table, score
from tests.support.shared import shared_path
from tests.unit.rules.builders import the_default_rule

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    return read_table(shared_path("data/headers") / "headers.csv")


def test_nearly_every_series_with_physics_gets_its_role_and_none_a_wrong_one(
    rows: tuple[Row, ...],
) -> None:
    result = score(the_default_rule(), [row for row in rows if row.has_physics])
    assert result.rows > 300
    assert result.accuracy >= 0.98
    assert result.recall >= 0.97
    assert result.precision >= 0.99


def test_the_half_that_the_rule_was_not_tuned_on_does_as_well(rows: tuple[Row, ...]) -> None:
    held = [row for row in rows if row.is_held_out]
    result = score(the_default_rule(), [row for row in held if row.has_physics])
    assert result.rows > 150
    assert result.accuracy >= 0.97
    assert result.precision >= 0.99


def test_a_description_alone_is_nearly_always_read_right(rows: tuple[Row, ...]) -> None:
    result = score(the_default_rule(), [row for row in rows if not row.has_physics])
    assert result.rows > 300
    assert result.accuracy >= 0.98
    assert result.precision >= 0.98
