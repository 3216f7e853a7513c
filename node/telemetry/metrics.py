"""Every metric of Segnode, declared once, with closed sets of labels; rooms call verbs.

Metrics of what lies in the ledger are not counted along but read from it when somebody asks
(`observe_ledger`), so that they are right after a restart and with several processes.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from node import __version__
from node.domain.errors import SegnodeError, all_codes
from node.domain.states import AnalysisState, DeliveryState, RevisionState
from node.telemetry.outcomes import (
    ASSOCIATION_OUTCOMES,
    RECEIVED_OUTCOMES,
    REFUSING_CAUSES,
    REJECTION_KINDS,
    AssociationOutcome,
    ReceivedOutcome,
    RefusingCause,
    RejectionKind,
)

K = TypeVar("K", bound=str)

_CODES: Final = all_codes()

# They are a second series for each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

registry: Final = CollectorRegistry()

_INSTANCES: Final = Counter(
    "segnode_instances_received",
    "Instances received, on every way in, by what became of them.",
    ["outcome"],
    registry=registry,
)
_BYTES: Final = Counter(
    "segnode_received_bytes",
    "Bytes of data sets received, refused ones included.",
    registry=registry,
)
_ASSOCIATIONS: Final = Counter(
    "segnode_associations",
    "Associations that ended, by how. ignored: a connection that asked for nothing.",
    ["outcome"],
    registry=registry,
)
_REJECTED: Final = Counter(
    "segnode_rejected",
    "Associations and TLS connections that were not let in, by why.",
    ["kind"],
    registry=registry,
)
_GATE: Final = Gauge(
    "segnode_refusing", "Whether new images are refused now, by why.", ["cause"], registry=registry
)
_OPEN_ASSOCIATIONS: Final = Gauge(
    "segnode_associations_open", "Associations that are established now.", registry=registry
)
_REFUSED: Final = Counter(
    "segnode_refused", "Objects that were not taken, by reason.", ["code"], registry=registry
)
_STORE_SECONDS: Final = Histogram(
    "segnode_store_seconds",
    "Time from a whole C-STORE request to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=registry,
)
_JUDGED: Final = Counter(
    "segnode_studies_judged",
    "Completion decisions, by the state that they gave the revision.",
    ["state"],
    registry=registry,
)
_BUILD: Final = Gauge(
    "segnode_build_info", "Always 1; what is running.", ["version", "python"], registry=registry
)
_BUILD.labels(__version__, platform.python_version()).set(1)


def _declare_labels() -> None:
    """Let every series exist from the start, so that a rate over its first event is right."""
    for outcome in RECEIVED_OUTCOMES:
        _INSTANCES.labels(outcome)
    for ending in ASSOCIATION_OUTCOMES:
        _ASSOCIATIONS.labels(ending)
    for code in sorted(_CODES):
        _REFUSED.labels(code)
    for kind in REJECTION_KINDS:
        _REJECTED.labels(kind)
    for cause in REFUSING_CAUSES:
        _GATE.labels(cause)
    for state in RevisionState:
        _JUDGED.labels(state.value)


_declare_labels()


def instance_received(outcome: ReceivedOutcome, size_bytes: int) -> None:
    """Count an instance and its bytes."""
    _INSTANCES.labels(outcome).inc()
    _BYTES.inc(size_bytes)


def store_seconds(seconds: float) -> None:
    """Note how long a C-STORE request took to be answered."""
    _STORE_SECONDS.observe(seconds)


def associations_open(number: int) -> None:
    """Say how many associations are established now."""
    _OPEN_ASSOCIATIONS.set(number)


def association(outcome: AssociationOutcome) -> None:
    """Count an association that ended, or was never to be."""
    _ASSOCIATIONS.labels(outcome).inc()


def rejected(kind: RejectionKind) -> None:
    """Count a caller that was not let in."""
    _REJECTED.labels(kind).inc()


def refusing(cause: RefusingCause | None) -> None:
    """Say whether and why nothing more is taken in."""
    for known in REFUSING_CAUSES:
        _GATE.labels(known).set(known == cause)


def refused(code: str) -> None:
    """Count an object that was not taken. code: of the error tree; unknown ones are its root's."""
    _REFUSED.labels(code if code in _CODES else SegnodeError.code).inc()


