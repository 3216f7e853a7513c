"""What two processes, and two versions of this software, must agree on."""

from typing import Final

from dbos import DBOSPortableJSONSerializer

from node.domain.ids import AnalysisId, DestinationName

APPLICATION: Final = "segnode"
APPLICATION_VERSION: Final = "flow-1"
"""Raised by hand, and only when a workflow's order of steps changes: recovery takes over
only work of its own version, so a version per release would strand work at every upgrade."""

ANALYSES: Final = "analyses"
DELIVERIES: Final = "deliveries"
ANALYSE: Final = "analyse.v1"
DELIVER: Final = "deliver.v1"


def serializer() -> DBOSPortableJSONSerializer:
    """Checkpoints are JSON: whoever can write the database must not run code by it."""
    return DBOSPortableJSONSerializer()


def analysis_workflow_id(analysis_id: AnalysisId, attempt: int) -> str:
    """Return the Analysis id; a retry by an operator is another workflow."""
    return analysis_id if attempt == 1 else f"{analysis_id}-{attempt}"


def delivery_workflow_id(
    analysis_id: AnalysisId, attempt: int, destination: DestinationName, number: int
) -> str:
    """Return the id of the workflow of one send, the number-th to a destination, from 1."""
    return f"{analysis_workflow_id(analysis_id, attempt)}-to-{destination}-{number}"
