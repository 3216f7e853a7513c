"""The grammar of a rule file: what may stand in it, and what a rule is after reading.

One idea carries it: a `Condition` on a series (words of its header, ranges of its physics and
geometry). Conditions say what a series never is (`never`), what the physics of a role look like
(`roles.T1.physics`), what is liked better (`prefer`) and when the agent is given
(`contrast.given_during`). docs/rules.md explains each field to whoever writes one.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from node.domain.errors import RuleInvalid
from node.domain.ids import BundleName, DestinationName, RuleName, Sha256
from node.domain.regions import Role
from node.rules.document import Document, read_document
from node.rules.patterns import compile_pattern

_MOST_PATTERNS = 60
_MOST_CLAUSES = 60
_MESSAGES = 3


def _pattern(value: object) -> object:
    if isinstance(value, str):
        return compile_pattern(value)
    raise ValueError("a pattern is text; put quotes around it")


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the first number of a range is its lower end")
    return value


def _role(value: object) -> object:
    if isinstance(value, str) and value in Role.__members__:
        return Role(value)
    raise ValueError(f"a role is one of {', '.join(Role)}")


Number = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
Points = Annotated[float, Field(strict=True, ge=-30, le=30, allow_inf_nan=False)]
Range = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=_MOST_PATTERNS)]
RoleName = Annotated[Role, BeforeValidator(_role)]
Sentence = Annotated[str, StringConstraints(strict=True, max_length=2000, strip_whitespace=True)]
Why = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=80, strip_whitespace=True)
]
Slug = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Code = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z0-9_]{1,16}$")]
Target = Annotated[
    str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
]


class _Part(BaseModel):
    """What every part of a rule file shares: no unknown field, never changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Words(_Part):
    """Patterns on one text of a header: at least one of any_of, and nothing of none_of."""

    any_of: Patterns = ()
    none_of: Patterns = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.any_of and not self.none_of:
            raise ValueError("give any_of or none_of a pattern")
        return self


class Marks(Words):
    """Patterns of which one must be found: an empty list would say it of every series."""

    any_of: Annotated[Patterns, Field(min_length=1)]


class Condition(_Part):
    """What must hold of a series, all of it. Times in ms, angles in degrees, lengths in mm."""

    description: Words | None = None
    body_part: Words | None = None
    image_type: Words | None = None
    scanning_sequence: Words | None = None
    sequence_variant: Words | None = None
    sequence_name: Words | None = None

    echo_time_ms: Range | None = None
    repetition_time_ms: Range | None = None
    inversion_time_ms: Range | None = None
    flip_angle_deg: Range | None = None
    echo_train_length: Range | None = None
    diffusion_b_value: Range | None = None
    temporal_positions: Range | None = None
    slices: Range | None = None
    spacing_mm: Range | None = None
    coverage_mm: Range | None = None

    acquisition: Literal["2D", "3D"] | None = None
    inverted: StrictBool | None = None

    @cached_property
    def words(self) -> Mapping[str, Words]:
        """The patterns that are asked for, by the name of the text that they look at."""
        return {name: asked for name, asked in self if isinstance(asked, Words)}

    @cached_property
    def ranges(self) -> Mapping[str, Range]:
        """The ranges that are asked for, by the name of the number."""
        return {name: asked for name, asked in self if isinstance(asked, tuple)}


class Clause(Condition):
    """A condition with a name that an administrator reads in the explanation."""

    why: Why


class Physics(Condition):
    """One way in which the physics of a role can look.

    alone: it is so typical that a series without a telling description is taken for it.
    """

    why: Why
    alone: StrictBool = False


class Preference(Condition):
    """Points for (or, below zero, against) a candidate for which the condition holds."""

    points: Points
    why: Why


class RoleRule(_Part):
    """What a series must be to take a role."""

    description: Marks
    physics: Annotated[tuple[Physics, ...], Field(min_length=1, max_length=_MOST_CLAUSES)]
    contrast: Literal["required", "forbidden", "any"] = "any"
    prefer: Annotated[tuple[Preference, ...], Field(max_length=_MOST_CLAUSES)] = ()


class AppliesTo(_Part):
    """Which studies the rule wants.

    any_of_roles: at least one series must look like one of these, else the study is not for
    this rule. study_description: patterns on Study Description, when it is not empty.
    """

    modality: Annotated[tuple[Code, ...], Field(min_length=1, max_length=8)] = ("MR",)
    any_of_roles: Annotated[tuple[RoleName, ...], Field(max_length=4)] = ()
    study_description: Words | None = None