def study_judged(state: RevisionState) -> None:
    """Count a completion decision."""
    _JUDGED.labels(state.value).inc()


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderNumbers:
    """What one sender has done so far.

    associations: that were let in. instances: that were answered, and of these the duplicates,
    refused, and stalled ones. busy_seconds: of associations in which something was sent.
    last_at: when its last association ended, seconds since 1970.
    """

    associations: int
    aborted: int
    rejected: int
    instances: int
    duplicates: int
    refused: int
    stalled: int
    size_bytes: int
    busy_seconds: float
    longest_gap_s: float
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerNumbers:
    """What the ledger holds at one moment.

    refusals: by code of the error tree. oldest_waiting_s: how long the oldest queued analysis
    waits for an executor; None when none does. executors: that gave a sign of life lately.
    stages: of analyses, how often each was done and its seconds in all. senders: by a name of a
    closed set, since callers choose their own.
    """

    studies: int
    instances: int
    size_bytes: int
    revisions: Mapping[RevisionState, int]
    analyses: Mapping[AnalysisState, int]
    deliveries: Mapping[DeliveryState, int]
    refusals: Mapping[str, int]
    oldest_waiting_s: float | None = None
    executors: int = 0
    stages: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    senders: Mapping[str, SenderNumbers] = field(default_factory=dict)


class LedgerCollector(Collector):
    """Turns what the ledger says at scrape time into metrics."""

    def __init__(self, snapshot: Callable[[], LedgerNumbers]) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        """Return no description, so that registering asks the ledger nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; only `segnode_ledger_up 0` when the ledger cannot be read."""
        try:
            numbers = self._snapshot()
        except SegnodeError:
            yield _gauge("ledger_up", "Whether the ledger can be read.", 0)
            return
        yield _gauge("ledger_up", "Whether the ledger can be read.", 1)
        yield _gauge("ledger_studies", "Studies in the ledger.", numbers.studies)
        yield _gauge("ledger_instances", "Instances in the ledger.", numbers.instances)
        yield _gauge("ledger_bytes", "Bytes of stored instances.", numbers.size_bytes)
        yield _gauge("executors", "Executors that live.", numbers.executors)
        yield _gauge(
            "oldest_waiting_seconds",
            "How long the oldest queued analysis waits for an executor; 0 when none does.",
            numbers.oldest_waiting_s or 0,
        )
        yield _by_label("ledger_revisions", "Study revisions.", "state", numbers.revisions)
        yield _by_label("ledger_analyses", "Analyses.", "state", numbers.analyses)
        yield _by_label("ledger_deliveries", "Deliveries.", "state", numbers.deliveries)
        yield _by_label("ledger_refusals", "Refusals on record.", "code", numbers.refusals)
        stages = SummaryMetricFamily(
            "segnode_stage_seconds", "Time of the stages of analyses.", labels=["stage"]
        )
        for stage, (count, seconds) in numbers.stages.items():
            stages.add_metric([stage], count, seconds)
        yield stages
        yield from _of_senders(numbers.senders)


def observe_ledger(snapshot: Callable[[], LedgerNumbers]) -> LedgerCollector:
    """Read the ledger's numbers from this function at every scrape.

    Returns what to hand to `forget_ledger` when the process part ends.
    """
    collector = LedgerCollector(snapshot)
    registry.register(collector)
    return collector


def forget_ledger(collector: LedgerCollector) -> None:
    """Read these numbers no more."""
    registry.unregister(collector)


def render() -> tuple[bytes, str]:
    """Return the exposition for a scrape and its content type."""
    return generate_latest(registry), CONTENT_TYPE_LATEST


_SENDER_COUNTS: Final[Mapping[str, tuple[str, Callable[[SenderNumbers], float]]]] = (
    MappingProxyType(
        {
            "associations": ("Associations that were let in.", lambda n: n.associations),
            "aborted": ("Associations that ended in an abort.", lambda n: n.aborted),
            "rejected": ("Associations that were rejected.", lambda n: n.rejected),
            "instances": ("Instances that were answered.", lambda n: n.instances),
            "duplicates": ("Instances that came again.", lambda n: n.duplicates),
            "refused": ("Instances that were not taken.", lambda n: n.refused),
            "stalled": (
                "Instances that waited for a delayed acknowledgement.",
                lambda n: n.stalled,
            ),
            "bytes": ("Bytes of data sets.", lambda n: n.size_bytes),
            "busy_seconds": (
                "Time of associations in which something was sent.",
                lambda n: n.busy_seconds,
            ),
        }
    )
)


def _of_senders(senders: Mapping[str, SenderNumbers]) -> Iterator[Metric]:
    for name, (text, number_of) in _SENDER_COUNTS.items():
        counted = CounterMetricFamily(f"segnode_sender_{name}", text, labels=["sender"])
        for sender, numbers in senders.items():
            counted.add_metric([sender], number_of(numbers))
        yield counted
    yield _by_label(
        "sender_longest_gap_seconds",
        "Longest time between an answer and the next request.",
        "sender",
        {sender: numbers.longest_gap_s for sender, numbers in senders.items()},
    )
    yield _by_label(
        "sender_last_seconds",
        "When the last association ended, seconds since 1970.",
        "sender",
        {sender: numbers.last_at for sender, numbers in senders.items()},
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"segnode_{name}", text, value=value)


def _by_label(name: str, text: str, label: str, values: Mapping[K, float]) -> Metric:
    family = GaugeMetricFamily(f"segnode_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family
