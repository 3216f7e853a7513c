"""Read a segmentation back as regions: ours from an archive, or one that came home."""

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np

from node.domain.regions import Region
from node.imaging.volume import Grid, Volume
from node.results.codes import STYLES
from node.results.source import tolerant


def read_regions(path: Path) -> Mapping[Region, Volume]:
    """Return the regions of one of our segmentations, bool, on the slices that it has frames of."""
    with tolerant():
        segmentation = hd.seg.segread(path)
        return {style.region: _region(segmentation, style.number) for style in STYLES}


def _region(segmentation: hd.seg.Segmentation, number: int) -> Volume:
    found = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
    array = np.asarray(found.array[..., 0], dtype=bool)
    frame = str(segmentation.FrameOfReferenceUID)
    grid = Grid(shape=array.shape, affine=found.affine, frame_of_reference_uid=frame)
    return Volume(array=array, grid=grid)


def spread_on(region: Volume, grid: Grid) -> Volume:
    """Return a region on a larger grid whose voxels it shares, bool; False where it has none."""
    filled = np.argwhere(region.array)
    target = np.zeros(grid.shape, dtype=bool)
    places = np.rint(grid.indices_of(region.grid.positions_mm(filled))).astype(int)
    inside = ((places >= 0) & (places < grid.shape)).all(axis=1)
    target[tuple(places[inside].T)] = True
    return Volume(array=target, grid=grid)
