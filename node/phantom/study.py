"""Write a head as a study of four DICOM series, as a scanner would have sent it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from node.dicom.uids import derived_uid
from node.domain.regions import Role
from node.phantom.head import Head
from node.phantom.sequences import SEQUENCES
from node.phantom.series import SeriesTemplate, StudyTemplate, write_series


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFiles:
    """One written series; the paths in the order of its slices."""

    series_instance_uid: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFiles:
    """A written study."""

    study_instance_uid: str
    series: Mapping[Role, SeriesFiles]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, series by series."""
        return tuple(path for files in self.series.values() for path in files.paths)


def phantom_identity(seed: int = 0, *, salt: str = "") -> StudyTemplate:
    """Identity of the study of a seed.

    salt: another one gives other UIDs, so that the same head can be sent again as a new study.
    """
    return StudyTemplate(
        study_instance_uid=derived_uid("segnode phantom", str(seed), salt, "study"),
        frame_of_reference_uid=derived_uid("segnode phantom", str(seed), salt, "frame"),
        patient_id=f"SEGNODE-PHANTOM-{seed}",
        accession_number=f"PH{seed}",
    )


def write_study(
    head: Head, folder: Path, *, salt: str = "", identity: StudyTemplate | None = None
) -> StudyFiles:
    """Write S1, S2 and so on into a folder, one for each sequence, IM0001.dcm onwards in each.

    salt: another one makes a new study of the same head. identity: patient and study instead of
    those of seed and salt. All series share one frame of reference, because the patient stayed
    on the table.
    """
    study = phantom_identity(head.seed, salt=salt) if identity is None else identity
    written = {}
    for number, (role, sequence) in enumerate(SEQUENCES.items(), start=1):
        volume = head.series[role]
        grid = replace(volume.grid, frame_of_reference_uid=study.frame_of_reference_uid)
        template = SeriesTemplate(
            study=study,
            series_instance_uid=derived_uid(study.study_instance_uid, "series", str(role)),
            series_number=number,
            series_description=sequence.description,
            physics=sequence.physics,
            slice_thickness_mm=sequence.plan.thickness_mm,
        )
        written[role] = SeriesFiles(
            series_instance_uid=template.series_instance_uid,
            paths=write_series(replace(volume, grid=grid), template, folder / f"S{number}"),
        )
    return StudyFiles(study_instance_uid=study.study_instance_uid, series=written)
