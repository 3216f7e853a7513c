"""Which brain extractor suits a reference, and what is tried when it fails."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from node.domain.errors import HeadIncomplete, OutOfMemory, SiteFault, StudyUnusable
from node.domain.quality import Finding
from node.domain.regions import Role
from node.imaging.brain import BrainExtractor, Extraction, StrippedBrain, doubts, is_stripped
from node.imaging.volume import Volume
from node.segmentation.brains.deepbet import DeepBet, installed_version
from node.segmentation.brains.hd_bet_v1 import BYTES_PER_VOXEL, NETWORKS, HdBetV1, weight_file
from node.segmentation.brains.hd_bet_v2 import RELEASE_SHA256, HdBetV2, is_complete
from node.segmentation.effort import Effort
from node.segmentation.machine import efforts, measure_machine

USUAL_HEAD_VOXELS: Final = 2_500_000
"""Of HD-BET 1's input for a usual head."""

PROCESSOR_S: Final = 20.0
"""Time of one thread for HD-BET 1 on a usual head in float32; in bfloat16 half of it."""

LIGHT_BYTES: Final = 800_000_000
"""What deepbet takes, whatever the head."""

T1_LIKE: Final = frozenset({Role.T1, Role.T1C})
"""What deepbet can be trusted with; it was trained on T1."""


