"""From the files of one MR series to one volume, classic or enhanced, slices in any order.

Positions alone say where slices lie (PS3.3 C.7.6.2.1.1); Slice Thickness and the order or
number of the files are never used. What is no single right-angled grey-scale volume is
refused with the reason.

Headers are read and judged first, and files are decoded one after the other, so that memory
holds the result and one file, and a series that is refused costs no decoding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from node.dicom.stack import describe_stack, slice_normal, slice_order
from node.domain.errors import (
    DoubledSlice,
    MultipleVolumes,
    NoGeometry,
    NoSignal,
    SeriesUnusable,
    ShearedGeometry,
    SliceGap,
    VolumeTooLarge,
)
from node.domain.header import Header, Plane
from node.domain.study import Reason
from node.imaging.instances import Instance, data_set_of, opened, read_instances
from node.imaging.marks import slices_of
from node.imaging.parts import Group, Mark, Slice, Value, in_words, split
from node.imaging.parts import distinguishing as marks_that_distinguish
from node.imaging.pixels import grey_frames
from node.imaging.volume import Affine, Array, Grid, Volume

MOST_MM: Final = 1000.0
FARTHEST_MM: Final = 1e5
"""Longest side of a volume, and farthest place of its first voxel, that a scanner can mean."""

MOST_VOXELS: Final = 200_000_000
"""More are refused before anything is decoded.

