"""A small study with nested regions at a known place, as files and as volumes."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from node.domain.ids import AnalysisId, BundleName, Sha256
from node.imaging.measure import region_volumes
from node.imaging.volume import Affine, Grid, Volume
from node.results.context import EncodedObject, ResultContext
from tests.support.mr_series import SAGITTAL, a_grid, write_mr_series

WHEN = datetime(2026, 1, 2, 12, 30, 15, tzinfo=UTC)
SMALL = a_grid((14, 18, 16), axes=SAGITTAL, spacing_mm=(1.2, 1.0, 1.0))
ON_THE_LEFT = (0.7, 0.4, 0.6)
"""Part of the way along slice, row and column."""


@dataclass(frozen=True)
class Case:
    labels: Volume
    reference: Volume
    files: tuple[Path, ...]
    context: ResultContext


def a_context(labels: Volume) -> ResultContext:
    return ResultContext(
        analysis_id=AnalysisId("0123456789abcdef0123456789abcdef"),
        bundle_name=BundleName("intensity-glioma"),
        bundle_version="1.0.0",
        bundle_sha256=Sha256("ab" * 32),
        software_version="0.1.0",
        algorithm_description="Intensity model of four sequences",
        research_text="Research use only. Review by a radiologist is required.",
        volumes=region_volumes(labels),
        created_at=WHEN,
    )


def nested_labels(grid: Grid, part: tuple[float, float, float] = ON_THE_LEFT) -> Volume:
    """Label an oedema with a ring of enhancement around a core."""
    centre = grid.positions_mm((np.array([grid.shape]) - 1) * np.array([part]))
    places = grid.positions_mm(np.argwhere(np.ones(grid.shape)))
    away = np.linalg.norm(places - centre, axis=1).reshape(grid.shape)
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[away < 4.2] = 2
    array[away < 2.8] = 3
    array[away < 1.3] = 1
    return Volume(array=array, grid=grid)


def a_case(
    folder: Path, grid: Grid = SMALL, labels: Volume | None = None, **changes: object
) -> Case:
    """Write a series whose grey values rise along each axis, with labels upon it."""
    labels = labels or nested_labels(grid)
    ramp = np.tensordot((1.0, 3.0, 7.0), np.indices(grid.shape), axes=1).astype(np.float32)
    reference = Volume(array=ramp + 50, grid=grid)
    files = write_mr_series(folder, reference, seed=4, **changes)
    return Case(labels=labels, reference=reference, files=tuple(files), context=a_context(labels))


def parsed(made: EncodedObject) -> Dataset:
    return dcmread(BytesIO(made.data))


def tampered(made: EncodedObject, dataset: Dataset) -> EncodedObject:
    """Write a changed data set into the envelope of the object."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return replace(made, data=buffer.getvalue())


def pixel_position(dataset: Dataset, row: float, column: float) -> Affine:
    """Place a pixel of a single-frame image by its own attributes (PS3.3 C.7.6.2.1.1)."""
    cosines = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3)
    between_rows, between_columns = (float(mm) for mm in dataset.PixelSpacing)
    position: Affine = (
        np.array(dataset.ImagePositionPatient, dtype=float)
        + cosines[1] * between_rows * row
        + cosines[0] * between_columns * column
    )
    return position