class Method(StrEnum):
    """The extractors that a site may name; AUTO leaves the choice to us."""

    AUTO = "auto"
    HD_BET_2 = "hd-bet"
    HD_BET_1 = "hd-bet-v1"
    DEEPBET = "deepbet"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainOptions:
    """How a site wants brains to be found.

    method: tried first, whatever speaks for another. hd_bet_folder: parameters of HD-BET 2
    that the site has fetched, hd_bet_sha256: of their checkpoint. networks: of HD-BET 1, 1 to
    5; 0: all on a GPU, one on a CPU. most_s: an estimate above it speaks for the light method.
    """

    method: Method = Method.AUTO
    hd_bet_folder: Path | None = None
    hd_bet_sha256: str = RELEASE_SHA256
    networks: int = 0
    most_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Methods in the order in which they are tried, and why the first is the first."""

    methods: tuple[Method, ...]
    reason: str


AS_THE_MACHINE_IS: Final = BrainOptions()


def extract_brain(
    reference: Volume,
    role: Role,
    effort: Effort | None = None,
    options: BrainOptions = AS_THE_MACHINE_IS,
) -> Extraction:
    """Find the brain on a reference series with the best method that works.

    effort: None to look at the machine. A volume that arrives skull-stripped keeps its own
    mask. When a method fails the next one is tried, which is a finding.
    Raises HeadIncomplete when too little of the brain is in the field of view, BrainNotFound
    when no method finds one, BundleMissing, BundleInvalid or OutOfMemory when none can work.
    """
    if is_stripped(reference):
        stripped = StrippedBrain()
        mask = stripped(reference)
        reason = "the volume arrived without a skull"
        return Extraction(mask=mask, method=stripped.name, reason=reason, findings=doubts(mask))
    effort = effort or best_effort()
    ranking = rank_methods(role, effort, options, methods_at_hand(options))
    failures: list[SiteFault | StudyUnusable] = []
    for method in ranking.methods:
        try:
            extractor, mask = _attempt(method, reference, effort, options)
        except (SiteFault, StudyUnusable) as error:
            failures.append(error)
            continue
        findings = (*_of_method(method, role, failures), *doubts(mask))
        reason = ranking.reason if not failures else f"{ranking.methods[0]} failed: {failures[0]}"
        return Extraction(mask=mask, method=extractor.name, reason=reason, findings=findings)
    raise min(failures, key=_telling)


def choose_extractor(
    reference: Volume,
    role: Role = Role.T1C,
    effort: Effort | None = None,
    options: BrainOptions = AS_THE_MACHINE_IS,
) -> BrainExtractor:
    """Return the extractor that suits the reference: none where the skull is gone already."""
    if is_stripped(reference):
        return StrippedBrain()
    effort = effort or best_effort()
    ranking = rank_methods(role, effort, options, methods_at_hand(options))
    return _build(ranking.methods[0], effort, options)


def rank_methods(
    role: Role, effort: Effort, options: BrainOptions, at_hand: frozenset[Method]
) -> Ranking:
    """Decide in which order the methods are tried.

    A GPU gets HD-BET 2 where the site has fetched it. A processor gets HD-BET 1, and HD-BET 2
    only where nothing else is made for the sequence, because it takes minutes there. deepbet
    comes first where memory or time are short and the reference is a T1.
    """
    order = _usual_order(role, effort)
    reason = f"the first of those installed for {role} on {effort.device}"
    short = _what_is_short(effort, options)
    if short and role in T1_LIKE and Method.DEEPBET in at_hand:
        order = (Method.DEEPBET, *(m for m in order if m is not Method.DEEPBET))
        reason = f"{short} for HD-BET"
    ranked = tuple(method for method in order if method in at_hand)
    if options.method is not Method.AUTO:
        others = (method for method in ranked if method is not options.method)
        return Ranking(methods=(options.method, *others), reason="the configuration names it")
    return Ranking(methods=ranked or (Method.DEEPBET,), reason=reason)


def methods_at_hand(options: BrainOptions) -> frozenset[Method]:
    """Return the methods whose files are on this machine; what they contain is checked later."""
    found = set()
    if installed_version() is not None:
        found.add(Method.DEEPBET)
    if weight_file(0) is not None:
        found.add(Method.HD_BET_1)
    if is_complete(options.hd_bet_folder):
        found.add(Method.HD_BET_2)
    return frozenset(found)


def best_effort() -> Effort:
    """Return the most that this machine has to give now."""
    return efforts(measure_machine())[0]


def _usual_order(role: Role, effort: Effort) -> tuple[Method, ...]:
    if effort.device != "cpu":
        return (Method.HD_BET_2, Method.HD_BET_1, Method.DEEPBET)
    if role in T1_LIKE:
        return (Method.HD_BET_1, Method.DEEPBET, Method.HD_BET_2)
    return (Method.HD_BET_1, Method.HD_BET_2, Method.DEEPBET)


def _what_is_short(effort: Effort, options: BrainOptions) -> str:
    """Say what HD-BET 1 lacks; empty when nothing."""
    share = 0.5 if effort.half else 1.0
    if USUAL_HEAD_VOXELS * BYTES_PER_VOXEL * share > max(effort.memory_bytes, LIGHT_BYTES):
        return "too little memory"
    if effort.device == "cpu" and PROCESSOR_S * share / effort.threads > options.most_s:
        return "too little time"
    return ""


def _attempt(
    method: Method, reference: Volume, effort: Effort, options: BrainOptions
) -> tuple[BrainExtractor, Volume]:
    """Run one method; where a GPU's memory is too small, on the processor."""
    extractor = _build(method, effort, options)
    try:
        return extractor, extractor(reference)
    except OutOfMemory:
        if effort.device == "cpu":
            raise
    beside = next(e for e in efforts(measure_machine()) if e.device == "cpu")
    extractor = _build(method, beside, options)
    return extractor, extractor(reference)


def _telling(error: SiteFault | StudyUnusable) -> int:
    """Rank errors: what says most about the study comes first, then the first that happened."""
    if isinstance(error, HeadIncomplete):
        return 0
    return 1 if isinstance(error, StudyUnusable) else 2


def _build(method: Method, effort: Effort, options: BrainOptions) -> BrainExtractor:
    if method is Method.HD_BET_2:
        folder = options.hd_bet_folder or Path()
        return HdBetV2(effort=effort, folder=folder, sha256=options.hd_bet_sha256)
    if method is Method.HD_BET_1:
        networks = options.networks or (1 if effort.device == "cpu" else len(NETWORKS))
        return HdBetV1(effort=effort, networks=networks)
    return DeepBet(effort=effort)


def _of_method(
    method: Method, role: Role, failures: list[SiteFault | StudyUnusable]
) -> tuple[Finding, ...]:
    found = []
    if failures:
        text = f"The brain was found by {method}, because the method before it failed: "
        found.append(Finding(code="brain-fallback", text=text + str(failures[0])))
    if method is Method.DEEPBET and role not in T1_LIKE:
        text = f"The brain was found on {role} by deepbet, which was made for T1."
        found.append(Finding(code="brain-method", text=text))
    return tuple(found)
