"""What tests/support builds with this room is what it says: tiny studies and real cases."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage

from node.dicom.headers import project
from node.dicom.stack import describe_stack
from node.domain.errors import SeriesUnusable
from node.domain.regions import Region, Role
from node.domain.study import StackFacts
from node.imaging.assemble import assemble
from node.imaging.volume import Volume
from node.results.seg import encode_seg
from tests.support.cases import dice_of_seg, read_nifti, read_truth, write_nifti_case
from tests.support.shared import shared_path
from tests.support.studies import (
    Defect,
    TinyStudy,
    write_localizer,
    write_secondary_capture,
    write_tiny_study,
    write_unknown_class,
)
from tests.unit.results.cases import a_context

PROBLEMS = {
    Defect.MISSING_SLICE: "slice-gap",
    Defect.DOUBLED_SLICE: "doubled-slice",
    Defect.TWO_ORIENTATIONS: "mixed-orientation",
    Defect.NO_POSITION: "no-geometry",
}


def facts_of(paths: tuple[Path, ...]) -> StackFacts:
    headers = [project(pydicom.dcmread(path), "1.2.840.10008.1.2.1") for path in paths]
    return describe_stack([plane for header in headers for plane in header.planes])


def test_a_tiny_study_has_four_series_without_a_problem(tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    assert set(study.files) == set(Role)
    for paths in study.files.values():
        assert facts_of(paths).problem is None
        assert assemble(paths).array.shape == (12, 32, 32)
    assert len(study.paths) == 48


@pytest.mark.parametrize("defect", PROBLEMS)
def test_a_defect_gives_the_problem_of_its_name(defect: Defect, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, defects={Role.T2: defect})
    problem = facts_of(study.files[Role.T2]).problem
    assert problem is not None
    assert problem.code == PROBLEMS[defect]
    assert facts_of(study.files[Role.T1]).problem is None


@pytest.mark.parametrize("defect", [Defect.TRUNCATED_PIXELS, Defect.OTHER_MATRIX])
def test_a_defect_of_one_image_makes_the_series_unusable(defect: Defect, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, roles=[Role.T2], defects={Role.T2: defect})
    with pytest.raises(SeriesUnusable):
        assemble(study.files[Role.T2])


def test_a_missing_slice_is_held_back_and_completes_the_series(tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, defects={Role.T1: Defect.MISSING_SLICE})
    assert facts_of((*study.files[Role.T1], *study.held_back)).problem is None


def test_the_extra_objects_belong_to_the_study_but_are_no_volume(tmp_path: Path) -> None:
    identity = write_tiny_study(tmp_path, roles=[Role.T1]).identity
    localizer = write_localizer(tmp_path, identity)
    assert facts_of(localizer).problem is not None
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in localizer}) == 3
    for path in (
        write_secondary_capture(tmp_path / "sc", identity),
        write_unknown_class(tmp_path / "unknown", identity),
    ):
        image = pydicom.dcmread(path)
        assert image.StudyInstanceUID == identity.study_instance_uid
        assert image.SOPClassUID != MRImageStorage


def encoded(study: TinyStudy, labels: Volume) -> pydicom.Dataset:
    made = encode_seg(labels, study.files[Role.T1C], (), a_context(labels))
    return pydicom.dcmread(BytesIO(made.data))


def test_dice_of_a_segmentation_of_the_truth_is_one_and_of_a_mirrored_one_is_not(
    tmp_path: Path,
) -> None:
    study = write_tiny_study(tmp_path, roles=[Role.T1C])
    grid = replace(study.truth.grid, frame_of_reference_uid=study.identity.frame_of_reference_uid)
    truth = Volume(array=study.truth.array, grid=grid)
    assert dice_of_seg(encoded(study, truth), truth) == dict.fromkeys(Region, 1.0)
    mirrored = truth.with_array(np.ascontiguousarray(truth.array[:, :, ::-1]))
    assert dice_of_seg(encoded(study, mirrored), truth)[Region.WT] < 0.1


@pytest.mark.system
@pytest.mark.slow
def test_a_real_case_becomes_four_series_with_exact_values(tmp_path: Path) -> None:
    case = shared_path("data/glioma/BraTS2021_01476")
    written = write_nifti_case(case, tmp_path)
    truth = read_truth(case)
    assert set(np.unique(truth.array)) <= {0, 1, 2, 3}
    for role, suffix in ((Role.FLAIR, "flair"), (Role.T1C, "t1ce")):
        source = read_nifti(case / f"{case.name}_{suffix}.nii.gz")
        found = assemble(written.files[role])
        assert np.array_equal(found.array, source.array)
        assert found.grid.matches(source.grid)
        assert found.grid.matches(truth.grid)
