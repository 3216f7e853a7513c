"""The attributes that a Header is made of, by keyword, from bytes or from a pydicom Dataset."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement

from node.dicom.elements import Encoded, RawElement, RawItem, Wanted, read_beginning, read_elements
from node.dicom.values import decode, encodings_of


class Attribute(NamedTuple):
    """One attribute that is taken. name: its keyword, or a name of ours for a private one."""

    name: str
    tag: int
    vr: str


class Layout(NamedTuple):
    """What is taken from a data set or from an item: attributes, and sequences by keyword."""

    attributes: tuple[Attribute, ...]
    sequences: Mapping[str, "Layout"]
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Attributes:
    """Values as stripped text, by name; items of sequences, by keyword."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    items: Mapping[str, tuple["Attributes", ...]] = field(default_factory=dict)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values, () when absent."""
        return self.values.get(name, ())

    def text(self, name: str) -> str:
        """Return the value, several ones joined by a backslash, "" when absent."""
        return "\\".join(self.values.get(name, ()))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return all values when every one is a finite number, else ()."""
        try:
            found = tuple(map(float, self.values.get(name, ())))
        except ValueError:
            return ()
        return found if all(map(math.isfinite, found)) else ()

    def number(self, name: str) -> float | None:
        """Return the first value, None when absent or not a finite number."""
        found = self.numbers(name)
        return found[0] if found else None

    def integer(self, name: str) -> int | None:
        """Return the first value as a whole number, None when it is none."""
        found = self.number(name)
        return int(found) if found is not None and found == int(found) else None

    def item(self, keyword: str) -> "Attributes":
        """Return the first item of a sequence, an empty one when absent."""
        items = self.items.get(keyword)
        return items[0] if items else EMPTY


EMPTY: Final = Attributes()


def layout(
    keywords: str,
    sequences: Mapping[str, Layout] | None = None,
    private: Iterable[Attribute] = (),
) -> Layout:
    """Return the layout for keywords (separated by blanks), sequences and private attributes."""
    attributes = (*map(_attribute, keywords.split()), *private)
    inside = sequences or {}
    wanted = Wanted(
        frozenset(a.tag for a in attributes),
        {_tag(keyword): inner.wanted for keyword, inner in inside.items()},
    )
    return Layout(attributes, inside, wanted)


def from_bytes(
    data_set: Encoded, transfer_syntax_uid: str, top: Layout, *, start: int = 0
) -> Attributes:
    """Return the attributes of the encoded data set that begins at `start`. Raises NotDicom."""
    raw = read_elements(data_set, transfer_syntax_uid, top.wanted, start=start)
    return _from_raw(raw, top, encodings_of(()))


def from_beginning(
    beginning: bytes,
    transfer_syntax_uid: str,
    shape: Layout,
    *,
    walked: Wanted,
    start: int,
    end: int,
) -> Attributes | None:
    """Return attributes from the first bytes of a data set that ends at `end`.

    walked: what of it is looked into and checked, `shape` among it. None where the beginning
    does not tell; then from_bytes of the whole does, or raises.
    """
    raw = read_beginning(beginning, transfer_syntax_uid, walked, start=start, end=end)
    return None if raw is None else _from_raw(raw, shape, encodings_of(()))


def from_dataset(dataset: Dataset, top: Layout) -> Attributes:
    """Return the attributes of a pydicom Dataset, without letting it validate any value."""
    return _from_dataset(dataset, top, encodings_of(()))


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


def _attribute(keyword: str) -> Attribute:
    tag = _tag(keyword)
    return Attribute(keyword, tag, dictionary_VR(tag))


_CHARACTER_SET: Final = _attribute("SpecificCharacterSet")


def _from_raw(raw: RawItem, shape: Layout, encodings: tuple[str, ...]) -> Attributes:
    own = raw.elements.get(_CHARACTER_SET.tag)
    if own is not None:
        encodings = encodings_of(decode(own, "CS", encodings))
    values = {
        name: decode(element, vr, encodings)
        for name, tag, vr in shape.attributes
        if (element := raw.elements.get(tag)) is not None
    }
    items = {
        keyword: tuple(_from_raw(item, inner, encodings) for item in found)
        for keyword, inner in shape.sequences.items()
        if (found := raw.sequences.get(_tag(keyword))) is not None
    }
    return Attributes(values, items)


def _from_dataset(dataset: Dataset, shape: Layout, encodings: tuple[str, ...]) -> Attributes:
    if _CHARACTER_SET.tag in dataset:
        encodings = encodings_of(_values(dataset, _CHARACTER_SET, encodings))
    values = {a.name: _values(dataset, a, encodings) for a in shape.attributes if a.tag in dataset}
    items = {
        keyword: tuple(_from_dataset(item, inner, encodings) for item in dataset[keyword].value)
        for keyword, inner in shape.sequences.items()
        if keyword in dataset
    }
    return Attributes(values, items)


def _values(dataset: Dataset, attribute: Attribute, encodings: tuple[str, ...]) -> tuple[str, ...]:
    element: object = dataset.get_item(attribute.tag)
    if isinstance(element, RawDataElement):
        value = element.value if isinstance(element.value, bytes) else b""
        raw = RawElement(element.VR or "", value, element.is_little_endian)
        return decode(raw, attribute.vr, encodings)
    return _texts(element.value, element.VR) if isinstance(element, DataElement) else ()


def _texts(value: object, vr: str) -> tuple[str, ...]:
    """Return a value that pydicom has decoded already as text."""
    if value is None or value == "":
        return ()
    if isinstance(value, bytes):
        return decode(RawElement(vr, value, little_endian=True), vr, ("latin-1",))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(str(part).strip() for part in value)
    return (str(value).strip(),)
