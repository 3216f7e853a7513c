"""`segnode segment`: what a researcher tries first, with DICOM and NIfTI, good and bad."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from node.app.cli.segment import parse_inputs
from node.app.demo import SEGNODE
from node.app.inputs import read_series
from node.domain.errors import ConfigurationInvalid, MultipleVolumes, NotDicom
from node.domain.regions import Region, Role
from node.imaging.assemble import assemble
from node.imaging.nifti import read_nifti, write_nifti
from node.results.reading import read_regions
from tests.support.studies import TinyStudy, write_tiny_study

ROLES = (Role.T1, Role.T1C, Role.T2, Role.FLAIR)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SEGNODE, "segment", *words, "--brain", "deepbet", "--bundle", "intensity-glioma"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the command said and wrote."""

    study: TinyStudy
    folder: Path
    process: subprocess.CompletedProcess[str]


def folders(study: TinyStudy) -> dict[Role, Path]:
    return {role: files[0].parent for role, files in study.files.items()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    return write_tiny_study(tmp_path_factory.mktemp("tiny"), salt="segment")


@pytest.fixture(scope="module")
def answer(study: TinyStudy, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Three series as DICOM, and one as a researcher's NIfTI file."""
    folder = tmp_path_factory.mktemp("answer")
    inputs = folders(study)
    write_nifti(assemble(study.files[Role.T2]), folder / "t2.nii.gz")
    inputs[Role.T2] = folder / "t2.nii.gz"
    words = [f"{role}={path}" for role, path in inputs.items()]
    process = run(*words, "--out", str(folder / "out"))
    return Answer(study=study, folder=folder / "out", process=process)


@pytest.mark.slow
def test_labels_lie_on_the_grid_of_the_reference(answer: Answer) -> None:
    assert answer.process.returncode == 0, answer.process.stderr
    labels = read_nifti(answer.folder / "labels.nii.gz")
    reference = assemble(answer.study.files[Role.T1C])
    assert labels.grid.matches(reference.grid)
    assert {0.0, 3.0} <= set(np.unique(labels.array)) <= {0.0, 1.0, 2.0, 3.0}


@pytest.mark.slow
def test_the_seg_of_a_dicom_reference_holds_the_same_labels(answer: Answer) -> None:
    labels = read_nifti(answer.folder / "labels.nii.gz")
    seg = answer.folder / "segmentation.dcm"
    assert dcmread(seg).StudyInstanceUID == answer.study.study_instance_uid
    found = read_regions(seg)[Region.ET]
    assert np.count_nonzero(found.array) == np.count_nonzero(labels.array == 3)


@pytest.mark.slow
def test_the_report_names_steps_volumes_and_trust(answer: Answer) -> None:
    report = json.loads((answer.folder / "report.json").read_text())
    assert [step["step"] for step in report["steps"]] == [
        "assemble",
        "register",
        "brain",
        "prepare",
        "infer",
        "native",
    ]
    assert report["bundle"]["name"] == "intensity-glioma"
    assert report["measurements"]["regions"]["WT"]["volume_ml"] > 0
    assert report["trust"] in {"usual", "lowered"}
    assert str(answer.folder) not in json.dumps(report)
    assert "WT" in answer.process.stdout
    assert "trust:" in answer.process.stdout


@pytest.mark.slow
def test_a_picture_comes_along(answer: Answer) -> None:
    assert (answer.folder / "overview.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["T1C"], "not of the form ROLE=PATH"),
        (["PET=x"], "not of the form ROLE=PATH"),
        (["T1C=x", "t1c=y"], "given twice"),
    ],
)
def test_words_that_are_no_series_are_named(words: list[str], said: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=said):
        parse_inputs(words)


def test_a_folder_must_hold_one_series(study: TinyStudy, tmp_path: Path) -> None:
    series = study.files[Role.T1][0].parent
    assert len(read_series(series).files) == len(study.files[Role.T1])
    with pytest.raises(MultipleVolumes, match="4 series"):
        read_series(series.parent)
    with pytest.raises(NotDicom):
        read_series(tmp_path)
    with pytest.raises(ConfigurationInvalid):
        read_series(tmp_path / "absent")


def test_stray_files_in_a_folder_are_passed_over(study: TinyStudy, tmp_path: Path) -> None:
    files = study.files[Role.T1]
    for path in files:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(files[0].read_bytes()[:300])
    assert len(read_series(tmp_path).files) == len(files)


@pytest.mark.slow
def test_an_absent_role_is_named_and_nothing_of_an_earlier_case_stays(
    study: TinyStudy, tmp_path: Path
) -> None:
    good = folders(study)
    del good[Role.FLAIR]
    (tmp_path / "out").mkdir()
    for name in ("report.json", "segmentation.dcm", "labels.nii.gz"):
        (tmp_path / "out" / name).write_text("of an earlier case")
    words = [f"{role}={path}" for role, path in good.items()]
    process = run(*words, "--out", str(tmp_path / "out"))
    assert process.returncode == 1
    assert "role-missing" in process.stderr
    assert "FLAIR" in process.stderr
    assert not list((tmp_path / "out").iterdir())
