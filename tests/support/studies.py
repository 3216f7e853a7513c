"""Small fast studies, whole or spoiled in a chosen way, for tests of the node's flow.

A tiny head is 32 x 32 pixels of 7 mm on 12 slices of 13 mm: skin, skull, brain and a tumour,
so that stages that want a head find one. It takes milliseconds, not seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pydicom
from pydicom.uid import SecondaryCaptureImageStorage

from node.dicom.uids import derived_uid
from node.domain.regions import Role
from node.imaging.volume import Array, Grid, Volume
from node.phantom.sequences import SEQUENCES, MRPhysics, Sequence, signal
from node.phantom.series import SeriesTemplate, StudyTemplate, write_series
from node.phantom.tissues import Tissue
from tests.support.dicom_objects import MARKED_NAME

TINY_SHAPE = (12, 32, 32)
TINY_SPACING_MM = (13.0, 7.0, 7.0)
UNKNOWN_SOP_CLASS = "1.2.826.0.1.3680043.10.1338.99.1"
"""A UID that is no storage class of the standard."""

AXIAL = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
SAGITTAL = ((1, 0, 0), (0, 0, -1), (0, 1, 0))
CORONAL = ((0, 1, 0), (0, 0, -1), (1, 0, 0))


class Defect(StrEnum):
    """What is wrong with a series."""

    MISSING_SLICE = "the sixth slice was never sent"
    DOUBLED_SLICE = "the sixth slice is there twice, with two UIDs"
    TWO_ORIENTATIONS = "half of the slices are sagittal"
    NO_POSITION = "no slice says where it lies"
    TRUNCATED_PIXELS = "half of the pixels of the sixth slice are gone"
    OTHER_MATRIX = "the sixth slice has another matrix"


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyStudy:
    """A written study. held_back: the files that a defect left out, to be sent later."""

    identity: StudyTemplate
    series_instance_uids: Mapping[Role, str]
    files: Mapping[Role, tuple[Path, ...]]
    held_back: tuple[Path, ...]
    truth: Volume

    @property
    def study_instance_uid(self) -> str:
        return self.identity.study_instance_uid

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for files in self.files.values() for path in files)


def tiny_grid(axes: tuple[tuple[int, int, int], ...] = AXIAL) -> Grid:
    """Return the grid of a tiny head, centred at the origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).T * np.array(TINY_SPACING_MM)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(TINY_SHAPE) - 1) / 2.0)
    return Grid(shape=TINY_SHAPE, affine=affine)


def tiny_tissues(grid: Grid) -> Array:
    """Tissue codes of a tiny head on any grid; the tumour is on the patient's left."""
    voxels = np.indices(grid.shape).reshape(3, -1).T
    place = grid.positions_mm(voxels)
    codes = np.full(len(place), Tissue.AIR, dtype=np.uint8)
    head = np.linalg.norm(place / (80.0, 96.0, 78.0), axis=1)
    tumour = np.linalg.norm(place - (34.0, 0.0, 6.0), axis=1)
    for limit, tissue in ((1.0, Tissue.FAT), (0.93, Tissue.BONE), (0.86, Tissue.GREY)):
        codes[head < limit] = tissue
    codes[head < 0.7] = Tissue.WHITE
    brain = head < 0.86
    for radius, tissue in ((30, Tissue.OEDEMA), (20, Tissue.ENHANCING), (11, Tissue.NECROSIS)):
        codes[brain & (tumour < radius)] = tissue
    return codes.reshape(grid.shape)


def tiny_series(role: Role, grid: Grid, *, seed: int = 0) -> Volume:
    """Return what the sequence of a role shows of the tiny head, uint16, with some noise."""
    sequence = SEQUENCES[role]
    levels = np.array([signal(tissue, sequence) for tissue in sorted(Tissue)])
    values = sequence.white_level * levels[tiny_tissues(grid)]
    noise = np.random.default_rng([seed, *role.encode()]).normal(0.0, 5.0, grid.shape)
    return Volume(array=np.clip(values + noise, 0, 4095).astype(np.uint16), grid=grid)


def tiny_truth(grid: Grid) -> Volume:
    """Labels of the tiny head's tumour in the convention of Segnode."""
    codes = tiny_tissues(grid)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for label, tissue in enumerate((Tissue.NECROSIS, Tissue.OEDEMA, Tissue.ENHANCING), start=1):
        labels[codes == tissue] = label
    return Volume(array=labels, grid=grid)


def tiny_identity(salt: str = "") -> StudyTemplate:
    """Identity of a tiny study: its patient has a name that may show nowhere."""
    study = derived_uid("segnode tiny study", salt)
    return StudyTemplate(
        study_instance_uid=study,
        frame_of_reference_uid=derived_uid(study, "frame"),
        patient_id="ZZ-TINY",
        patient_name=MARKED_NAME,
        accession_number="ZZ4711",
        study_description="MR head",
    )


