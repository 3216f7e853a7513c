"""One look at one study: read the evidence, judge, write down, and order the work."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from node.domain.errors import StepCrashed
from node.domain.ids import StudyInstanceUID
from node.domain.states import RevisionState
from node.domain.study import AnalysisOrder, CompletionDecision, Evidence, Reason
from node.rules.grammar import Rule
from node.store.ledger import Ledger, Transaction
from node.studies.completion import OK, judge
from node.studies.order import chosen_series, order_of

OVERTAKEN: Final = CompletionDecision(
    state=RevisionState.WAITING,
    reason=Reason(code=OK, text="the study changed while it was judged"),
    evidence=(),
    look_again_s=0.0,
)
"""What a look returns that came too late: nothing was written, the study is still due."""


class JobQueue(Protocol):
    """Where ordered work goes; app gives it the durable queue of node/jobs."""

    def enqueue(self, order: AnalysisOrder, transaction: Transaction) -> None:
        """Queue the analysis in the ledger's open transaction; it begins when that commits."""
        ...


def review(
    study: StudyInstanceUID,
    ledger: Ledger,
    rules: Sequence[Rule],
    queue: JobQueue,
    now: datetime,
) -> CompletionDecision:
    """Look at a study once and return what was decided, or OVERTAKEN.

    Instances that come between reading and writing are noticed by their number, and so is what
    a modality says meanwhile: then nothing is written and the study stays due, so no image is
    ever judged away unseen.
    """
    evidence = ledger.studies.evidence(study, now)
    decision = judge(evidence, rules)
    if decision.state is RevisionState.COMPLETE:
        return _complete(evidence, decision, _rule_of(decision, rules), (ledger, queue), now)
    was_written = ledger.studies.record(study, evidence.revision, decision, now=now, seen=evidence)
    return decision if was_written else OVERTAKEN


def _complete(
    evidence: Evidence,
    decision: CompletionDecision,
    rule: Rule,
    shell: tuple[Ledger, JobQueue],
    now: datetime,
) -> CompletionDecision:
    """Order the analysis, unless the same inputs were analysed and delivered before."""
    ledger, queue = shell
    study, revision = evidence.study_instance_uid, evidence.revision
    inputs = ledger.studies.instances_of(study, chosen_series(decision))
    order = order_of(evidence, decision, rule, inputs)
    earlier = ledger.analyses.with_inputs(study, rule.name, rule.bundle, order.inputs_sha256)
    if earlier is None:
        was_written = ledger.studies.complete(
            study,
            revision,
            decision,
            order,
            queue.enqueue,
            now=now,
            seen=evidence,
        )
        return decision if was_written else OVERTAKEN
    text = f"the same images were analysed for revision {earlier.order.revision} and delivered"
    decision = replace(
        decision,
        reason=Reason(code=OK, text=f"complete; {text}"),
        evidence=(*decision.evidence, text),
    )
    was_written = ledger.studies.complete_unchanged(
        study, revision, decision, now=now, seen=evidence
    )
    return decision if was_written else OVERTAKEN


def _rule_of(decision: CompletionDecision, rules: Sequence[Rule]) -> Rule:
    """Return the rule that took the study."""
    name = decision.roles.rule if decision.roles is not None else None
    for rule in rules:
        if rule.name == name:
            return rule
    raise StepCrashed("A study was judged complete by a rule that is not in force.")
