"""Several volumes in one series: which slices belong together, by what they say of themselves.

A multi-echo, dynamic, diffusion or phase series has several images at each position. Pure: from
frozen values to indices and a sentence; the order in which the slices come changes nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.dicom.stack import describe_stack, orientation_groups, position_ranks, slice_order
from node.domain.errors import ShearedGeometry, SliceGap
from node.domain.header import Plane

Value = float | str | tuple[float, ...]

MOST_NAMED: Final = 4
"""How many values a sentence spells out; more are counted."""


class Mark(StrEnum):
    """What may distinguish the volumes of a series, the most telling first; in words."""

    ECHO_TIME = "echo times"  # ms
    INVERSION_TIME = "inversion times"  # ms
    FLIP_ANGLE = "flip angles"  # degrees
    COMPONENT = "components"  # magnitude, phase, real or imaginary
    IMAGE_TYPE = "image types"  # Image Type or Frame Type, as of water and fat
    B_VALUE = "b-values"  # s/mm2
    GRADIENT = "gradient directions"  # of diffusion, unit vector
    TIME_POINT = "time points"  # Temporal Position Identifier or Index
    TRIGGER_TIME = "trigger times"  # ms
    ECHO = "echo numbers"
    ACQUISITION = "acquisition numbers"
    STACK = "stacks"  # Stack ID


_UNITS: Final = {
    Mark.ECHO_TIME: " ms",
    Mark.INVERSION_TIME: " ms",
    Mark.FLIP_ANGLE: " degrees",
    Mark.B_VALUE: " s/mm2",
    Mark.TRIGGER_TIME: " ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One slice of a series and what it says of itself.

    number: Instance Number and number of the frame, as the scanner counts.
    marks: rounded, so that equal means the same; what is not said is absent.
    """

    plane: Plane
    number: tuple[int, int]
    marks: Mapping[Mark, Value]


Group = tuple[int, ...]


def split(slices: Sequence[Slice]) -> tuple[Group, ...]:
    """Return the indices of the slices of each volume, sorted along its normal.

    Slices are parted by orientation, and uneven stacks by Stack ID. Where several lie at one
    position they are parted by each mark that takes all its values at one and the same position
    at least (what differs from place to place, such as a trigger time, tells no volumes apart).
    Volumes come in the order in which the scanner counts their slices. Where nothing
    distinguishes two images at one position they stay together.
    """
    found: list[Group] = []
    for oriented in orientation_groups([one.plane for one in slices]):
        for group in _by_stack(slices, oriented):
            found += _by_marks(slices, group)
    found.sort(key=lambda group: min((slices[i].number, slices[i].plane.position) for i in group))
    return tuple(_sorted(slices, group) for group in found)


def distinguishing(slices: Sequence[Slice], groups: Sequence[Group]) -> tuple[Mark, ...]:
    """Return the marks by which groups differ, leaving out what earlier ones tell already."""
    named: list[Mark] = []
    told: list[tuple[Value | None, ...]] = [() for _ in groups]
    for mark in Mark:
        values = [{slices[i].marks.get(mark) for i in group} for group in groups]
        if any(len(of_group) > 1 for of_group in values):
            continue
        longer = [(*before, *of_group) for before, of_group in zip(told, values, strict=True)]
        if len(set(longer)) > len(set(told)):
            named.append(mark)
            told = longer
    return tuple(named)


def in_words(slices: Sequence[Slice], groups: Sequence[Group]) -> str:
    """Say how many volumes there are and what distinguishes them, for an administrator."""
    sizes = sorted({len(group) for group in groups})
    size = f"{sizes[0]} slices" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} slices"
    marks = distinguishing(slices, groups)
    words = [_mark_in_words(mark, _values(slices, groups, mark)) for mark in marks]
    return f"{len(groups)} volumes of {size}: {', '.join(words) or 'different orientations'}"


def _sorted(slices: Sequence[Slice], group: Group) -> Group:
    return tuple(group[i] for i in slice_order([slices[i].plane for i in group]))


def _by_stack(slices: Sequence[Slice], group: Group) -> list[Group]:
    problem = describe_stack([slices[i].plane for i in group], minimum_slices=1).problem
    if problem is None or problem.code not in (SliceGap.code, ShearedGeometry.code):
        return [group]
    return _parted(slices, group, Mark.STACK)


def _by_marks(slices: Sequence[Slice], group: Group) -> list[Group]:
    ranks = position_ranks([slices[i].plane for i in group])
    positions = dict(zip(group, ranks, strict=True))
    groups = [group]
    for mark in Mark:
        groups = [
            piece
            for whole in groups
            for piece in (
                _parted(slices, whole, mark)
                if _tells_apart(slices, whole, mark, positions)
                else [whole]
            )
        ]
    return groups


def _tells_apart(
    slices: Sequence[Slice], group: Group, mark: Mark, positions: Mapping[int, int]
) -> bool:
    """Whether all values of the mark occur at one and the same position."""
    at: dict[int, set[Value | None]] = defaultdict(set)
    for index in group:
        at[positions[index]].add(slices[index].marks.get(mark))
    most = max(map(len, at.values()))
    return most > 1 and most == len(set().union(*at.values()))


def _parted(slices: Sequence[Slice], group: Group, mark: Mark) -> list[Group]:
    parts: dict[Value | None, list[int]] = defaultdict(list)
    for index in group:
        parts[slices[index].marks.get(mark)].append(index)
    return [tuple(part) for part in parts.values()]


def _values(slices: Sequence[Slice], groups: Sequence[Group], mark: Mark) -> list[Value]:
    """Return the values of a mark in the order of their first volume."""
    found = (slices[group[0]].marks.get(mark) for group in groups)
    return list(dict.fromkeys(value for value in found if value is not None))


def _mark_in_words(mark: Mark, values: Sequence[Value]) -> str:
    if mark is Mark.GRADIENT or len(values) > MOST_NAMED:
        return f"{len(values)} {mark.value}"
    texts = _distinct_words(values) if mark is Mark.IMAGE_TYPE else list(map(_text, values))
    listed = " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
    if mark is Mark.COMPONENT:
        return listed
    return f"{mark.value} {listed}{_UNITS.get(mark, '')}"


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct_words(values: Sequence[Value]) -> list[str]:
    """Leave out of image types what all of them have."""
    split_up = [str(value).split("\\") for value in values]
    common = set(split_up[0]).intersection(*split_up)
    return ["/".join(w for w in words if w not in common) or "without" for words in split_up]
