"""How far a result may be trusted: what each step found, collected to one verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FINDINGS: Final = "findings"
MEASURED: Final = "measured"
"""Parts of a step's summary: what lowers the trust, and lines of what was measured."""


class Trust(StrEnum):
    """Whether a result may be read as usual."""

    USUAL = "usual"  # no step found anything out of the ordinary
    LOWERED = "lowered"  # a result was made, and the findings say why to doubt it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that lowers the trust in a result without stopping it.

    code: kebab-case, stable. text: a sentence for radiologist and administrator, without
    patient data.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The trust in a result and all that lowers it, in the order of the steps."""

    findings: tuple[Finding, ...]

    @property
    def trust(self) -> Trust:
        """LOWERED as soon as anything was found."""
        return Trust.LOWERED if self.findings else Trust.USUAL


def collect(findings: Iterable[Finding]) -> Verdict:
    """Make one verdict of the findings of all steps; what was found twice counts once."""
    return Verdict(findings=tuple(dict.fromkeys(findings)))
