"""How the demo tells its result."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.uid import UID

from node.app.cli.story import decision_lines, indented, stage_lines, table
from node.app.demo import Comparison
from node.domain.regions import Region
from node.net.archive import ReceivedObject
from node.store.stories import StudyStory


def story_report(story: StudyStory) -> Iterator[str]:
    """Why the study was judged complete, which series is what, and each stage's time."""
    current = story.current
    yield f"the study was judged {current.state}"
    if current.decision is not None:
        yield from indented(decision_lines(current.decision))
    for analysis in story.analyses:
        yield ""
        yield f"the analysis with bundle {analysis.record.order.bundle}: {analysis.record.state}"
        if analysis.record.reason is not None:
            yield f"  because: {analysis.record.reason.text} [{analysis.record.reason.code}]"
        yield from indented(stage_lines(analysis.steps))


def arrival_lines(received: Sequence[ReceivedObject], folder: Path) -> Iterator[str]:
    """Say what the archive holds."""
    yield f"in the archive ({folder}): {len(received)} objects"
    counts = Counter(UID(item.sop_class_uid).name for item in received)
    yield from indented(f"{count} x {name}" for name, count in counts.items())


def volume_lines(compared: Comparison) -> Iterator[str]:
    """Volumes of the SEG that arrived, against the truth of the phantom."""
    yield "volumes by the SEG in the archive, against the known truth:"
    rows = [("region", "found", "truth", "Dice")]
    for region in Region:
        found, true = compared.found_ml[region], compared.true_ml[region]
        rows.append(
            (region.value, f"{found:.1f} mL", f"{true:.1f} mL", f"{compared.dice[region]:.3f}")
        )
    yield from indented(table(rows))
