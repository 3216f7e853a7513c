"""From the files of one MR series to one volume, classic or enhanced, slices in any order.

Positions alone say where slices lie (PS3.3 C.7.6.2.1.1); Slice Thickness and the order or
number of the files are never used. What is no single right-angled grey-scale volume is
refused with the reason.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from node.dicom.headers import project
from node.dicom.stack import describe_stack, slice_order
from node.domain.errors import (
    MixedGeometry,
    NoGeometry,
    SeriesUnusable,
    SpoolDamaged,
    UndecodablePixels,
)
from node.domain.header import Header, Plane
from node.imaging.pixels import stored_frames
from node.imaging.volume import Affine, Array, Grid, Volume

SPACING_RATIO = 1e-4
"""Largest relative difference of Pixel Spacing within one volume."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instance:
    """One file of a series: its header and its data set."""

    header: Header
    dataset: Dataset


def assemble(paths: Sequence[Path]) -> Volume:
    """Make one volume of the files of a series.

    Returns float32 values after rescale slope and intercept of each slice, slices sorted
    along their normal (row direction x column direction), so that the axes are right-handed
    in the order (column, row, slice).
    Raises a SeriesUnusable when the files form no volume, SpoolDamaged when one is gone.
    """
    instances = read_instances(paths)
    planes = [plane for instance in instances for plane in instance.header.planes]
    check_stack(planes)
    return stack(instances)


def read_instances(paths: Sequence[Path]) -> tuple[Instance, ...]:
    """Read files and check that they agree in matrix, spacing and frame of reference.

    Raises NoGeometry, MixedGeometry, UndecodablePixels, MissingIdentifier, SpoolDamaged.
    """
    instances = tuple(_read(path) for path in paths)
    for instance in instances:
        _check_geometry(instance.header, instances[0].header)
    return instances


def check_stack(planes: Sequence[Plane]) -> None:
    """Raise the SeriesUnusable that describes why the planes form no volume, if any."""
    problem = describe_stack(planes).problem
    if problem is None:
        return
    kinds = {kind.code: kind for kind in SeriesUnusable.__subclasses__()}
    raise kinds.get(problem.code, SeriesUnusable)(f"The series is no volume: {problem.text}.")


def stack(instances: Sequence[Instance]) -> Volume:
    """Put the slices of checked instances above each other."""
    planes = [plane for instance in instances for plane in instance.header.planes]
    order = slice_order(planes)
    place = {index: rank for rank, index in enumerate(order)}
    header = instances[0].header
    array = np.empty((len(planes), header.rows or 0, header.columns or 0), dtype=np.float32)
    for index, values in enumerate(_frames(instances)):
        array[place[index]] = values
    grid = Grid(
        shape=(array.shape[0], array.shape[1], array.shape[2]),
        affine=_affine([planes[i] for i in order], header.pixel_spacing or (0.0, 0.0)),
        frame_of_reference_uid=header.frame_of_reference_uid or "",
    )
    return Volume(array=array, grid=grid)


def _read(path: Path) -> Instance:
    try:
        with warnings.catch_warnings():
            # Every second scanner writes values that are longer than they may be.
            warnings.simplefilter("ignore")
            dataset = dcmread(path)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            return Instance(header=project(dataset, syntax), dataset=dataset)
    except OSError as error:
        raise SpoolDamaged("A file of the series cannot be read from the spool.") from error
    except InvalidDicomError as error:
        raise UndecodablePixels("A file of the series is not in the DICOM format.") from error


def _check_geometry(header: Header, first: Header) -> None:
    if not header.rows or not header.columns or not header.pixel_spacing:
        raise NoGeometry("Rows, Columns or Pixel Spacing is absent.")
    if min(header.pixel_spacing) <= 0.0:
        raise NoGeometry("Pixel Spacing is not positive.")
    if len(header.planes) != header.number_of_frames:
        raise NoGeometry(
            f"{len(header.planes)} of {header.number_of_frames} frames say where they lie."
        )
    if (header.rows, header.columns) != (first.rows, first.columns):
        raise MixedGeometry(
            f"Slices of {first.rows}x{first.columns} and of {header.rows}x{header.columns} pixels."
        )
    if not np.allclose(
        header.pixel_spacing, first.pixel_spacing or (0.0, 0.0), rtol=SPACING_RATIO, atol=0.0
    ):
        raise MixedGeometry("Slices of different Pixel Spacing.")
    if header.frame_of_reference_uid != first.frame_of_reference_uid:
        raise MixedGeometry("Slices of different Frame of Reference UID.")


def _frames(instances: Sequence[Instance]) -> Iterator[Array]:
    """Values of all frames in the order of the instances' planes."""
    for instance in instances:
        yield from stored_frames(instance.dataset)


def _affine(planes: Sequence[Plane], pixel_spacing: tuple[float, float]) -> Affine:
    """(4, 4) affine of sorted planes; pixel_spacing: between rows, between columns."""
    cosines = np.mean([plane.orientation for plane in planes], axis=0)
    along_row, down_column = cosines[:3], cosines[3:]
    first, last = np.array(planes[0].position), np.array(planes[-1].position)
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / max(len(planes) - 1, 1)
    affine[:3, 1] = down_column * pixel_spacing[0]
    affine[:3, 2] = along_row * pixel_spacing[1]
    affine[:3, 3] = first
    return affine
