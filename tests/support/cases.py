"""Cases of the shared glioma data as DICOM series, and a SEG held against their truth."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
from pydicom import Dataset

from node.dicom.uids import derived_uid
from node.domain.regions import Region, Role
from node.imaging.bridges import lps_affine
from node.imaging.measure import REGION_LABELS, dice, labels_to_region
from node.imaging.volume import Array, Grid, Volume
from node.phantom.sequences import SEQUENCES
from node.phantom.series import SeriesTemplate, StudyTemplate, write_series

SUFFIXES: Mapping[Role, str] = {
    Role.T1: "t1",
    Role.T2: "t2",
    Role.FLAIR: "flair",
    Role.T1C: "t1ce",
}
BRATS_ENHANCING = 4
"""Enhancing tumour in BraTS before 2023; 3 since then and in Segnode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFiles:
    """A case written as a study; files in the order of the slices."""

    study_instance_uid: str
    series_instance_uids: Mapping[Role, str]
    files: Mapping[Role, tuple[Path, ...]]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for files in self.files.values() for path in files)


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI as (slice, row, column) = (k, j, i), in LPS; values as they are stored."""
    image: Any = nib.load(path)
    array = np.ascontiguousarray(np.asanyarray(image.dataobj).transpose(2, 1, 0))
    affine = lps_affine(image.affine)[:, [2, 1, 0, 3]]
    return Volume(array=array, grid=Grid(shape=array.shape, affine=affine))


def read_truth(case_folder: Path) -> Volume:
    """Read the expert's labels of a BraTS case, in the convention of Segnode (ET 3)."""
    labels = read_nifti(case_folder / f"{case_folder.name}_seg.nii.gz")
    array = labels.array.astype(np.uint8)
    array[array == BRATS_ENHANCING] = 3
    return labels.with_array(array)


def write_nifti_case(case_folder: Path, out_folder: Path, *, salt: str = "") -> CaseFiles:
    """Write a BraTS-like case as four series; voxel values are exact, UIDs follow name and salt.

    Series go to neutral folders S1.. with the headers of the phantom's sequences.
    """
    uid = derived_uid("segnode test case", case_folder.name, salt)
    study = StudyTemplate(
        study_instance_uid=uid,
        frame_of_reference_uid=derived_uid(uid, "frame"),
        patient_id="TEST-CASE",
        patient_name="Case^Test",
        study_description="MR head",
        image_comments="Test case of a public data set",
        manufacturer="Test",
        manufacturer_model_name="NIfTI to DICOM",
    )
    series, files = {}, {}
    for number, (role, suffix) in enumerate(SUFFIXES.items(), start=1):
        template = SeriesTemplate(
            study=study,
            series_instance_uid=derived_uid(uid, role),
            series_number=number,
            series_description=SEQUENCES[role].description,
            physics=SEQUENCES[role].physics,
        )
        volume = read_nifti(case_folder / f"{case_folder.name}_{suffix}.nii.gz")
        series[role] = template.series_instance_uid
        files[role] = write_series(volume, template, out_folder / f"S{number}")
    return CaseFiles(study_instance_uid=uid, series_instance_uids=series, files=files)


def dice_of_seg(seg: Dataset, truth: Volume) -> dict[Region, float]:
    """Dice of WT, TC and ET of a SEG on the grid of the truth, by place in the patient.

    Each voxel of the truth takes the value of the SEG's voxel that it lies in; outside the SEG
    nothing is segmented. Regions are known by their segment label, which ends in "(WT)" etc.
    """
    found = regions_of_seg(seg)
    return {
        region: dice(_on(found[region], truth.grid), labels_to_region(truth, region))
        for region in REGION_LABELS
    }


def regions_of_seg(seg: Dataset) -> dict[Region, Volume]:
    """Place the frames of a SEG in the patient: a bool volume for each region."""
    segmentation = hd.seg.Segmentation.from_dataset(seg)
    placed: Any = segmentation.get_volume(combine_segments=False)
    array = np.asarray(placed.array)
    grid = Grid(shape=array.shape[:3], affine=placed.affine)
    numbers = list(segmentation.segment_numbers)
    return {
        region: Volume(array=array[..., numbers.index(number)] > 0, grid=grid)
        for number, region in _regions(seg).items()
    }


def _regions(seg: Dataset) -> dict[int, Region]:
    found = {}
    for item in seg.SegmentSequence:
        named = re.search(r"\((WT|TC|ET)\)$", str(item.SegmentLabel))
        assert named is not None, f"segment {item.SegmentLabel} names no region"
        found[int(item.SegmentNumber)] = Region(named.group(1))
    return found


def _on(mask: Volume, grid: Grid) -> Array:
    """Values of a mask at the voxel centres of another grid, False outside."""
    values = np.zeros(grid.shape, dtype=bool)
    for index in range(grid.shape[0]):
        voxels = np.indices((1, *grid.shape[1:])).reshape(3, -1).T
        voxels[:, 0] = index
        nearest = np.rint(mask.grid.indices_of(grid.positions_mm(voxels))).astype(int)
        inside = np.all((nearest >= 0) & (nearest < mask.grid.shape), axis=1)
        values[index].flat[inside] = mask.array[tuple(nearest[inside].T)]
    return values
