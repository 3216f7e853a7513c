"""The demo: a node, an archive and a scanner on one machine, with real C-STORE between them."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from node.app.cli.initialise import NODE_YAML
from node.app.defaults import default_rules
from node.app.settings import Settings, read_settings
from node.app.wiring import make_spool
from node.domain.errors import ConfigurationInvalid, LedgerUnavailable, StepCrashed
from node.domain.ids import AETitle, StudyInstanceUID
from node.domain.regions import Region, Role
from node.domain.states import AnalysisState, RevisionState
from node.imaging.measure import dice, labels_to_region, region_volumes
from node.net.archive import ReceivedObject
from node.net.scu import Peer
from node.phantom.head import Head
from node.results.reading import read_regions, spread_on
from node.store.ledger import Ledger
from node.store.stories import StudyStory

MARK = ".segnode-demo"
SCANNER = "DEMO-SCANNER"
QUIET_S = 3
LOOK_S = 0.2
SEGNODE = (sys.executable, "-m", "node.app.cli.main")
START_LIMIT_S = 60.0

ENDED_ANALYSES = frozenset({AnalysisState.DELIVERED, AnalysisState.FAILED, AnalysisState.CANCELLED})
ENDED_REVISIONS = frozenset({RevisionState.NOT_ELIGIBLE, RevisionState.GAVE_UP})


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoNode:
    """A configured node and where it listens."""

    configuration: Path
    settings: Settings
    scanner: Peer
    """The node as the scanner sees it."""


def empty_folder(folder: Path) -> None:
    """Make the demo's folder anew; refuses to touch a folder that is not the demo's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        message = f"{folder} holds other files; name another folder with --output"
        raise ConfigurationInvalid(message)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that nobody listens on at this moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)
    finally:
        for probe in probes:
            probe.close()


def configure(folder: Path, archive_port: int) -> DemoNode:
    """Write a node's configuration: the defaults, free ports, a short quiet period."""
    dicom_port, http_port = free_ports(2)
    content = yaml.safe_load(NODE_YAML)
    content["listen"] = {
        "host": "127.0.0.1",
        "port": dicom_port,
        "callers": [f"{SCANNER}@127.0.0.1"],
    }
    content["http"] = {"host": "127.0.0.1", "port": http_port}
    content["destinations"] = {
        "archive": {"ae_title": "DEMO-ARCHIVE", "host": "127.0.0.1", "port": archive_port}
    }
    content["log_level"] = "WARNING"
    configuration = folder / "node.yaml"
    configuration.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    make_spool(folder / "spool")
    (folder / "rules").mkdir()
    for rule in sorted(default_rules().glob("*.yaml")):
        shortened = yaml.safe_load(rule.read_text(encoding="utf-8"))
        shortened["completion"]["quiet_s"] = QUIET_S
        text = yaml.safe_dump(shortened, sort_keys=False, allow_unicode=True)
        (folder / "rules" / rule.name).write_text(text, encoding="utf-8")
    settings = read_settings(configuration)
    return DemoNode(
        configuration=configuration,
        settings=settings,
        scanner=Peer(
            ae_title=AETitle(settings.ae_title),
            host="127.0.0.1",
            port=dicom_port,
            calling_ae_title=AETitle(SCANNER),
        ),
    )


@contextmanager
def running(node: DemoNode, log: Path) -> Iterator[None]:
    """Run `segnode run` while the context lasts; waits until the node says that it is ready.

    Raises StepCrashed when the node does not start.
    """
    command = [*SEGNODE, "run", "--config", str(node.configuration)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)  # noqa: S603 - ours
        try:
            _wait_until_ready(node, process)
            yield
        finally:
            process.terminate()
            process.wait()


def _wait_until_ready(node: DemoNode, process: subprocess.Popen[bytes]) -> None:
    url = f"http://127.0.0.1:{node.settings.http.port}/readyz"
    limit = time.monotonic() + START_LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(LOOK_S)
    message = "the node did not become ready; its log says why"
    raise StepCrashed(message)


def follow(
    ledger: Ledger, study: StudyInstanceUID, limit_s: float, tell: Callable[[str], None]
) -> StudyStory | None:
    """Wait for the study's end, telling in words how far it is; None after limit_s."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        story = _story(ledger, study)
        if story is not None:
            tell(progress_of(story))
            if has_ended(story):
                return story
        time.sleep(LOOK_S)
    return None


def _story(ledger: Ledger, study: StudyInstanceUID) -> StudyStory | None:
    try:
        return ledger.stories.story(study)
    except LedgerUnavailable:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The segmentation that arrived, against the truth: volumes in mL and Dice."""

    found_ml: Mapping[Region, float]
    true_ml: Mapping[Region, float]
    dice: Mapping[Region, float]
    has_overlay: bool


def compare(head: Head, received: Sequence[ReceivedObject]) -> Comparison | None:
    """Hold what the archive has to the truth; None when no segmentation arrived."""
    by_class = {str(item.sop_class_uid): item.path for item in received}
    if SegmentationStorage not in by_class:
        return None
    grid = head.series[Role.T1C].grid
    truth = head.truth_on(grid)
    found = {
        region: spread_on(mask, grid)
        for region, mask in read_regions(by_class[SegmentationStorage]).items()
    }
    return Comparison(
        found_ml={
            region: float(mask.array.sum()) * grid.voxel_mm3 / 1000
            for region, mask in found.items()
        },
        true_ml={volume.region: volume.millilitres for volume in region_volumes(truth)},
        dice={
            region: dice(mask.array, labels_to_region(truth, region))
            for region, mask in found.items()
        },
        has_overlay=SecondaryCaptureImageStorage in by_class,
    )


def has_ended(story: StudyStory) -> bool:
    """Whether nothing more happens by itself."""
    if story.analyses:
        return story.analyses[-1].record.state in ENDED_ANALYSES
    return story.current.state in ENDED_REVISIONS


def progress_of(story: StudyStory) -> str:
    """Say how far the study is."""
    if not story.analyses:
        decision = story.current.decision
        return f"{story.instances} images here; {decision.reason.text if decision else 'new'}"
    last = story.analyses[-1]
    step = last.steps[-1].step if last.steps else "queued"
    sent = sum(delivery.attempts > 0 for delivery in last.deliveries)
    if last.deliveries and last.record.state is AnalysisState.ENCODED:
        return f"delivering: {sent} of {len(last.deliveries)} objects"
    return f"analysing: {step}"
