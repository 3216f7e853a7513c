"""What `segnode segment` is given for a role: a folder or file of DICOM, or a NIfTI file."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.domain.errors import ConfigurationInvalid, MultipleVolumes, NotDicom, SegnodeError
from node.imaging.assemble import assemble
from node.imaging.instances import header_of
from node.imaging.nifti import read_nifti
from node.imaging.volume import Volume

NIFTI: Final = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One series. files: of DICOM, in no order; empty for NIfTI."""

    volume: Volume
    files: tuple[Path, ...]


def read_series(path: Path) -> Series:
    """Read what a path names. Raises ConfigurationInvalid, NotDicom, or a SeriesUnusable."""
    if path.is_dir():
        files = the_one_series(path)
        return Series(volume=assemble(files), files=files)
    if not path.is_file():
        message = f"there is no file or folder {path.name}"
        raise ConfigurationInvalid(message)
    if path.name.lower().endswith(NIFTI):
        return Series(volume=read_nifti(path), files=())
    return Series(volume=assemble([path]), files=(path,))


def the_one_series(folder: Path) -> tuple[Path, ...]:
    """Return the DICOM images below a folder, which must be of one series.

    Other files are passed over. Raises NotDicom when there is no image, MultipleVolumes.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    numbers: dict[str, int | None] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        try:
            header = header_of(path)
        except SegnodeError:
            continue
        if header.rows:
            found[header.series_instance_uid].append(path)
            numbers[header.series_instance_uid] = header.series_number
    if not found:
        raise NotDicom(f"{folder.name} holds no DICOM image")
    if len(found) > 1:
        counts = ", ".join(f"number {numbers[uid]} of {len(p)} images" for uid, p in found.items())
        raise MultipleVolumes(f"{folder.name} holds {len(found)} series: {counts}")
    return tuple(next(iter(found.values())))
