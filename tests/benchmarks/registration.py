"""Registration against known movements: `python -m tests.benchmarks.registration --starts 50`.

Heads of the phantom are scanned again after a random movement (every axis: up to 15 mm and 15
degrees) in four clinical geometries, T1, T2 and FLAIR by turns, and registered to a T1C of 3D
sagittal 1 mm; once more with the coronal series of 20 slices as the reference. One line for each
geometry: error inside the brain, mm, error of the rotation, degrees, failures (more than 2 mm or
2 degrees, or an exception), time. Then three series at once, with one and with two threads.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from node.domain.errors import SegnodeError
from node.domain.regions import Role
from node.imaging.register import register, register_all
from node.imaging.volume import Affine, Grid, Volume
from node.phantom.head import paint
from node.phantom.scan import movement, observe, rician, shaded
from node.phantom.sequences import SEQUENCES
from tests.support.mr_series import AXIAL, CORONAL, SAGITTAL, a_grid, tilted

MOST_MM: Final = 15.0
MOST_DEG: Final = 15.0
FAILED_MM: Final = 2.0
FAILED_DEG: Final = 2.0
CONTRASTS: Final = (Role.T1, Role.T2, Role.FLAIR)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """How a series lies. thickness_mm: what one slice averages over."""

    name: str
    grid: Grid
    thickness_mm: float


SAGITTAL_3D: Final = Geometry(
    name="3D sagittal 1 mm",
    grid=a_grid((176, 256, 256), axes=tilted(SAGITTAL, 1.5), centre_mm=(0.0, 5.0, -10.0)),
    thickness_mm=1.0,
)
AXIAL_3D: Final = Geometry(
    name="3D axial 1 mm",
    grid=a_grid((180, 256, 208), axes=tilted(AXIAL, -4.0), centre_mm=(1.0, 6.0, 5.0)),
    thickness_mm=1.0,
)
AXIAL_2D: Final = Geometry(
    name="2D axial 5 mm",
    grid=a_grid(
        (32, 256, 208),
        axes=tilted(AXIAL, 7.0),
        spacing_mm=(5.0, 0.9, 0.9),
        centre_mm=(1.0, 9.0, 12.0),
    ),
    thickness_mm=5.0,
)
CORONAL_2D: Final = Geometry(
    name="20 coronal 7 mm",
    grid=a_grid(
        (20, 256, 256),
        axes=tilted(CORONAL, 5.0),
        spacing_mm=(7.0, 0.9, 0.9),
        centre_mm=(0.0, 14.0, 0.0),
    ),
    thickness_mm=6.0,
)
GEOMETRIES: Final = (SAGITTAL_3D, AXIAL_3D, AXIAL_2D, CORONAL_2D)
PAIRS: Final = (
    *((moving, SAGITTAL_3D) for moving in GEOMETRIES),
    (SAGITTAL_3D, CORONAL_2D),
    (AXIAL_2D, CORONAL_2D),
)
"""Moving series and reference of each row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestingHead:
    """Noise-free signal of a head in every contrast, and (n, 3) LPS points of its brain, mm."""

    pictures: Mapping[Role, Volume]
    brain_mm: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One registration. what: why there is none, else ""."""

    error_mm: float
    error_deg: float
    wall_s: float
    cpu_s: float
    what: str = ""

    @property
    def failed(self) -> bool:
        """Whether the result is none, or too far off to be of use."""
        return self.what != "" or self.error_mm > FAILED_MM or self.error_deg > FAILED_DEG


@cache
def resting_head(seed: int) -> RestingHead:
    """Make the phantom's head without a scanner."""
    head = paint(seed)
    voxels = np.argwhere(head.brain.array)[::997]
    return RestingHead(pictures=head.pictures, brain_mm=head.brain.grid.positions_mm(voxels))


def scan(
    head: RestingHead, role: Role, geometry: Geometry, moved: Affine, random: np.random.Generator
) -> Volume:
    """Scan a moved head with the coil and the noise of the phantom's scanner."""
    sequence = SEQUENCES[role]
    seen = observe(head.pictures[role], geometry.grid, geometry.thickness_mm, moved)
    values = sequence.white_level * shaded(random, seen, 0.16)
    noisy = rician(random, values, sequence.white_level / sequence.signal_to_noise)
    return seen.with_array(np.clip(np.rint(noisy), 0, 4095).astype(np.uint16))


