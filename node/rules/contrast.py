"""Whether a series was made after a contrast agent was given, and how that is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from node.domain.header import Header
from node.rules.conditions import Series, Verdict, judge, judge_words
from node.rules.grammar import ContrastWords, Marks
from node.rules.patterns import hits, readable


class Contrast(Enum):
    """What the header of one series says about contrast agent."""

    GIVEN = "given"
    NOT_GIVEN = "not given"
    UNSAID = "unsaid"
    BOTH = "both"  # the description speaks for and against


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastFacts:
    """The verdict on one series and the sentence that explains it."""

    verdict: Contrast
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Injections:
    """When agent was in the body, as far as the study's other series tell.

    marked: acquisition times of series that say "after contrast". bolus: of series during which
    it is given (perfusion). Both by the scanner's own clock.
    """

    marked: tuple[datetime, ...]
    bolus: tuple[datetime, ...]
    lasts: timedelta

    def marked_before(self, moment: datetime | None) -> bool:
        """Return whether a marked series was acquired before a moment, and not too long ago."""
        return self._before(self.marked, moment)

    def bolus_before(self, moment: datetime | None) -> bool:
        """Return whether agent was seen to be given before a moment, and not too long ago."""
        return self._before(self.bolus, moment)

    def _before(self, times: Iterable[datetime], moment: datetime | None) -> bool:
        if moment is None:
            return False
        return any(timedelta(0) < moment - time <= self.lasts for time in times)


def contrast_of(series: Series, words: ContrastWords) -> ContrastFacts:
    """Judge one series by its own header.

    The description outranks Contrast/Bolus Agent where it says "before": the agent is typed once
    and some scanners copy it to every series. An absent agent proves nothing.
    """
    denied, rest = _taken_away(words.not_given, series.description)
    given = judge_words(words.given, rest) is Verdict.HOLDS
    if given and denied:
        return ContrastFacts(
            verdict=Contrast.BOTH, because="the description says both with and without contrast"
        )
    if denied:
        return ContrastFacts(
            verdict=Contrast.NOT_GIVEN, because="the description says without contrast"
        )
    if given:
        return ContrastFacts(verdict=Contrast.GIVEN, because="the description says after contrast")
    agent = readable(series.header.contrast_bolus_agent)
    if agent and not hits(words.no_agent, agent):
        return ContrastFacts(verdict=Contrast.GIVEN, because="the header names a contrast agent")
    return ContrastFacts(verdict=Contrast.UNSAID, because="nothing says contrast")


def _taken_away(denials: Marks, text: str) -> tuple[bool, str]:
    """Return whether a text denies contrast, and what is left of it without the denial."""
    rest = text
    for pattern in denials.any_of:
        rest = pattern.sub("|", rest)
    return rest != text and not hits(denials.none_of, text), rest


def injections_of(
    marked: Sequence[Series], everything: Sequence[Series], words: ContrastWords
) -> Injections:
    """Collect when agent was given.

    marked: series known to be made after contrast. everything: among which a bolus is looked for.
    """
    bolus = [
        series
        for series in everything
        if any(judge(clause, series) is Verdict.HOLDS for clause in words.given_during)
    ]
    return Injections(
        marked=_times(marked), bolus=_times(bolus), lasts=timedelta(minutes=words.lasts_min)
    )


def _times(series: Iterable[Series]) -> tuple[datetime, ...]:
    times = (acquired_at(one.header) for one in series)
    return tuple(sorted({time for time in times if time is not None}))


def acquired_at(header: Header) -> datetime | None:
    """Return when an instance was acquired, or None if the header does not say.

    The zone is a stand-in: DICOM times are local, and only differences are used.
    """
    date = header.acquisition_date or header.series_date or header.study_date
    time = header.acquisition_time or header.series_time
    day = "".join(c for c in date if c.isdigit())[:8]
    clock = "".join(c for c in time.partition(".")[0] if c.isdigit())[:6]
    try:
        return datetime.strptime(day + clock.ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