def write_tiny_study(
    folder: Path,
    *,
    salt: str = "",
    roles: Iterable[Role] = tuple(Role),
    defects: Mapping[Role, Defect] = MappingProxyType({}),
) -> TinyStudy:
    """Write a series for each role into S1.. of the folder, spoiled where defects say so."""
    identity = tiny_identity(salt)
    uids: dict[Role, str] = {}
    files: dict[Role, tuple[Path, ...]] = {}
    held_back: list[Path] = []
    for number, role in enumerate(roles, start=1):
        template = tiny_template(identity, number, SEQUENCES[role])
        volume = tiny_series(role, tiny_grid())
        written = write_series(volume, template, folder / f"S{number}")
        sent, held = _spoil(written, defects.get(role), template)
        uids[role] = template.series_instance_uid
        files[role] = sent
        held_back += held
    return TinyStudy(
        identity=identity,
        series_instance_uids=uids,
        files=files,
        held_back=tuple(held_back),
        truth=tiny_truth(tiny_grid()),
    )


def tiny_template(identity: StudyTemplate, number: int, sequence: Sequence) -> SeriesTemplate:
    """Return the headers of a series of a tiny study."""
    return SeriesTemplate(
        study=identity,
        series_instance_uid=derived_uid(identity.study_instance_uid, str(number)),
        series_number=number,
        series_description=sequence.description,
        physics=sequence.physics,
    )


def write_localizer(folder: Path, identity: StudyTemplate, *, number: int = 90) -> tuple[Path, ...]:
    """Write three single slices of three orientations as one series, as every study has."""
    physics = MRPhysics(
        scanning_sequence="GR",
        sequence_variant="SP\\OSP",
        mr_acquisition_type="2D",
        sequence_name="*fl2d1",
        repetition_time_ms=8.6,
        echo_time_ms=4.0,
        flip_angle_deg=20.0,
    )
    paths: list[Path] = []
    for plane, axes in enumerate((AXIAL, SAGITTAL, CORONAL)):
        whole = tiny_series(Role.T1, tiny_grid(axes))
        template = SeriesTemplate(
            study=identity,
            series_instance_uid=derived_uid(identity.study_instance_uid, str(number)),
            series_number=number,
            series_description="localizer",
            physics=physics,
            first_instance_number=plane + 1,
        )
        (path,) = write_series(_one_slice(whole, 6), template, folder / f"S{number}P{plane}")
        _edit(path, SOPInstanceUID=derived_uid(template.series_instance_uid, str(plane)))
        paths.append(path)
    return tuple(paths)


def write_secondary_capture(path: Path, identity: StudyTemplate) -> Path:
    """Write a storage object that is no image for analysis: a screenshot of the study."""
    template = tiny_template(identity, 95, SEQUENCES[Role.T1])
    template = replace(template, series_description="screenshot")
    (written,) = write_series(_one_slice(tiny_series(Role.T1, tiny_grid()), 6), template, path)
    _edit(
        written,
        SOPClassUID=str(SecondaryCaptureImageStorage),
        Modality="OT",
        ConversionType="WSD",
        without=("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"),
    )
    return written


def write_unknown_class(path: Path, identity: StudyTemplate) -> Path:
    """Write an object of a SOP class that no standard knows."""
    template = tiny_template(identity, 96, SEQUENCES[Role.T1])
    (written,) = write_series(_one_slice(tiny_series(Role.T1, tiny_grid()), 6), template, path)
    _edit(written, SOPClassUID=UNKNOWN_SOP_CLASS)
    return written


def write_no_dicom(path: Path) -> Path:
    """Write a file that is no DICOM."""
    path.write_bytes(b"Scan notes: this is no image.\n" * 40)
    return path


def _one_slice(volume: Volume, index: int) -> Volume:
    affine = np.array(volume.grid.affine)
    affine[:3, 3] = volume.grid.positions_mm(np.array([[index, 0, 0]]))[0]
    grid = Grid(shape=(1, *volume.grid.shape[1:]), affine=affine)
    return Volume(array=volume.array[index : index + 1], grid=grid)


def _spoil(
    files: tuple[Path, ...], defect: Defect | None, template: SeriesTemplate
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return what is to be sent and what is held back."""
    sixth, rest = files[5], (*files[:5], *files[6:])
    if defect is Defect.MISSING_SLICE:
        return rest, (sixth,)
    if defect is Defect.DOUBLED_SLICE:
        return (*files, _twin(sixth, template)), ()
    if defect is Defect.TWO_ORIENTATIONS:
        for path in files[6:]:
            _edit(path, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    if defect is Defect.NO_POSITION:
        for path in files:
            _edit(path, without=("ImagePositionPatient", "ImageOrientationPatient"))
    if defect is Defect.TRUNCATED_PIXELS:
        _edit(sixth, PixelData=pydicom.dcmread(sixth).PixelData[:1024])
    if defect is Defect.OTHER_MATRIX:
        _edit(sixth, Rows=16, PixelData=pydicom.dcmread(sixth).PixelData[:1024])
    return files, ()


def _twin(path: Path, template: SeriesTemplate) -> Path:
    twin = path.with_name("IM0099.dcm")
    twin.write_bytes(path.read_bytes())
    _edit(
        twin,
        SOPInstanceUID=derived_uid(template.series_instance_uid, "twin"),
        InstanceNumber=99,
    )
    return twin


def _edit(path: Path, *, without: tuple[str, ...] = (), **attributes: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    for keyword in without:
        delattr(dataset, keyword)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
