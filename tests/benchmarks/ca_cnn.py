"""The CA-CNN engine on the shared cases, fed with their arrays: overlap, time, memory.

`python -m tests.benchmarks.ca_cnn [--cases 01476,01480] [--mode bfloat16] [--opinions FILE]`
prints a table, one row a case: Dice of WT, TC and ET with those of the plain port in brackets
(shared/data/weights/ca-cnn-brats17/README.md: float32, Conv3d, batches of five slabs, seed 0),
millilitres found and true, seconds on the clock and of processor time, and the peak of memory.
Each case has a process of its own. Modes: float32, bfloat16; `tiled` is bfloat16 with so little
memory that statistics come from a sample. FILE gets what tests.benchmarks.interval_calibration
wants. Dice of a region that the expert does not see is left out, here and in the means.
"""

import argparse
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from node.domain.regions import Region
from node.imaging.measure import dice, labels_to_region
from node.segmentation.ca_cnn import CascadeEngine
from node.segmentation.effort import Effort
from node.segmentation.options import CASCADE_ROLES, CascadeOptions
from tests.support.cases import SUFFIXES, complete_cases, read_nifti, read_truth
from tests.support.shared import SHARED

WEIGHTS: Final = SHARED / "data/weights/ca-cnn-brats17"

PLAIN_PORT: Final[dict[str, tuple[float | None, float | None, float | None]]] = {
    "BraTS-GLI-00000-000": (0.9617, 0.9819, 0.9500),
    "BraTS2021_01476": (0.9554, 0.9472, 0.8650),
    "BraTS2021_01477": (0.9573, 0.9143, None),
    "BraTS2021_01478": (0.9106, 0.9120, 0.7618),
    "BraTS2021_01480": (0.8303, 0.7041, None),
    "BraTS2021_01481": (0.9032, 0.9338, 0.8477),
    "BraTS2021_01483": (0.9083, 0.9113, None),
    "BraTS2021_01485": (0.8949, 0.8866, 0.8858),
}
"""Dice of WT, TC and ET as the README of the weights states them; it needed 84 to 176 s a case."""

MEMORY_BYTES: Final = {"float32": 4 * 2**30, "bfloat16": 4 * 2**30, "tiled": 256 * 2**20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case. dice: None where the expert sees nothing; memory_mb: peak of the process."""

    case: str
    dice: tuple[float | None, ...]
    found_ml: tuple[float, ...]
    true_ml: tuple[float, ...]
    opinions_ml: tuple[tuple[float, ...], ...]
    wall_s: float
    processor_s: float
    memory_mb: float


def measured(case: Path, mode: str, threads: int) -> Result:
    """Segment one case and hold it against its truth."""
    volumes = [read_nifti(case / f"{case.name}_{SUFFIXES[role]}.nii.gz") for role in CASCADE_ROLES]
    channels = np.stack([volume.array for volume in volumes]).astype(np.float32)
    effort = Effort(
        device="cpu", threads=threads, memory_bytes=MEMORY_BYTES[mode], half=mode != "float32"
    )
    engine = CascadeEngine(WEIGHTS, CascadeOptions())
    wall, processor = time.perf_counter(), time.process_time()
    found = engine(channels, channels[0] > 0, (1.0, 1.0, 1.0), effort, lambda _: None)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    meanings = np.array([0, 1, 2, 0, 3], dtype=np.uint8)
    labels, truth = volumes[0].with_array(meanings[found.labels]), read_truth(case)
    pairs = [
        (labels_to_region(labels, region), labels_to_region(truth, region)) for region in Region
    ]
    return Result(
        case=case.name,
        dice=tuple(dice(ours, theirs) if theirs.any() else None for ours, theirs in pairs),
        found_ml=tuple(np.count_nonzero(ours) / 1000 for ours, _ in pairs),
        true_ml=tuple(np.count_nonzero(theirs) / 1000 for _, theirs in pairs),
        opinions_ml=tuple(
            tuple(voxels / 1000 for voxels in found.opinions[region]) for region in Region
        ),
        wall_s=wall,
        processor_s=processor,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def row(result: Result) -> str:
    """Return a line of the table."""
    plain = PLAIN_PORT.get(result.case, (None, None, None))
    scores = [
        "" if ours is None else f"{ours:.4f}" + ("" if theirs is None else f" ({theirs:.4f})")
        for ours, theirs in zip(result.dice, plain, strict=True)
    ]
    volumes = [
        " / ".join(f"{ml:.2f}" for ml in values) for values in (result.found_ml, result.true_ml)
    ]
    costs = [f"{result.wall_s:.1f}", f"{result.processor_s:.1f}", f"{result.memory_mb:.0f}"]
    return "| " + " | ".join([result.case, *scores, *volumes, *costs]) + " |"


def means(results: list[Result]) -> str:
    """Return the last line: mean Dice over all cases, and over those of the plain port."""
    cells = []
    for number in range(len(Region)):
        ours = [(r.case, r.dice[number]) for r in results]
        scores = [score for _, score in ours if score is not None]
        both = [
            (score, plain)
            for case, score in ours
            if score is not None and (plain := PLAIN_PORT.get(case, (None,) * 3)[number])
        ]
        shared = [f"{np.mean(column):.4f}" for column in zip(*both, strict=True)]
        cells.append(
            (f"{np.mean(scores):.4f}" if scores else "")
            + (f"; where both {shared[0]} ({shared[1]})" if shared else "")
        )
    return "| mean | " + " | ".join(cells) + " | | | | | |"


def opinions(results: list[Result]) -> list[dict[str, object]]:
    """Return what the calibration of the intervals reads."""
    return [
        {
            "case": result.case,
            "region": region.value,
            "found_ml": result.found_ml[number],
            "true_ml": result.true_ml[number],
            "opinions_ml": result.opinions_ml[number],
        }
        for result in results
        for number, region in enumerate(Region)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="", help="parts of names, with commas; else all")
    parser.add_argument("--mode", default="bfloat16", choices=sorted(MEMORY_BYTES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--opinions", type=Path)
    chosen = parser.parse_args()
    parts = chosen.cases.split(",")
    cases = [case for case in complete_cases() if any(part in case.name for part in parts)]
    print("| case | Dice WT | TC | ET | mL found | mL true | s wall | s processor | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    results = []
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        for case in cases:
            results.append(processes.submit(measured, case, chosen.mode, chosen.threads).result())
            print(row(results[-1]), flush=True)
    print(means(results))
    if chosen.opinions:
        chosen.opinions.write_text(json.dumps(opinions(results), indent=1))


if __name__ == "__main__":
    main()
