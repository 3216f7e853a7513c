"""YAML text to plain values, with line numbers and without the traps of YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from node.domain.errors import RuleInvalid

SIZE_LIMIT: Final = 64 * 1024
"""Bytes of a rule file."""

DEPTH_LIMIT: Final = 16
"""Levels of nesting."""

NODE_LIMIT: Final = 20_000
"""Values after every alias is written out (an alias of an alias grows like a power)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of a YAML file and the nodes that know their lines."""

    values: Mapping[str, object]
    root: yaml.MappingNode

    def line_of(self, location: Sequence[int | str]) -> int:
        """Return the line (from 1) of the value at a location, or of what is nearest to it."""
        node: yaml.Node = self.root
        line = node.start_mark.line
        for step in location:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line + 1


def read_document(text: str, *, name: str) -> Document:
    """Parse YAML text whose top is a mapping.

    name: of the file, for messages. Raises RuleInvalid: too large, too deep, not YAML, a key
    given twice (YAML would silently keep the last), or aliases that refer to themselves.
    """
    if len(text.encode("utf-8", errors="surrogatepass")) > SIZE_LIMIT:
        raise RuleInvalid(f"{name}: larger than {SIZE_LIMIT // 1024} kB")
    try:
        _check_depth(text, name)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise RuleInvalid(f"{name}, line 1: not a list of `field: value` lines")
        _count(root, name, {}, set())
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise RuleInvalid(f"{where}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise RuleInvalid(f"{name}: not YAML: {type(error).__name__}") from None
    return Document(values=values, root=root)


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting before the recursive parts of PyYAML see it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_LIMIT:
            raise RuleInvalid(f"{name}: nested deeper than {DEPTH_LIMIT} levels")


def _count(node: yaml.Node, name: str, known: dict[int, int], open_nodes: set[int]) -> int:
    """Return the number of values below a node with aliases written out; refuse too many."""
    line = node.start_mark.line + 1
    if id(node) in open_nodes:
        raise RuleInvalid(f"{name}, line {line}: an alias that contains itself")
    if id(node) in known:
        return known[id(node)]
    open_nodes.add(id(node))
    total = 1
    for child in _children(node, name):
        total += _count(child, name, known, open_nodes)
        if total > NODE_LIMIT:
            raise RuleInvalid(f"{name}, line {line}: more than {NODE_LIMIT} values")
    open_nodes.discard(id(node))
    known[id(node)] = total
    return total


def _children(node: yaml.Node, name: str) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise RuleInvalid(f"{name}, line {line}: a field's name must be plain text")
        if key.value in seen:
            raise RuleInvalid(f"{name}, line {line}: the field {key.value!r} is given twice")
        seen.add(key.value)
    return [value for _, value in node.value]


def _child(node: yaml.Node, step: int | str) -> tuple[int, yaml.Node] | None:
    """Return the line and node of one entry, by key or by index."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value: yaml.Node = node.value[step]
        return value.start_mark.line, value
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line, value
    return None
