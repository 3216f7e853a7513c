"""A study's story in plain lines, fit for a terminal, a pipe and a ticket."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from node.domain.quality import FINDINGS, MEASURED
from node.domain.states import DeliveryState
from node.domain.study import (
    CompletionDecision,
    DeliveryRecord,
    ProcedureStep,
    Refusal,
    RoleChoice,
    SeriesFacts,
    StepRecord,
    verdict_of,
)
from node.store.stories import AnalysisStory, RevisionStory, StudyLine, StudyStory


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay out rows in columns as wide as their widest cell."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def indented(lines: Iterable[str]) -> Iterator[str]:
    """Move lines to the right."""
    return (f"  {line}" for line in lines)


def when(at: datetime) -> str:
    """Write a time of record."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def list_lines(lines: Sequence[StudyLine]) -> Iterator[str]:
    """One line for each study."""
    head = ("STUDY", "REV", "STATE", "ANALYSIS", "SERIES", "IMAGES", "LAST IMAGE (UTC)", "REASON")
    rows = [
        (
            line.study_instance_uid,
            str(line.revision),
            line.state,
            line.analysis or "-",
            str(line.series),
            str(line.instances),
            when(line.last_received_at),
            line.reason.text if line.reason else "",
        )
        for line in lines
    ]
    return table([head, *rows])


def story_lines(story: StudyStory) -> Iterator[str]:
    """Everything about one study."""
    header = story.header
    yield f"study      {story.study_instance_uid}"
    yield f"described  {header.study_description or '-'}  ({header.modality})"
    yield f"received   {when(story.first_received_at)} to {when(story.last_received_at)} UTC"
    yield f"state      {story.current.state}, revision {story.current.revision}"
    yield ""
    mib = story.size_bytes / 2**20
    yield f"what came: {len(story.series)} series, {story.instances} images, {mib:.1f} MiB"
    yield from indented(table([_series_row(facts) for facts in story.series]))
    yield from refusal_lines(story.refusals)
    yield from procedure_step_lines(story.procedure_steps)
    for revision in story.revisions:
        yield ""
        yield from _revision_lines(revision)
    for analysis in story.analyses:
        yield ""
        yield from _analysis_lines(analysis)
    yield ""
    yield "what happened:"
    rows = [
        (when(t.at), t.entity, f"{t.from_state or '-'} -> {t.to_state}", t.who, t.why)
        for t in story.transitions
        if t.entity != "delivery"
    ]
    yield from indented(table(rows))


def refusal_lines(refusals: Sequence[Refusal]) -> Iterator[str]:
    """Say what was not taken, alike ones together."""
    counted = Counter((r.reason.code, r.reason.text, r.calling_ae_title) for r in refusals)
    if counted:
        yield f"not taken: {len(refusals)}"
    for (code, text, caller), count in counted.items():
        yield f"  {count} x {code} from {caller}: {text}"


def procedure_step_lines(steps: Sequence[ProcedureStep]) -> Iterator[str]:
    """Say what modalities said of their work, and how much of it is here."""
    if steps:
        yield f"procedure steps (MPPS): {len(steps)}"
    rows = [
        (
            step.calling_ae_title,
            step.state,
            f"{step.images} images listed",
            f"{step.missing} not here" if step.missing else "",
        )
        for step in steps
    ]
    yield from indented(table(rows))


def _series_row(facts: SeriesFacts) -> tuple[str, ...]:
    header, stack = facts.header, facts.stack
    number = "-" if header.series_number is None else str(header.series_number)
    spacing = "" if stack.spacing_mm is None else f"{stack.spacing_mm:.2f} mm apart"
    problem = f"{stack.problem.code}: {stack.problem.text}" if stack.problem else ""
    return (
        number,
        repr(header.series_description),
        header.modality,
        f"{facts.instances} images",
        f"{stack.slices} slices",
        stack.plane or "-",
        spacing,
        problem,
    )


def _revision_lines(revision: RevisionStory) -> Iterator[str]:
    yield f"revision {revision.revision}: {revision.state}"
    if revision.decision is not None:
        yield from indented(decision_lines(revision.decision))
    if revision.next_look_at is not None:
        yield f"  next look at {when(revision.next_look_at)} UTC"


