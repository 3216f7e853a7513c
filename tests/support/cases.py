"""Cases of the shared glioma data as DICOM series, and answers held against their truth.

Dice of a region that is empty in both is 1, of one that is empty in one of them 0; `Overlap`
says which, so that a mean can be read with how many such cases it holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

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
from tests.support.shared import SHARED

SUFFIXES: Mapping[Role, str] = {
    Role.T1: "t1",
    Role.T2: "t2",
    Role.FLAIR: "flair",
    Role.T1C: "t1ce",
}
_TO_2022: Final = {0: 0, 1: 1, 2: 2, 4: 3}
_SINCE_2023: Final = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}  # 4: resection cavity, which is no tumour
_UNTIL_2015: Final = {0: 0, 1: 1, 2: 2, 3: 1, 4: 3}  # 3: non-enhancing core

CONVENTIONS: Final[Mapping[str, Mapping[int, int]]] = {
    "BraTS2021_": _TO_2022,
    "BraTS20_": _TO_2022,
    "Brats18_": _TO_2022,
    "MSD_BRATS_": _TO_2022,
    "BraTS-GLI-": _SINCE_2023,
    "Brats17_CBICA_ARF_1": _SINCE_2023,
    "ucsf_": _SINCE_2023,
    "brats2013_": _UNTIL_2015,
    "deepmedic_brats_2013_": _UNTIL_2015,
}
"""Labels of a data set, known by the beginning of its cases' names -> of Segnode."""

IN_FOLDERS: Final = ("data/glioma", "data/glioma-more")


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


def complete_cases() -> list[Path]:
    """Return the folders of all shared cases with four sequences and an expert's labels."""
    wanted = (*SUFFIXES.values(), "seg")
    return [
        folder
        for place in IN_FOLDERS
        for folder in sorted((SHARED / place).glob("*/"))
        if all((folder / f"{folder.name}_{suffix}.nii.gz").is_file() for suffix in wanted)
    ]


def read_truth(case_folder: Path) -> Volume:
    """Read the expert's labels of a case, in the convention of Segnode."""
    return read_labels(case_folder / f"{case_folder.name}_seg.nii.gz")


def read_labels(path: Path) -> Volume:
    """Read a label map, in the convention of Segnode.

    Raises ValueError when the convention of its data set is not known or does not fit.
    """
    known = [table for start, table in CONVENTIONS.items() if path.name.startswith(start)]
    if len(known) != 1:
        raise ValueError(f"labels of {path.name} have no known meaning")
    labels = read_nifti(path)
    meaning = np.full(256, 255, dtype=np.uint8)
    for theirs, ours in known[0].items():
        meaning[theirs] = ours
    array = meaning[labels.array.astype(np.uint8)]
    if array.max() == 255:
        raise ValueError(f"{path.name} holds labels that its data set does not have")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """One region of an answer held against the truth. Volumes on the grid of each."""

    region: Region
    found_ml: float
    true_ml: float
    dice: float

    @property
    def presence(self) -> Literal["both", "missed", "invented", "neither"]:
        """Where the region is not empty."""
        if self.true_ml > 0:
            return "both" if self.found_ml > 0 else "missed"
        return "invented" if self.found_ml > 0 else "neither"


def dice_of_seg(seg: Dataset, truth: Volume) -> dict[Region, float]:
    """Dice of WT, TC and ET of a SEG on the grid of the truth, see overlaps."""
    return {found.region: found.dice for found in overlaps_of_seg(seg, truth)}


def overlaps_of_seg(seg: Dataset, truth: Volume) -> tuple[Overlap, ...]:
    """Hold a SEG against the truth, see overlaps.

    Regions are known by their segment label, which ends in "(WT)" etc.
    """
    return overlaps(regions_of_seg(seg), truth)


def overlaps_of_labels(labels: Volume, truth: Volume) -> tuple[Overlap, ...]:
    """Hold labels in the convention of Segnode against the truth, see overlaps."""
    found = {region: labels.with_array(labels_to_region(labels, region)) for region in Region}
    return overlaps(found, truth)


def overlaps(found: Mapping[Region, Volume], truth: Volume) -> tuple[Overlap, ...]:
    """Hold bool volumes of WT, TC and ET, all on one grid, against the truth by place.

    Each voxel of the truth takes the value of the found voxel that it lies in; outside the
    found volumes nothing is segmented.
    """
    grid = found[Region.WT].grid
    masks = np.stack([found[region].array for region in REGION_LABELS], axis=-1)
    placed = _on(masks, grid, truth.grid)
    result = []
    for index, region in enumerate(REGION_LABELS):
        expert = labels_to_region(truth, region)
        result.append(
            Overlap(
                region=region,
                found_ml=int(np.count_nonzero(masks[..., index])) * grid.voxel_mm3 / 1000.0,
                true_ml=int(np.count_nonzero(expert)) * truth.grid.voxel_mm3 / 1000.0,
                dice=dice(placed[..., index], expert),
            )
        )
    return tuple(result)


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


def _on(masks: Array, their: Grid, grid: Grid) -> Array:
    """Values of masks, (slice, row, column, mask), at the voxel centres of a grid."""
    values = np.zeros((*grid.shape, masks.shape[-1]), dtype=bool)
    for index in range(grid.shape[0]):
        voxels = np.indices((1, *grid.shape[1:])).reshape(3, -1).T
        voxels[:, 0] = index
        nearest = np.rint(their.indices_of(grid.positions_mm(voxels))).astype(int)
        inside = np.all((nearest >= 0) & (nearest < their.shape), axis=1)
        values[index].reshape(-1, masks.shape[-1])[inside] = masks[tuple(nearest[inside].T)]
    return values
