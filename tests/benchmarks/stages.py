"""Times and peak memory of the steps for one study, beside other tools: `... stages [--peers]`.

The study: four 3D series of 256 x 256 x 176 voxels of 1 mm, of the phantom (`--case` takes a
folder of a BraTS case instead). Steps run as in a worker, but in one process, so that memory can be
read; the second round counts, when libraries and networks are warm.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from node.analysis import steps
from node.analysis.case import Case, Tools, volume_name
from node.app.defaults import default_bundles
from node.domain.regions import Role
from node.imaging.artefacts import save_volume
from node.imaging.assemble import assemble
from node.imaging.nifti import write_nifti
from node.phantom.head import make_head
from node.phantom.sequences import SEQUENCES
from node.phantom.study import write_study
from node.segmentation.brains import BrainOptions, Method
from node.segmentation.bundle import open_bundle
from node.segmentation.library import find
from tests.support.cases import write_nifti_case

ORDER = (Role.T1C, Role.T1, Role.T2, Role.FLAIR)
STEPS: dict[str, Callable[[Case], steps.StepResult]] = {
    "register": steps.register_series,
    "brain": steps.find_brain,
    "prepare": steps.prepare_input,
    "infer": steps.infer_labels,
    "native and measure": steps.return_to_native,
}
PEERS = (
    ("register", "ants-rigid", ("T1C", "T2")),
    ("brain", "hd-bet-v1", ("T1C",)),
    ("brain", "brainextractor", ("T1C",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one step: wall and processor seconds, and the peak of resident memory, MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=Path, help="folder of a BraTS case instead of the phantom")
    parser.add_argument("--bundle", default="intensity-glioma")
    parser.add_argument("--bundles", type=Path, action="append", default=[])
    parser.add_argument("--brain", type=Method, default=Method.AUTO)
    parser.add_argument("--peers", action="store_true", help="run other tools as well")
    arguments = parser.parse_args()
    bundle = open_bundle(find(arguments.bundle, [*arguments.bundles, default_bundles()]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_case(arguments.case, folder / "study")
        work = folder / "work"
        work.mkdir()
        case = Case(
            folder=work,
            roles=ORDER,
            bundle=bundle,
            tools=Tools(brain=BrainOptions(method=arguments.brain)),
        )
        print(case.tools.machine())
        perform(case, files)
        costs = perform(case, files)
        print_costs(costs)
        if arguments.peers:
            print_peers(case, folder, costs)


def write_case(case: Path | None, folder: Path) -> dict[Role, tuple[Path, ...]]:
    """Write the study as DICOM."""
    if case is not None:
        return dict(write_nifti_case(case, folder).files)
    plan = SEQUENCES[Role.T1C].plan
    sequences = {role: replace(one, plan=plan) for role, one in SEQUENCES.items()}
    written = write_study(make_head(0, sequences=sequences), folder)
    return {role: series.paths for role, series in written.series.items()}


def perform(case: Case, files: dict[Role, tuple[Path, ...]]) -> dict[str, Cost]:
    """Go through all steps once."""

    def assemble_all() -> None:
        for role in case.roles:
            save_volume(assemble(files[role]), case.folder / volume_name(role))

    found = {"assemble": measured(assemble_all)}
    for name, step in STEPS.items():
        found[name] = measured(lambda step=step: step(case))  # type: ignore[misc]
    return found


def measured(work: Callable[[], object]) -> Cost:
    """Run it; the peak of memory is counted from where it stands now."""
    Path("/proc/self/clear_refs").write_text("5")
    before = time.monotonic(), time.process_time()
    work()
    return Cost(
        seconds=time.monotonic() - before[0],
        cpu_seconds=time.process_time() - before[1],
        peak_mib=_peak_mib(),
    )


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def print_costs(costs: dict[str, Cost]) -> None:
    """One line a step, and their sum."""
    print(f"{'step':<20}{'s':>8}{'CPU s':>8}{'peak MiB':>10}")
    for name, cost in costs.items():
        print(f"{name:<20}{cost.seconds:>8.1f}{cost.cpu_seconds:>8.1f}{cost.peak_mib:>10.0f}")
    seconds, cpu = (
        sum(c.seconds for c in costs.values()),
        sum(c.cpu_seconds for c in costs.values()),
    )
    print(f"{'all':<20}{seconds:>8.1f}{cpu:>8.1f}{max(c.peak_mib for c in costs.values()):>10.0f}")


def print_peers(case: Case, folder: Path, costs: dict[str, Cost]) -> None:
    """Let other tools do the same work on a series; the ratio is to our time for the step."""
    images = {}
    for role in case.roles:
        images[role.value] = folder / f"{role}.nii.gz"
        write_nifti(case.volume(role), images[role.value])
    others = len(case.roles) - 1
    print(f"{'peer':<20}{'s':>8}{'CPU s':>8}{'peak MiB':>10}  wall time as a multiple of ours")
    for step, tool, names in PEERS:
        command = [sys.executable, "-m", "tests.benchmarks.peer_tools", tool]
        process = subprocess.run(
            [*command, *(str(images[name]) for name in names)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        if process.returncode != 0:
            print(f"{tool:<20} not run: {process.stderr.strip().splitlines()[-1:]}")
            continue
        cost = json.loads(process.stdout.splitlines()[-1])
        ours = costs[step].seconds / (others if step == "register" else 1)
        print(
            f"{tool:<20}{cost['seconds']:>8.1f}{cost['cpu_seconds']:>8.1f}"
            f"{cost['peak_mib']:>10.0f}  {cost['seconds'] / ours:.1f}"
        )


if __name__ == "__main__":
    main()