@cache
def reference_scan(seed: int, geometry: Geometry) -> Volume:
    """Scan the T1C of a head at rest."""
    random = np.random.default_rng([seed, *geometry.name.encode()])
    return scan(resting_head(seed), Role.T1C, geometry, np.eye(4), random)


def random_movement(random: np.random.Generator) -> Affine:
    """Movement of up to MOST_DEG about and MOST_MM along every axis."""
    turn = random.uniform(-MOST_DEG, MOST_DEG, 3)
    shift = random.uniform(-MOST_MM, MOST_MM, 3)
    return movement((turn[0], turn[1], turn[2]), (shift[0], shift[1], shift[2]))


def errors(found: Affine, truth: Affine, points_mm: Affine) -> tuple[float, float]:
    """Mean displacement of the points, mm, and angle of the rotation between, degrees."""
    off = points_mm @ (found - truth)[:3, :3].T + (found - truth)[:3, 3]
    turn = found[:3, :3] @ truth[:3, :3].T
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)))
    return float(np.linalg.norm(off, axis=1).mean()), float(angle)


def measure(moving: Geometry, reference: Geometry, start: int) -> Outcome:
    """Register one scan of a random movement; the same start gives the same scans."""
    random = np.random.default_rng([start, *moving.name.encode(), *reference.name.encode()])
    head = resting_head(start % 2)
    truth = random_movement(random)
    fixed = reference_scan(start % 2, reference)
    series = scan(head, CONTRASTS[start % len(CONTRASTS)], moving, truth, random)
    wall, cpu = time.monotonic(), time.process_time()
    try:
        found = register(series, fixed, same_frame=True).matrix
    except SegnodeError as error:
        found, what = np.full((4, 4), np.nan), f"{error.code}: {error}"
    else:
        what = ""
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    error_mm, error_deg = errors(found, truth, head.brain_mm)
    return Outcome(error_mm=error_mm, error_deg=error_deg, wall_s=wall, cpu_s=cpu, what=what)


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    right = [one for one in outcomes if not one.what] or [*outcomes]
    mm = np.array([one.error_mm for one in right])
    degrees = np.array([one.error_deg for one in right])
    return (
        f"| {name} | {len(outcomes)} "
        f"| {np.median(mm):.2f} / {np.percentile(mm, 95):.2f} / {mm.max():.2f} "
        f"| {np.median(degrees):.2f} / {np.percentile(degrees, 95):.2f} / {degrees.max():.2f} "
        f"| {sum(one.failed for one in outcomes)} "
        f"| {np.median([one.wall_s for one in outcomes]):.1f} "
        f"| {np.median([one.cpu_s for one in outcomes]):.1f} |"
    )


def at_once(threads: int) -> tuple[float, float]:
    """Wall and processor seconds of three series registered to one 3D reference."""
    random = np.random.default_rng(1)
    head = resting_head(0)
    fixed = scan(head, Role.T1C, SAGITTAL_3D, np.eye(4), random)
    plans = {Role.T1: AXIAL_2D, Role.T2: AXIAL_3D, Role.FLAIR: SAGITTAL_3D}
    moving = {
        role: scan(head, role, geometry, random_movement(random), random)
        for role, geometry in plans.items()
    }
    wall, cpu = time.monotonic(), time.process_time()
    register_all(moving, fixed, same_frame=dict.fromkeys(moving, True), threads=threads)
    return time.monotonic() - wall, time.process_time() - cpu


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3, help="random starts for each geometry")
    parser.add_argument("--rows", type=int, nargs="*", default=range(len(PAIRS)))
    wanted = parser.parse_args()
    print("| series to reference | starts | mm: median / 95 % / max | deg | failed | s | CPU s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for number in wanted.rows:
        moving, reference = PAIRS[number]
        outcomes = [measure(moving, reference, start) for start in range(wanted.starts)]
        print(row(f"{moving.name} to {reference.name}", outcomes), flush=True)
        for start, one in enumerate(outcomes):
            if one.failed:
                print(f"  start {start}: {one.error_mm:.1f} mm {one.error_deg:.1f} deg {one.what}")
    for threads in (1, 2):
        wall, cpu = at_once(threads)
        print(f"three series, {threads} thread(s): {wall:.1f} s, {cpu:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
