"""What an analysis is told to do: the order, its id and the hash of its inputs."""

import hashlib
from collections.abc import Mapping, Sequence

from node.domain.errors import StepCrashed
from node.domain.ids import (
    AnalysisId,
    RevisionNumber,
    RuleName,
    SeriesInstanceUID,
    Sha256,
    StudyInstanceUID,
)
from node.domain.regions import Role
from node.domain.study import AnalysisOrder, CompletionDecision, Evidence, StoredInstance
from node.rules.grammar import Rule

Inputs = Mapping[SeriesInstanceUID, Sequence[StoredInstance]]


def order_of(
    evidence: Evidence, decision: CompletionDecision, rule: Rule, inputs: Inputs
) -> AnalysisOrder:
    """Return the order for a study that was judged complete under a rule.

    inputs: the instances of at least the series chosen for required roles. A role that the
    rule does not require is left out, so that it can neither fail nor repeat an analysis.
    Raises StepCrashed for a decision without the required roles, or inputs without a series.
    """
    roles = _required_roles(decision)
    return AnalysisOrder(
        analysis_id=analysis_id(evidence.study_instance_uid, rule.name, evidence.revision),
        study_instance_uid=evidence.study_instance_uid,
        revision=evidence.revision,
        rule=rule.name,
        bundle=rule.bundle,
        reference=rule.reference,
        roles=roles,
        destinations=rule.destinations,
        inputs_sha256=inputs_sha256(roles, inputs),
    )


def analysis_id(study: StudyInstanceUID, rule: RuleName, revision: RevisionNumber) -> AnalysisId:
    """Return the id of one rule's work on one revision: the same whoever computes it."""
    digest = hashlib.sha256(f"{study}|{rule}|{revision}".encode())
    return AnalysisId(digest.hexdigest()[:32])


def inputs_sha256(roles: Sequence[tuple[Role, SeriesInstanceUID]], inputs: Inputs) -> Sha256:
    """Return a hash over the roles, their SOP Instance UIDs and their bytes, free of order."""
    digest = hashlib.sha256()
    for role, series in sorted(roles):
        digest.update(f"{role.value}|{series}\n".encode())
        instances = inputs.get(series, ())
        if not instances:
            raise StepCrashed(f"The series chosen for {role.value} has no instances.")
        for instance in sorted(instances, key=lambda i: i.sop_instance_uid):
            digest.update(f"{instance.sop_instance_uid}|{instance.sha256}\n".encode())
    return Sha256(digest.hexdigest())


def chosen_series(decision: CompletionDecision) -> tuple[SeriesInstanceUID, ...]:
    """Return the series of the required roles, in the order of the roles."""
    return tuple(series for _, series in _required_roles(decision))


def _required_roles(
    decision: CompletionDecision,
) -> tuple[tuple[Role, SeriesInstanceUID], ...]:
    if decision.roles is None or decision.roles.missing:
        raise StepCrashed("An analysis was ordered for a study that is not complete.")
    chosen, required = decision.roles.chosen, decision.roles.required
    if any(role not in chosen for role in required):
        raise StepCrashed("An analysis was ordered without one of its required roles.")
    return tuple((role, chosen[role]) for role in Role if role in required)
