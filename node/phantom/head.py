"""The synthetic head: truth and four series, from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from node.dicom.uids import derived_uid
from node.domain.regions import RegionVolume, Role
from node.imaging.measure import region_volumes
from node.imaging.volume import Affine, Array, Grid, Volume
from node.phantom.anatomy import paint_head
from node.phantom.brain import Brain, make_brain
from node.phantom.fields import Floats, sample, smooth_noise, undone
from node.phantom.scan import movement, observe, planned_grid, rician, shaded, softened
from node.phantom.sequences import SEQUENCES, Sequence, signal
from node.phantom.space import BRAIN_WINDOW, HEAD_GRID
from node.phantom.tissues import Tissue
from node.phantom.tumour import DEFAULT_TUMOUR, Tumour, fractions, grow

REFERENCE: Final = Role.T1C
"""The series in whose pose the truth is given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A head as four series saw it, and the truth about it.

    truth: uint8 labels of Segnode, 1 mm, LPS, in the pose of the T1C series.
    brain: bool, brain with ventricles, on the grid of the truth.
    series: uint16 values on the grid of each series; one frame of reference for all.
    motions: (4, 4) LPS, from a point of the head during T1C to the same point during the series.
    """

    seed: int
    tumour: Tumour | None
    truth: Volume
    brain: Volume
    series: Mapping[Role, Volume]
    motions: Mapping[Role, Affine]

    def truth_on(self, grid: Grid, *, role: Role = REFERENCE) -> Volume:
        """Return the labels, uint8, at the voxel centres of any grid in the pose of a series.

        A voxel gets the label that has the most of it.
        """
        return _labels_on(self.truth, grid, self.motions[role])

    def brain_on(self, grid: Grid, *, role: Role = REFERENCE) -> Volume:
        """Return the brain, bool, at the voxel centres of any grid in the pose of a series."""
        back = undone(self.motions[role])
        found = sample(self.brain, grid, transform=back, nearest=True)
        return found.with_array(found.array > 0)

    def region_volumes(self) -> tuple[RegionVolume, ...]:
        """Return the true volumes of WT, TC and ET."""
        return region_volumes(self.truth)


def make_head(
    seed: int = 0,
    tumour: Tumour | None = DEFAULT_TUMOUR,
    sequences: Mapping[Role, Sequence] = SEQUENCES,
) -> Head:
    """Make the head of one synthetic patient; the same seed gives the same head.

    tumour: None for a healthy head. sequences: one for each series. Takes some seconds and
    about 1 GB of memory.
    """
    rest = paint(seed, tumour, sequences)
    motions = {role: motion(seed, role) for role in sequences}
    frame = derived_uid("segnode phantom", str(seed), "frame of reference")
    series = {
        role: _acquire(
            _stream(seed, f"scan {role}"),
            rest.pictures[role],
            sequence,
            planned_grid(sequence.plan, frame),
            motions[role],
        )
        for role, sequence in sequences.items()
    }
    return Head(
        seed=seed,
        tumour=tumour,
        truth=rest.truth,
        brain=rest.brain,
        series=series,
        motions=motions,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resting:
    """A head at rest, before any scanner: its signal in each sequence, and the truth.

    pictures: float32, white matter at 1, on HEAD_GRID. truth, brain: see Head.
    """

    truth: Volume
    brain: Volume
    pictures: Mapping[Role, Volume]


def paint(
    seed: int,
    tumour: Tumour | None = DEFAULT_TUMOUR,
    sequences: Mapping[Role, Sequence] = SEQUENCES,
) -> Resting:
    """Paint the head of one synthetic patient; see make_head."""
    brain = make_brain(_stream(seed, "brain"), tumour)
    truth = _truth(seed, brain, tumour)
    codes = paint_head(_stream(seed, "anatomy"), brain.mask)
    mixture = _mixture(seed, brain, truth)
    return Resting(
        truth=truth,
        brain=brain.mask,
        pictures={
            role: _picture(codes, brain, mixture, sequence) for role, sequence in sequences.items()
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Mixture:
    """What fills the voxels of the brain, one value for each voxel of its mask."""

    tumour: Mapping[Tissue, Floats]
    tumour_sum: Floats
    texture: Floats
    patches: Floats  # of the tumour


def _stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one purpose, so that a change in one place leaves the others."""
    return np.random.default_rng([seed, *name.encode()])