def decision_lines(decision: CompletionDecision) -> Iterator[str]:
    """Say why a revision is judged as it is."""
    yield f"because: {decision.reason.text} [{decision.reason.code}]"
    for sentence in decision.evidence:
        yield f"evidence: {sentence}"
    if decision.roles is not None:
        yield f"roles by rule {decision.roles.rule}:"
        for choice in decision.roles.choices:
            yield from indented(role_lines(choice))


def role_lines(choice: RoleChoice) -> Iterator[str]:
    """Say which series took a role, and why, or why none."""
    chosen = next((c for c in choice.candidates if c.series_instance_uid == choice.chosen), None)
    if chosen is None:
        yield f"{choice.role:<5} none: {choice.reason.text} [{choice.reason.code}]"
        return
    name = f"series {chosen.series_number} {chosen.series_description!r}"
    yield f"{choice.role:<5} {name}: {'; '.join(chosen.reasons) or choice.reason.text}"


def _analysis_lines(analysis: AnalysisStory) -> Iterator[str]:
    record = analysis.record
    order = record.order
    yield f"analysis {order.analysis_id}: {record.state}, attempt {record.attempt}"
    yield f"  rule {order.rule}, bundle {order.bundle}, revision {order.revision}"
    if record.reason is not None:
        yield f"  because: {record.reason.text} [{record.reason.code}]"
    yield from indented(stage_lines(analysis.steps))
    yield from indented(delivery_lines(analysis.deliveries))


def stage_lines(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Each stage with its time and what it found, and what lowers the trust in the result."""
    if steps:
        yield "stages:"
    rows = [
        (
            step.step,
            "running" if step.seconds is None else f"{step.seconds:.1f} s",
            ", ".join(
                f"{key} {_compact(value)}" for key, value in step.summary.items() if key not in OWN
            ),
        )
        for step in steps
    ]
    yield from indented(table(rows))
    total = sum(step.seconds or 0.0 for step in steps)
    if steps:
        yield f"  all stages {total:.1f} s"
    yield from measurement_lines(steps)
    yield from trust_lines(steps)


OWN = frozenset({MEASURED, FINDINGS})
"""Parts of a summary that get lines of their own."""


def measurement_lines(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Say what was measured."""
    lines = [str(line) for step in steps for line in _list(step.summary.get(MEASURED))]
    if lines:
        yield "measured:"
    yield from indented(lines)


def trust_lines(steps: Sequence[StepRecord]) -> Iterator[str]:
    """Say how far the result may be trusted, once there is one."""
    verdict = verdict_of(steps)
    if any(_list(step.summary.get(MEASURED)) for step in steps) or verdict.findings:
        yield f"trust: {verdict.trust}"
    yield from indented(f"{finding.text} [{finding.code}]" for finding in verdict.findings)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _compact(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_compact(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "x".join(_compact(inner) for inner in value)
    return str(value)


def delivery_lines(deliveries: Sequence[DeliveryRecord]) -> Iterator[str]:
    """Deliveries by destination, kind and state."""
    if deliveries:
        yield "deliveries:"
    counted = Counter(
        (d.destination, d.kind, d.state, d.reason.text if d.reason else "") for d in deliveries
    )
    rows = [
        (destination, kind, f"{count} {state}", _proof(state), text)
        for (destination, kind, state, text), count in counted.items()
    ]
    yield from indented(table(rows))
    yield from indented(seen_lines(deliveries))


def _proof(state: DeliveryState) -> str:
    return "acknowledged, not proven" if state is DeliveryState.SENT else ""


def seen_lines(deliveries: Sequence[DeliveryRecord]) -> Iterator[str]:
    """Say which objects an archive sent back to us, and when the first of a kind came."""
    seen = {d.sop_instance_uid: (d.kind, d.seen_at) for d in deliveries if d.seen_at is not None}
    objects = Counter(kind for _, kind in {(d.sop_instance_uid, d.kind) for d in deliveries})
    for kind in sorted({kind for kind, _ in seen.values()}):
        times = [at for found, at in seen.values() if found == kind]
        first = f"first at {when(min(times))} UTC"
        yield f"seen in the archive: {len(times)} of {objects[kind]} {kind}, {first}"