A head interpolated to 512 x 512 x 512 has 134 million, 0.5 GB as float32, and an analysis holds
several of them. 1024 x 1024 x 512 has 537 million.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One volume of a series of several.

    marks: what distinguishes it from the others, such as its echo time.
    frames: of all frames of the series, in the order of its files, those of the volume's slices.
    """

    volume: Volume
    marks: dict[Mark, Value]
    frames: Group


def assemble(paths: Sequence[Path]) -> Volume:
    """Make one volume of the files of a series.

    Returns float32 values after rescale slope and intercept of each slice, slices sorted
    along their normal (row direction x column direction), so that the axes are right-handed
    in the order (column, row, slice).

    A series of several volumes (a dual echo, magnitude with phase, a dynamic or diffusion
    series) is refused, with what distinguishes them in the reason. Choosing one would be a
    guess: of proton density and T2 in one series nobody could see later which was measured.
    Whoever knows what is wanted splits the series at the scanner, or uses `assemble_parts`.

    Raises a SeriesUnusable when the files form no volume, SpoolDamaged when one is gone.
    """
    instances = read_instances(paths)
    _check_stack(instances)
    _check_size(instances)
    planes = _planes(instances)
    (volume,) = _volumes(instances, [slice_order(planes)])
    if volume.array.min() == volume.array.max():
        raise NoSignal(f"All {len(planes)} slices hold the value {volume.array.flat[0]:g} only.")
    return volume


def assemble_parts(paths: Sequence[Path], *, minimum_slices: int = 1) -> tuple[Part, ...]:
    """Make all volumes of a series that has several, as the scanner counts them.

    For research and comparison: slices of other orientations are volumes of their own too, and a
    volume may be as short as minimum_slices. The third axis of a single slice is as long as
    Spacing Between Slices or Slice Thickness says, since there is no second position.
    Raises as `assemble` does when a part is no volume.
    """
    instances = read_instances(paths)
    _check_size(instances)
    planes, slices = _planes(instances), _slices(instances)
    groups = split(slices)
    for group in groups:
        problem = describe_stack([planes[i] for i in group], minimum_slices=minimum_slices).problem
        _refuse(problem)
    marks = marks_that_distinguish(slices, groups)
    return tuple(
        Part(
            volume=volume,
            marks={m: slices[group[0]].marks[m] for m in marks if m in slices[group[0]].marks},
            frames=group,
        )
        for volume, group in zip(_volumes(instances, groups), groups, strict=True)
    )


def _check_stack(instances: Sequence[Instance]) -> None:
    """Raise the SeriesUnusable that describes why the slices form no volume, if any."""
    problem = describe_stack(_planes(instances)).problem
    several = (DoubledSlice.code, SliceGap.code, ShearedGeometry.code)
    if problem is not None and problem.code in several:
        slices = _slices(instances)
        groups = split(slices)
        if len(groups) > 1 and (problem.code == DoubledSlice.code or _are_sound(slices, groups)):
            raise MultipleVolumes(f"The series is {in_words(slices, groups)}.")
    _refuse(problem)


def _are_sound(slices: Sequence[Slice], groups: Sequence[Group]) -> bool:
    stacks = ([slices[i].plane for i in group] for group in groups)
    return all(describe_stack(planes, minimum_slices=1).problem is None for planes in stacks)


def _refuse(problem: Reason | None) -> None:
    if problem is not None:
        kinds = {kind.code: kind for kind in SeriesUnusable.__subclasses__()}
        raise kinds.get(problem.code, SeriesUnusable)(f"The series is no volume: {problem.text}.")


def _check_size(instances: Sequence[Instance]) -> None:
    """Raise VolumeTooLarge by what the headers say."""
    slices, (rows, columns) = len(_planes(instances)), _matrix(instances)
    if slices * rows * columns > MOST_VOXELS:
        raise VolumeTooLarge(
            f"The series has {slices} slices of {rows}x{columns} pixels, in all more than "
            f"{MOST_VOXELS // 10**6} million."
        )


def check_extent(grid: Grid) -> None:
    """Raise NoGeometry for a volume of metres: what it says of its voxels has no meaning."""
    longest = float((np.array(grid.shape) * np.array(grid.spacing_mm)).max())
    if not (longest <= MOST_MM and np.abs(grid.origin_mm).max() <= FARTHEST_MM):
        raise NoGeometry(f"A volume of {longest:.0f} mm: its spacing or place has no meaning.")


def _matrix(instances: Sequence[Instance]) -> tuple[int, int]:
    """Rows and columns, which are those of every instance."""
    if not instances:
        raise NoGeometry("A series without files.")
    return (instances[0].header.rows or 0, instances[0].header.columns or 0)


def _planes(instances: Sequence[Instance]) -> list[Plane]:
    return [plane for instance in instances for plane in instance.header.planes]


def _slices(instances: Sequence[Instance]) -> tuple[Slice, ...]:
    found: list[Slice] = []
    for instance in instances:
        with opened(instance.path) as (content, meta):
            found += slices_of(instance.header, content, start=meta.offset)
    return tuple(found)


def _volumes(instances: Sequence[Instance], groups: Sequence[Group]) -> list[Volume]:
    """Put the slices of each group above each other, decoding every file once."""
    header, planes, matrix = instances[0].header, _planes(instances), _matrix(instances)
    grids = [
        Grid(
            shape=(len(group), *matrix),
            affine=_affine([planes[i] for i in group], header),
            frame_of_reference_uid=header.frame_of_reference_uid or "",
        )
        for group in groups
    ]
    for grid in grids:
        check_extent(grid)
    arrays = [np.empty(grid.shape, dtype=np.float32) for grid in grids]
    places = {
        index: array[rank]
        for array, group in zip(arrays, groups, strict=True)
        for rank, index in enumerate(group)
    }
    for index, values in enumerate(_frames(instances)):
        places[index][:] = values
    return [Volume(array=array, grid=grid) for array, grid in zip(arrays, grids, strict=True)]


def _frames(instances: Sequence[Instance]) -> Iterator[Array]:
    """Values of all frames in the order of the instances' planes."""
    for instance in instances:
        yield from grey_frames(data_set_of(instance))


def _affine(planes: Sequence[Plane], header: Header) -> Affine:
    """(4, 4) affine of sorted planes; Pixel Spacing: between rows, between columns."""
    cosines = np.mean([plane.orientation for plane in planes], axis=0)
    along_row, down_column = cosines[:3], cosines[3:]
    between_rows, between_columns = header.pixel_spacing or (0.0, 0.0)
    affine = np.eye(4)
    affine[:3, 0] = _step_mm(planes, header)
    affine[:3, 1] = down_column * between_rows
    affine[:3, 2] = along_row * between_columns
    affine[:3, 3] = planes[0].position
    return affine


def _step_mm(planes: Sequence[Plane], header: Header) -> Affine:
    """Way from one slice to the next, (3,)."""
    if len(planes) == 1:
        length = header.spacing_between_slices or header.slice_thickness or 1.0
        return np.array(slice_normal(planes)) * length
    way: Affine = np.array(planes[-1].position) - np.array(planes[0].position)
    return way / (len(planes) - 1)
