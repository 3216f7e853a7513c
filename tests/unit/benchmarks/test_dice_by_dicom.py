"""The table of Dice, and answers held against the truth by their place in the patient."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from node.domain.regions import Region
from node.imaging.volume import Volume
from tests.benchmarks.dice_by_dicom import CaseScore, report, score_case, summarise
from tests.support.cases import (
    SUFFIXES,
    CaseFiles,
    Overlap,
    complete_cases,
    overlaps_of_labels,
    read_labels,
    read_truth,
)
from tests.support.mr_series import CORONAL, a_grid
from tests.support.shared import shared_path

SHAPE = (6, 8, 10)


def an_overlap(region: Region, found_ml: float, true_ml: float, dice: float) -> Overlap:
    return Overlap(region=region, found_ml=found_ml, true_ml=true_ml, dice=dice)


def a_score(name: str, et: tuple[float, float, float]) -> CaseScore:
    wt, tc = an_overlap(Region.WT, 9, 10, 0.9), an_overlap(Region.TC, 4, 5, 0.8)
    return CaseScore(case=name, overlaps=(wt, tc, an_overlap(Region.ET, *et)), seconds=1.0)


SCORES = [
    a_score("both", (1.0, 1.0, 0.7)),
    a_score("neither", (0.0, 0.0, 1.0)),
    a_score("missed", (0.0, 1.0, 0.0)),
    a_score("invented", (1.0, 0.0, 0.0)),
]


def test_empty_regions_count_one_or_zero_and_are_told() -> None:
    found = summarise(SCORES, Region.ET)
    assert found.mean == pytest.approx(1.7 / 4)
    assert found.mean_where_present == pytest.approx(0.35)
    assert (found.neither, found.missed, found.invented) == (1, 1, 1)
    assert summarise(SCORES[1:2], Region.ET).mean_where_present is None


def test_the_report_has_a_line_for_each_case_and_the_summary() -> None:
    lines = list(report(SCORES))
    assert [line.split()[0] for line in lines[1:5]] == ["both", "neither", "missed", "invented"]
    assert lines[5].split()[-3:] == ["0.900", "0.800", "0.425"]
    assert lines[6].split()[-3:] == ["0.900", "0.800", "0.350"]
    assert [line.split()[-1] for line in lines[7:]] == ["1", "1", "1"]


def a_case(folder: Path) -> Path:
    """Write a small case as BraTS 2021 writes them: axes to L and P, enhancing tumour 4."""
    case = folder / "BraTS2021_99999"
    case.mkdir()
    random = np.random.default_rng(3)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    labels = np.zeros(SHAPE[::-1], dtype=np.uint8)
    labels[2:8, 2:6, 1:5] = 2
    labels[3:6, 3:5, 2:4] = 1
    labels[3:5, 3:5, 2:3] = 4
    for suffix in SUFFIXES.values():
        image = random.integers(1, 900, SHAPE[::-1]).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), case / f"{case.name}_{suffix}.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), case / f"{case.name}_seg.nii.gz")
    return case


def test_a_case_goes_out_as_dicom_and_its_answer_is_held_against_the_truth(
    tmp_path: Path,
) -> None:
    case = a_case(tmp_path)

    def way(files: CaseFiles) -> Volume:
        assert all(len(paths) == SHAPE[0] for paths in files.files.values())
        truth = read_truth(case)
        return truth.with_array(np.where(truth.array == 3, 1, truth.array))

    score = score_case(case, tmp_path / "work", way)
    assert [score.of(region).dice for region in Region] == [1.0, 1.0, 0.0]
    assert [score.of(region).presence for region in Region] == ["both", "both", "missed"]
    assert score.of(Region.WT).true_ml == pytest.approx(6 * 4 * 4 / 1000)


def test_an_answer_on_other_axes_is_compared_by_place(tmp_path: Path) -> None:
    truth = read_truth(a_case(tmp_path))
    centre = truth.grid.positions_mm((np.array(SHAPE) - 1) / 2)
    grid = a_grid((12, 12, 12), axes=CORONAL, centre_mm=(centre[0], centre[1], centre[2]))
    places = np.rint(truth.grid.indices_of(grid.positions_mm(np.argwhere(np.ones(grid.shape)))))
    inside = np.all((places >= 0) & (places < SHAPE), axis=1)
    values = np.zeros(len(places), dtype=np.uint8)
    values[inside] = truth.array[tuple(places[inside].astype(int).T)]
    turned = Volume(array=values.reshape(grid.shape), grid=grid)
    assert [one.dice for one in overlaps_of_labels(turned, truth)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("BraTS2021_1_seg", 4, 3),
        ("BraTS20_Training_2_seg", 4, 3),
        ("BraTS-GLI-3-000_seg", 3, 3),
        ("ucsf_1_time1_seg", 4, 0),
        ("deepmedic_brats_2013_pat1_seg", 3, 1),
        ("brats2013_pat1_seg", 4, 3),
    ],
)
def test_a_label_means_what_its_data_set_says(
    name: str, label: int, expected: int, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.nii.gz"
    array = np.array([0, 1, 2, label], dtype=np.uint8).reshape(1, 2, 2)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    assert sorted(read_labels(path).array.ravel().tolist()) == sorted([0, 1, 2, expected])


@pytest.mark.parametrize("name", ["BraTS2021_1_seg", "unheard_of_1_seg"])
def test_labels_without_a_known_meaning_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 3, dtype=np.uint8), np.eye(4)), path)
    with pytest.raises(ValueError, match=name):
        read_labels(path)


@pytest.mark.system
def test_the_shared_cases_with_four_sequences_are_eleven() -> None:
    shared_path("data/glioma-more")
    assert len(complete_cases()) == 11
