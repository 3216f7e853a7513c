"""What a modality's word is worth (MPPS): whether more images come, or all are here (pure).

It is believed when it says that more is to come, within the time in which a study is given
up. It is believed that all is here only when what came is exactly what it listed: images that
nobody announced have others behind them, and then the quiet time decides as it always does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.domain.states import StepState
from node.domain.study import Evidence, ProcedureStep


class Word(StrEnum):
    """What modalities say of a study, all their steps taken together."""

    NOTHING = "nothing"  # that could be built on
    MORE_TO_COME = "more to come"
    ALL_HERE = "all here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """The word, in one sentence ("" where nothing was said), and what each step says."""

    word: Word
    text: str
    sentences: tuple[str, ...]


def weigh(evidence: Evidence) -> Testimony:
    """Return what the steps of a study say; those that were discontinued say nothing."""
    word, text = _word(evidence)
    return Testimony(word=word, text=text, sentences=tuple(_sentences(evidence)))


def _word(evidence: Evidence) -> tuple[Word, str]:
    at_work = [s for s in evidence.steps if s.state is StepState.IN_PROGRESS]
    ended = [s for s in evidence.steps if s.state is StepState.COMPLETED]
    images, missing = sum(s.images for s in ended), sum(s.missing for s in ended)
    if missing:
        text = f"{missing} of the {images} images that {_who(ended)} listed are not here"
        return Word.MORE_TO_COME, text
    if at_work:
        return Word.MORE_TO_COME, f"{_who(at_work)} is still at work on the study"
    if not images:
        return Word.NOTHING, ""
    if evidence.unlisted:
        return Word.NOTHING, f"{evidence.unlisted} images came that {_who(ended)} did not list"
    return Word.ALL_HERE, f"all {images} images that {_who(ended)} listed are here"


def _who(steps: Sequence[ProcedureStep]) -> str:
    return " and ".join(sorted({step.calling_ae_title for step in steps}))


def _sentences(evidence: Evidence) -> Iterator[str]:
    for step in evidence.steps:
        listed = f", {step.images} images listed" if step.images else ""
        missing = f", {step.missing} of them not here" if step.missing else ""
        yield f"{step.calling_ae_title} says {step.state}{listed}{missing}"
    if evidence.steps and evidence.unlisted:
        yield f"{evidence.unlisted} images are here that no COMPLETED step lists"