class ContrastWords(_Part):
    """How it is known that a series was made after a contrast agent was given.

    given, not_given: words of the description, for and against. no_agent: values of
    Contrast/Bolus Agent (0018,0010) that mean none. given_during: series during which the
    agent is given. lasts_min: for how long after it an unmarked series counts as after contrast.
    """

    given: Marks
    not_given: Marks
    no_agent: Patterns = ()
    given_during: Annotated[tuple[Clause, ...], Field(max_length=_MOST_CLAUSES)] = ()
    lasts_min: Number = 120.0


class Completion(_Part):
    """How long to wait for more images, in seconds since the last one."""

    quiet_s: Annotated[float, Field(strict=True, ge=1, le=86_400, allow_inf_nan=False)] = 120.0
    give_up_s: Annotated[float, Field(strict=True, ge=1, le=7 * 86_400, allow_inf_nan=False)] = (
        3600.0
    )

    @model_validator(mode="after")
    def _gives_up_after_quiet(self) -> Self:
        if self.give_up_s < self.quiet_s:
            raise ValueError("give_up_s is shorter than quiet_s")
        return self


class _RuleFile(_Part):
    """The whole file."""

    name: Slug
    description: Sentence = ""
    bundle: Slug
    reference: RoleName
    require: Annotated[tuple[RoleName, ...], Field(min_length=1, max_length=4)]
    applies_to: AppliesTo = AppliesTo()
    completion: Completion = Completion()
    destinations: Annotated[tuple[Target, ...], Field(max_length=16)] = ()
    contrast: ContrastWords
    never: Annotated[tuple[Clause, ...], Field(max_length=_MOST_CLAUSES)] = ()
    roles: Annotated[dict[RoleName, RoleRule], Field(min_length=1)]

    @model_validator(mode="after")
    def _roles_agree(self) -> Self:
        if len(set(self.require)) != len(self.require):
            raise ValueError("require names a role twice")
        if self.reference not in self.require:
            raise ValueError(f"reference {self.reference} is not in require")
        absent = [role for role in self.require if role not in self.roles]
        if absent:
            raise ValueError(f"roles says nothing about {', '.join(absent)}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule file after reading; every pattern is compiled.

    destinations: empty means every configured one. sha256: over the file's text (UTF-8).
    """

    name: RuleName
    description: str
    bundle: BundleName
    reference: Role
    required: tuple[Role, ...]
    applies_to: AppliesTo
    completion: Completion
    destinations: tuple[DestinationName, ...]
    contrast: ContrastWords
    never: tuple[Clause, ...]
    roles: Mapping[Role, RoleRule]
    sha256: Sha256
    source: str


def parse_rules(text: str, *, name: str) -> Rule:
    """Read the text of one rule file.

    name: of the file, for messages. Raises RuleInvalid naming the file, the line and the field.
    """
    document = read_document(text, name=name)
    try:
        parsed = _RuleFile.model_validate(document.values)
    except ValidationError as error:
        raise RuleInvalid(_sentences(error, document, name)) from None
    return Rule(
        name=RuleName(parsed.name),
        description=parsed.description,
        bundle=BundleName(parsed.bundle),
        reference=parsed.reference,
        required=parsed.require,
        applies_to=parsed.applies_to,
        completion=parsed.completion,
        destinations=tuple(DestinationName(target) for target in parsed.destinations),
        contrast=parsed.contrast,
        never=parsed.never,
        roles={role: parsed.roles[role] for role in Role if role in parsed.roles},
        sha256=Sha256(hashlib.sha256(text.encode("utf-8")).hexdigest()),
        source=name,
    )


def _sentences(error: ValidationError, document: Document, name: str) -> str:
    """Say the first few faults, each with file, line and field, without echoing values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for fault in faults[:_MESSAGES]:
        location = [step for step in fault["loc"] if step != "[key]"]
        field = ".".join(str(step) for step in location) or "file"
        said = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{name}, line {document.line_of(location)}: {field}: {said}")
    if len(faults) > _MESSAGES:
        lines.append(f"and {len(faults) - _MESSAGES} more")
    return "; ".join(lines)