def _truth(seed: int, brain: Brain, tumour: Tumour | None) -> Volume:
    if tumour is None:
        return brain.mask.with_array(np.zeros(brain.mask.grid.shape, dtype=np.uint8))
    tissue = brain.mask.array.copy()
    tissue[brain.mask.array] = brain.fluid < 0.5
    white = brain.spread(brain.white)
    return grow(_stream(seed, "tumour"), tumour, brain.mask, tissue, white)


def _mixture(seed: int, brain: Brain, truth: Volume) -> _Mixture:
    rng = _stream(seed, "texture")
    mask = brain.mask.array
    tumour = {tissue: fraction[mask] for tissue, fraction in fractions(truth.array).items()}
    total = np.zeros(np.count_nonzero(mask), dtype=np.float32)
    for fraction in tumour.values():
        total += fraction
    return _Mixture(
        tumour=tumour,
        tumour_sum=total,
        texture=1.0 + np.float32(0.012) * smooth_noise(rng, brain.mask.grid, 3.0)[mask],
        patches=1.0 + np.float32(0.08) * smooth_noise(rng, brain.mask.grid, 6.0)[mask],
    )


def _picture(codes: Array, brain: Brain, mixture: _Mixture, sequence: Sequence) -> Volume:
    """Signal of the head at rest, white matter at 1, on HEAD_GRID."""
    levels = {tissue: np.float32(signal(tissue, sequence)) for tissue in Tissue}
    table = np.array([levels[tissue] for tissue in sorted(Tissue)], dtype=np.float32)
    image = softened(table[codes])
    grey = 1.0 - brain.fluid - brain.white
    healthy = (
        brain.fluid * levels[Tissue.CSF]
        + brain.white * levels[Tissue.WHITE]
        + grey * levels[Tissue.GREY]
    )
    ill = sum(part * levels[tissue] for tissue, part in mixture.tumour.items())
    image[BRAIN_WINDOW][brain.mask.array] = (
        healthy * mixture.texture * (1.0 - mixture.tumour_sum) + ill * mixture.patches
    )
    return Volume(array=image, grid=HEAD_GRID)


def _acquire(
    rng: np.random.Generator, picture: Volume, sequence: Sequence, grid: Grid, moved: Affine
) -> Volume:
    seen = observe(picture, grid, sequence.plan.thickness_mm, moved)
    values = sequence.white_level * shaded(rng, seen, 0.16)
    noisy = rician(rng, values, sequence.white_level / sequence.signal_to_noise)
    return seen.with_array(np.clip(np.rint(noisy), 0, 4095).astype(np.uint16))


def motion(seed: int, role: Role) -> Affine:
    """Movement of the patient since T1C: up to 3 degrees and 3 mm along each axis."""
    if role is REFERENCE:
        return np.eye(4)
    turn, shift = _stream(seed, f"motion {role}").uniform(-3.0, 3.0, (2, 3))
    return movement((turn[0], turn[1], turn[2]), (shift[0], shift[1], shift[2]))


def _labels_on(truth: Volume, grid: Grid, moved: Affine) -> Volume:
    found = np.zeros(grid.shape, dtype=np.uint8)
    inside = np.argwhere(truth.array)
    if not len(inside):
        return Volume(array=found, grid=grid)
    low, high = inside.min(axis=0) - 1, inside.max(axis=0) + 1
    corners = truth.grid.positions_mm(
        np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
    )
    indices = grid.indices_of(corners @ moved[:3, :3].T + moved[:3, 3])
    first = np.clip(np.floor(indices.min(axis=0)), 0, grid.shape).astype(int)
    last = np.clip(np.ceil(indices.max(axis=0)) + 1, 0, grid.shape).astype(int)
    if np.any(first >= last):
        return Volume(array=found, grid=grid)
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.positions_mm(first[None, :])[0]
    shape = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
    part = Grid(shape=shape, affine=affine)
    window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    found[window] = _most(truth, part, moved)
    return Volume(array=found, grid=grid)


def _most(truth: Volume, grid: Grid, moved: Affine) -> Array:
    shares = [
        sample(
            truth.with_array((truth.array == label).astype(np.float32)),
            grid,
            transform=undone(moved),
        ).array
        for label in (1, 2, 3)
    ]
    background = 1.0 - np.sum(shares, axis=0)
    labels: Array = np.argmax([background, *shares], axis=0).astype(np.uint8)
    return labels
