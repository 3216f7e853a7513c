"""One case on its way from series to labels: its folder of artefacts and the tools for it.

A case knows no ledger; a study of the node and the four files of a researcher are cases alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.analysis.workshop import InThisProcess, Progress, Workshop, ignore
from node.domain.regions import Role
from node.imaging.artefacts import load_volume
from node.imaging.volume import Volume
from node.segmentation.brains import BrainOptions
from node.segmentation.bundle import Bundle
from node.segmentation.machine import Machine, measure_machine

BRAIN: Final = "brain.volume"
REGISTRATIONS: Final = "registrations.json"
BRAIN_OF_MODEL: Final = "brain.input"
WAY_HOME: Final = "way_home.json"
LABELS_OF_MODEL: Final = "labels.input"
OPINIONS: Final = "opinions.json"
LABELS: Final = "labels.volume"
MEASUREMENTS: Final = "measurements.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Who does the work, and how long it may take.

    machine: looked at before each heavy step, because what is free changes.
    """

    workshop: Workshop = field(default_factory=InThisProcess)
    machine: Callable[[], Machine] = measure_machine
    brain: BrainOptions = field(default_factory=BrainOptions)
    brain_limit_s: float = 600.0
    infer_limit_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the steps are handed.

    folder: of the artefacts. roles: the reference first. on_progress: of the step at hand.
    """

    folder: Path
    roles: tuple[Role, ...]
    bundle: Bundle
    tools: Tools
    on_progress: Progress = ignore

    @property
    def reference(self) -> Role:
        """The role on whose grid the result lies."""
        return self.roles[0]

    def volume(self, role: Role) -> Volume:
        """Read a role's series. Raises SpoolDamaged."""
        return load_volume(self.folder / volume_name(role))


def volume_name(role: Role) -> str:
    """Return the artefact of a role's series."""
    return f"{role}.volume"


def input_name(role: Role) -> str:
    """Return the artefact of a role as the model sees it."""
    return f"{role}.input"
