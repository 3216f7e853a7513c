"""The grammar: what a rule file may say, and what is told about one that may not."""

import dataclasses
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.domain.errors import RuleInvalid
from node.domain.regions import Role
from node.rules.grammar import parse_rules
from tests.unit.rules.builders import DEFAULT_RULE_FILE, SMALL_RULE, the_default_rule


def refused(text: str) -> str:
    with pytest.raises(RuleInvalid) as caught:
        parse_rules(text, name="a.yaml")
    return caught.value.what


def changed(old: str, new: str) -> str:
    assert old in SMALL_RULE
    return SMALL_RULE.replace(old, new)


def test_a_small_rule_has_the_documented_defaults() -> None:
    rule = parse_rules(SMALL_RULE, name="a.yaml")
    assert (rule.name, rule.bundle, rule.reference) == ("small", "some-model", Role.T1C)
    assert rule.required == (Role.T1C,)
    assert rule.destinations == ()
    assert rule.applies_to.modality == ("MR",)
    assert (rule.completion.quiet_s, rule.completion.give_up_s) == (120, 3600)
    assert rule.source == "a.yaml"
    assert rule.sha256 == sha256(SMALL_RULE.encode()).hexdigest()


def test_the_default_rule_is_the_one_that_the_manual_promises() -> None:
    rule = the_default_rule()
    assert (rule.name, rule.bundle, rule.reference) == ("glioma", "intensity-glioma", Role.T1C)
    assert rule.required == (Role.T1, Role.T1C, Role.T2, Role.FLAIR)
    assert (rule.completion.quiet_s, rule.completion.give_up_s) == (120, 3600)


def test_a_rule_cannot_be_changed_after_reading() -> None:
    rule = parse_rules(SMALL_RULE, name="a.yaml")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.name = "other"  # type: ignore[misc, assignment]
    with pytest.raises(ValueError, match="frozen"):
        rule.completion.quiet_s = 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: small", "name: Not A Slug", "a.yaml, line 1: name:"),
        ("bundle: some-model", "bundles: some-model", "a.yaml, line 2: bundles: Extra inputs"),
        ("reference: T1C", "reference: T2", "reference T2 is not in require"),
        ("reference: T1C", "reference: T9", "line 3: reference: a role is one of T1, T1C, T2"),
        ("require: [T1C]", "require: [T1C, T2]", "roles says nothing about T2"),
        ("require: [T1C]", "require: [T1C, T1C]", "require names a role twice"),
        ("require: [T1C]", "require: []", "line 4: require:"),
        ("['t1']", "['(a+)+']", "line 11: roles.T1C.description.any_of.0: the pattern could take"),
        ("['t1']", "[1]", "line 11: roles.T1C.description.any_of.0: a pattern is text"),
        ("['t1']", "[]", "line 11: roles.T1C.description.any_of:"),
        ("{any_of: ['t1']}", "{}", "line 11: roles.T1C.description"),
        ("[1, 40]", "[40, 1]", "line 13: roles.T1C.physics.0.echo_time_ms: the first number"),
        ("[1, 40]", "[-1, 40]", "line 13: roles.T1C.physics.0.echo_time_ms.0"),
        ("[1, 40]", "[1, .nan]", "line 13: roles.T1C.physics.0.echo_time_ms.1"),
        ("[1, 40]", "[1, '40']", "line 13: roles.T1C.physics.0.echo_time_ms.1"),
        ("[1, 40]", "[1, true]", "line 13: roles.T1C.physics.0.echo_time_ms.1"),
        ("[1, 40]", "[1]", "line 13: roles.T1C.physics.0.echo_time_ms"),
        ("echo_time_ms", "echo_time", "line 13: roles.T1C.physics.0.echo_time: Extra inputs"),
        ("contrast: required", "contrast: maybe", "line 10: roles.T1C.contrast"),
        ("  T1C:\n", "  T7:\n", "line 9: roles.T7: a role is one of"),
    ],
)
def test_a_fault_is_told_with_file_line_and_field(old: str, new: str, said: str) -> None:
    assert said in refused(changed(old, new))


def test_a_wait_that_gives_up_before_it_is_quiet_is_refused() -> None:
    text = SMALL_RULE + "completion: {quiet_s: 100, give_up_s: 50}\n"
    assert "line 14: completion: give_up_s is shorter" in refused(text)


def test_many_faults_are_counted_instead_of_listed() -> None:
    text = "".join(f"x{n}: 1\n" for n in range(9)) + SMALL_RULE
    said = refused(text)
    assert said.count("a.yaml, line") == 3
    assert said.endswith("and 6 more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a.yaml, line 1: not a list of"),
        ("- a\n- b\n", "a.yaml, line 1: not a list of"),
        ("name: [", "a.yaml, line 1: not YAML"),
        ("name: a\n\tb: c\n", "a.yaml, line 2: not YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "a.yaml, line 1: not YAML"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper"),
        ("a: " + "[" * 30_000, "nested deeper"),
        ("name: a\nname: b\n", "a.yaml, line 2: the field 'name' is given twice"),
        ("? [a]\n: b\n", "a.yaml, line 1: a field's name must be plain text"),
        ("a: &a [*a]\n", "contains itself"),
        ("a: *nothing\n", "a.yaml, line 1: not YAML"),
        ("a: 2024-99-99\n", "a.yaml: not YAML"),
        ("a: \x00\n", "a.yaml: not YAML"),
        ("a: 1\n---\nb: 1\n", "not YAML"),
        ("#" * 70_000, "a.yaml: larger than 64 kB"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str, said: str) -> None:
    assert said in refused(text)


def test_aliases_that_grow_like_a_power_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 20000 values" in refused("\n".join(lines))


def test_a_role_may_take_over_another_by_an_alias() -> None:
    rule = the_default_rule()
    assert rule.roles[Role.T1C].physics == rule.roles[Role.T1].physics
    assert rule.roles[Role.T1C].contrast == "required"


def test_a_message_never_repeats_a_value_of_the_file() -> None:
    assert "SECRET" not in refused(changed("contrast: required", "contrast: SECRET"))


@given(st.text(max_size=200))
def test_any_text_is_either_a_rule_or_refused(text: str) -> None:
    try:
        parse_rules(text, name="a.yaml")
    except RuleInvalid as error:
        assert error.what.startswith("a.yaml")  # noqa: PT017 - either way is right


@settings(max_examples=40, deadline=None)
@given(
    path=st.sampled_from(["small", "default"]),
    start=st.integers(0, 20_000),
    length=st.integers(0, 60),
    inserted=st.text(max_size=8),
)
def test_a_damaged_rule_is_either_a_rule_or_refused(
    path: str, start: int, length: int, inserted: str
) -> None:
    text = SMALL_RULE if path == "small" else DEFAULT_RULE_FILE.read_text(encoding="utf-8")
    start %= len(text)
    damaged = text[:start] + inserted + text[start + length :]
    try:
        parse_rules(damaged, name="a.yaml")
    except RuleInvalid as error:
        assert error.what.startswith("a.yaml")  # noqa: PT017 - either way is right
