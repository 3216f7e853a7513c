"""Dice of the shared cases after the whole DICOM way: each is written as four series first.

`python -m tests.benchmarks.dice_by_dicom --bundles FOLDER --bundle NAME [CASE...]`: DICOM
files, the steps of an analysis, the SEG, read back and held against the experts' labels.
`--opinions FILE` writes what `interval_calibration` reads.

Dice of a region that is empty in answer and truth is 1, of one that is empty in one of them
0. The summary gives the mean over all cases by this rule, the mean over the cases that have
the region, and in how many cases it was empty in both, missed or invented.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Final, cast

from pydicom import Dataset, dcmread

from node.analysis.case import Tools
from node.analysis.workshop import ChildProcess
from node.app.defaults import default_bundles
from node.app.segment import SEG_FILE, Request, segment
from node.domain.regions import Region, Role
from node.imaging.volume import Volume
from node.segmentation.bundle import Bundle, open_bundle
from node.segmentation.library import find
from tests.benchmarks.ca_cnn import PLAIN_PORT
from tests.support.cases import (
    CaseFiles,
    Overlap,
    complete_cases,
    overlaps_of_labels,
    overlaps_of_seg,
    read_truth,
    write_nifti_case,
)

Way = Callable[[CaseFiles], Dataset | Volume]
"""From the files of a study to its SEG, or to labels in the convention of Segnode."""

HEAD: Final = f"{'case':<24}{'WT':>7}{'TC':>7}{'ET':>7}   mL found / true: WT, TC, ET"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """Overlaps of one case, and how long the way took."""

    case: str
    overlaps: tuple[Overlap, ...]
    seconds: float

    def of(self, region: Region) -> Overlap:
        """Return the overlap of one region."""
        return {found.region: found for found in self.overlaps}[region]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One region over all cases.

    mean: by the rule for empty regions; mean_where_present: over cases that have the region,
    None when none has it. neither, missed, invented: numbers of cases, see Overlap.presence.
    """

    mean: float
    mean_where_present: float | None
    neither: int
    missed: int
    invented: int


def score_case(case_folder: Path, work_folder: Path, way: Way) -> CaseScore:
    """Write a case as DICOM, send it on its way, and hold the answer against the truth."""
    files = write_nifti_case(case_folder, work_folder)
    started = perf_counter()
    answer = way(files)
    seconds = perf_counter() - started
    truth = read_truth(case_folder)
    if isinstance(answer, Volume):
        overlaps = overlaps_of_labels(answer, truth)
    else:
        overlaps = overlaps_of_seg(answer, truth)
    return CaseScore(case=case_folder.name, overlaps=overlaps, seconds=seconds)


def summarise(scores: Sequence[CaseScore], region: Region) -> Summary:
    """Summarise one region over at least one case."""
    found = [score.of(region) for score in scores]
    present = [overlap.dice for overlap in found if overlap.true_ml > 0]
    presence = [overlap.presence for overlap in found]
    return Summary(
        mean=fmean(overlap.dice for overlap in found),
        mean_where_present=fmean(present) if present else None,
        neither=presence.count("neither"),
        missed=presence.count("missed"),
        invented=presence.count("invented"),
    )


def report(scores: Sequence[CaseScore]) -> Iterator[str]:
    """Lay out a line for each case and the summary."""
    yield HEAD
    yield from (_line(score) for score in scores)
    summaries = [summarise(scores, region) for region in Region]
    yield _row("mean, empty = 1 or 0", (summary.mean for summary in summaries))
    present = (summary.mean_where_present for summary in summaries)
    yield _row("mean where present", present)
    for name in ("neither", "missed", "invented"):
        counts = "".join(f"{getattr(summary, name):>7}" for summary in summaries)
        yield f"{'cases ' + name:<24}{counts}"


def compare_with_plain_port(scores: Sequence[CaseScore]) -> Iterator[str]:
    """Give both means over the cases that the plain port was measured on."""
    shared = [score for score in scores if score.case in PLAIN_PORT]
    for place, region in enumerate(Region):
        pairs = [
            (score.of(region).dice, plain)
            for score in shared
            if (plain := PLAIN_PORT[score.case][place]) is not None
        ]
        if pairs:
            ours, theirs = (fmean(column) for column in zip(*pairs, strict=True))
            yield (
                f"{region} over {len(pairs)} cases that have it: {ours:.4f}, "
                f"plain port {theirs:.4f}, difference {ours - theirs:+.4f}"
            )


class SegmentWay:
    """From files to SEG by `segnode segment`; keeps what the single views thought."""

    def __init__(self, bundle: Bundle, tools: Tools, out: Path) -> None:
        self._bundle, self._tools, self._out = bundle, tools, out
        self.opinions: list[dict[str, list[float]]] = []

    def __call__(self, files: CaseFiles) -> Dataset:
        """Go the way of one case."""
        request = Request(
            inputs={role: paths[0].parent for role, paths in files.files.items()},
            reference=Role.T1C,
            out=self._out,
        )
        found = segment(request, self._bundle, self._tools, lambda _step, _part: None)
        summaries = {step.step: step.summary for step in found.steps}
        self.opinions.append(
            cast("dict[str, list[float]]", summaries["infer"].get("opinions_ml", {}))
        )
        return dcmread(self._out / SEG_FILE)


def main() -> None:
    """Walk over the cases and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help="names; all complete ones without")
    parser.add_argument("--bundle", default="ca-cnn-brats17")
    parser.add_argument("--bundles", type=Path, action="append", default=[])
    parser.add_argument("--opinions", type=Path)
    arguments = parser.parse_args()
    bundle = open_bundle(find(arguments.bundle, [*arguments.bundles, default_bundles()]))
    folders = [
        case for case in complete_cases() if not arguments.cases or case.name in arguments.cases
    ]
    scores: list[CaseScore] = []
    with tempfile.TemporaryDirectory() as temporary, ChildProcess() as workshop:
        way = SegmentWay(bundle, Tools(workshop=workshop), Path(temporary) / "out")
        print(HEAD)
        for case in folders:
            scores.append(score_case(case, Path(temporary) / case.name, way))
            print(_line(scores[-1]), flush=True)
    print()
    print("\n".join(report(scores)))
    print("\n".join(compare_with_plain_port(scores)))
    if arguments.opinions is not None:
        entries = [
            {
                "case": score.case,
                "region": one.region,
                "found_ml": one.found_ml,
                "true_ml": one.true_ml,
                "opinions_ml": opinions.get(one.region, []),
            }
            for score, opinions in zip(scores, way.opinions, strict=True)
            for one in score.overlaps
        ]
        arguments.opinions.write_text(json.dumps(entries, indent=1))


def _line(score: CaseScore) -> str:
    found = [score.of(region) for region in Region]
    volumes = ", ".join(f"{one.found_ml:.1f} / {one.true_ml:.1f}" for one in found)
    return f"{_row(score.case, (one.dice for one in found))}   {volumes}   {score.seconds:.0f} s"


def _row(name: str, values: Iterable[float | None]) -> str:
    cells = ("-" if value is None else f"{value:.3f}" for value in values)
    return f"{name:<24}" + "".join(f"{cell:>7}" for cell in cells)


if __name__ == "__main__":
    main()
