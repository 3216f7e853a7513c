"""Whether a series meets a condition: yes, no, or the header does not say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from node.domain.header import Header
from node.domain.study import SeriesFacts
from node.rules.grammar import Condition, Range, Words
from node.rules.patterns import TEXT_LIMIT, hits, readable


class Verdict(Enum):
    """What a header says about a condition."""

    HOLDS = "holds"
    OPEN = "open"  # nothing speaks against it, but not everything is in the header
    FAILS = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series with its texts made readable once."""

    facts: SeriesFacts
    texts: Mapping[str, str]
    numbers: Mapping[str, float]

    @property
    def header(self) -> Header:
        """The header of one instance of the series."""
        return self.facts.header

    @property
    def description(self) -> str:
        """What patterns on the description see."""
        return self.texts["description"]


def look_at(facts: SeriesFacts) -> Series:
    """Prepare a series for many conditions.

    The description is Series Description, or Protocol Name when that is empty: on some scanners
    the protocol is named after the whole examination ("brain with contrast").
    """
    header = facts.header
    texts = {
        "description": readable(header.series_description) or readable(header.protocol_name),
        "body_part": readable(header.body_part_examined),
        "image_type": _joined((*header.image_type, header.acquisition_contrast)),
        "scanning_sequence": _joined(header.scanning_sequence),
        "sequence_variant": _joined(header.sequence_variant),
        "sequence_name": readable(f"{header.sequence_name} {header.pulse_sequence_name}"),
    }
    return Series(facts=facts, texts=texts, numbers=_numbers(facts))


def _joined(values: tuple[str, ...]) -> str:
    r"""Join a multi-valued attribute as DICOM does, with a backslash at both ends.

    A pattern can so ask for a whole value: `\\SE\\`.
    """
    present = [value for value in values if value]
    return ("\\" + "\\".join(present) + "\\")[:TEXT_LIMIT] if present else ""


def _numbers(facts: SeriesFacts) -> dict[str, float]:
    """Return the numbers that the header has; a time of 0 stands for "not stated"."""
    header, stack = facts.header, facts.stack
    known = {
        "echo_time_ms": header.echo_time_ms or None,
        "repetition_time_ms": header.repetition_time_ms or None,
        "inversion_time_ms": header.inversion_time_ms or None,
        "flip_angle_deg": header.flip_angle_deg,
        "echo_train_length": header.echo_train_length,
        "diffusion_b_value": header.diffusion_b_value,
        "temporal_positions": header.number_of_temporal_positions,
        "slices": stack.slices or None,
        "spacing_mm": stack.spacing_mm,
        "coverage_mm": None if stack.spacing_mm is None else stack.spacing_mm * stack.slices,
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def judge_words(words: Words, text: str) -> Verdict:
    """Judge one text; an empty one says neither yes nor no to any_of."""
    if hits(words.none_of, text):
        return Verdict.FAILS
    if not words.any_of or hits(words.any_of, text):
        return Verdict.HOLDS
    return Verdict.FAILS if text else Verdict.OPEN


def _within(limits: Range, value: float | None) -> Verdict:
    if value is None:
        return Verdict.OPEN
    return Verdict.HOLDS if limits[0] <= value <= limits[1] else Verdict.FAILS


def _inverted(wanted: bool, series: Series) -> Verdict:
    """Judge "made with an inversion pulse": TI is stated, or the scanning sequence has IR."""
    stated = "inversion_time_ms" in series.numbers
    sequence = series.texts["scanning_sequence"]
    if stated or "\\IR\\" in sequence:
        return Verdict.HOLDS if wanted else Verdict.FAILS
    if not sequence:
        return Verdict.OPEN
    if not wanted:
        return Verdict.HOLDS
    # Gradient echoes state GR only and say the preparation elsewhere: there absence proves little.
    return Verdict.OPEN if "\\GR\\" in sequence else Verdict.FAILS


def _acquisition(wanted: str, series: Series) -> Verdict:
    stated = series.header.mr_acquisition_type.strip().upper()
    if not stated:
        return Verdict.OPEN
    return Verdict.HOLDS if stated == wanted else Verdict.FAILS


def judge(condition: Condition, series: Series) -> Verdict:
    """Return HOLDS when all that the condition asks for holds, FAILS when anything fails."""
    verdicts = set(_verdicts(condition, series))
    if Verdict.FAILS in verdicts:
        return Verdict.FAILS
    return Verdict.OPEN if Verdict.OPEN in verdicts else Verdict.HOLDS


def _verdicts(condition: Condition, series: Series) -> Iterator[Verdict]:
    for name, words in condition.words.items():
        yield judge_words(words, series.texts[name])
    for name, limits in condition.ranges.items():
        yield _within(limits, series.numbers.get(name))
    if condition.inverted is not None:
        yield _inverted(condition.inverted, series)
    if condition.acquisition is not None:
        yield _acquisition(condition.acquisition, series)
