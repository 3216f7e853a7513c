"""The assembler against dcm2niix on real series: `python -m tests.benchmarks.dcm2niix [--run]`.

A row for every volume that dcm2niix makes of a folder of ../shared/data/dicom: whether the stored
values are identical (sha256 of the array in canonical RAS), how far apart the corners of the
volume lie, and what the node does with the series. The node refuses more than it can read, so
values are compared through `assemble_parts` and, of what that refuses too, slice by slice or
tile by tile. What dcm2niix made comes from each folder's reference.json, or with --run from
the dcm2niix that is installed here.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from pydicom import Dataset, dcmread

from node.dicom.headers import project
from node.dicom.stack import slice_order
from node.domain.errors import SeriesUnusable, SliceGap, TiledImages
from node.imaging.assemble import assemble, assemble_parts
from node.imaging.bridges import ras_affine
from node.imaging.pixels import stored_frames
from node.imaging.volume import Affine, Array

ROOT: Final = Path(__file__).parents[2]
DEFAULT_FOLDER: Final = ROOT.parent / "shared" / "data" / "dicom"
RESAMPLED: Final = "_Eq_"
"""In the name of a volume that dcm2niix resampled because slices are missing: not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A volume, or several of one shape, in canonical RAS. affine: (4, 4), mm."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    affine: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One volume of dcm2niix. identical: None where nothing is compared.

    apart_mm: largest distance of the two volumes' corners; None where ours has no geometry.
    node: "a volume", or the code and reason of its refusal.
    """

    folder: str
    made: str
    shape: tuple[int, ...]
    identical: bool | None
    apart_mm: float | None
    node: str

    @property
    def code(self) -> str:
        """The code of the refusal, or "a volume"."""
        return self.node.split(":", maxsplit=1)[0]


def compare(folder: Path, *, rerun: bool = False) -> list[Row]:
    """Compare every volume that dcm2niix makes of a folder with ours of the same values."""
    content = json.loads((folder / "reference.json").read_text())["pypi"]
    paths = sorted(folder.glob("*.dcm"))
    if "files" in content:  # copies of one image, each converted by itself
        sources = [([folder / name], made["outputs"]) for name, made in content["files"].items()]
    else:
        sources = [(paths, content["outputs"])]
    rows: list[Row] = []
    for files, outputs in sources:
        made = _run(files) if rerun else list(_referenced(outputs))
        rows += _rows(folder.name, files, made)
    return rows


def _rows(folder: str, paths: Sequence[Path], made: Sequence[Made]) -> Iterator[Row]:
    ours = [volume for files in _series(paths) for volume in _ours(files)]
    verdict = _verdict(paths)
    for theirs in made:
        same = [one for one in ours if one.sha256 == theirs.sha256]
        alike = [one for one in ours if one.shape == theirs.shape]
        yield _row(folder, theirs, next(iter(same + alike), None), verdict)


def _row(folder: str, theirs: Made, found: Made | None, node: str) -> Row:
    placed = found is not None and bool(np.isfinite(found.affine).all())
    return Row(
        folder=folder,
        made=theirs.name,
        shape=theirs.shape,
        identical=None if found is None else found.sha256 == theirs.sha256,
        apart_mm=_apart_mm(theirs, found.affine) if found is not None and placed else None,
        node=node,
    )


def _apart_mm(theirs: Made, affine: Affine) -> float:
    corners = np.array([*product(*((0, n - 1) for n in theirs.shape[:3]))])
    moved = np.c_[corners, np.ones(8)] @ (theirs.affine - affine).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())


def _verdict(paths: Sequence[Path]) -> str:
    try:
        assemble(paths)
    except SeriesUnusable as error:
        return f"{error.code}: {error.what}"
    return "a volume"


def _series(paths: Sequence[Path]) -> list[list[Path]]:
    """Group files as dcm2niix does: one folder has two series of one UID but two numbers."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in paths:
        dataset = dcmread(path, stop_before_pixels=True)
        found[str(dataset.SeriesInstanceUID), str(dataset.get("SeriesNumber"))].append(path)
    return list(found.values())


def _ours(paths: Sequence[Path]) -> Iterator[Made]:
    """Yield our volumes, and all those of one shape as one of four dimensions."""
    datasets = [dcmread(path) for path in paths]
    try:
        volumes = _of_parts(paths, datasets)
    except TiledImages:
        yield from _of_tiles(datasets)
        return
    except SliceGap:
        volumes = [_of_uneven_slices(datasets)]
    except SeriesUnusable:
        return
    for array, affine in volumes:
        yield _made("", array, affine)
    if len(volumes) > 1 and len({array.shape for array, _ in volumes}) == 1:
        yield _made("", np.stack([array for array, _ in volumes], axis=-1), volumes[0][1])


def _of_parts(paths: Sequence[Path], datasets: Sequence[Dataset]) -> list[tuple[Array, Affine]]:
    parts = assemble_parts(paths)
    frames = [frame for dataset in datasets for frame in stored_frames(dataset)]
    return [
        (np.stack([frames[i] for i in part.frames]).transpose(2, 1, 0), _ras(part.volume.grid))
        for part in parts
    ]


def _ras(grid: Any) -> Affine:
    affine: Affine = ras_affine(grid) @ np.eye(4)[[2, 1, 0, 3]]
    return affine


def _of_uneven_slices(datasets: Sequence[Dataset]) -> tuple[Array, Affine]:
    """Stack slices that form no volume in their order, without a place."""
    headers = [project(dataset, "") for dataset in datasets]
    order = slice_order([header.planes[0] for header in headers])
    frames = [stored_frames(dataset)[0] for dataset in datasets]
    directions = _directions(datasets[0])
    return np.stack([frames[i] for i in order]).transpose(2, 1, 0), directions


def _of_tiles(datasets: Sequence[Dataset]) -> Iterator[Made]:
    """Cut mosaics into slices, which may count along their normal or against it."""
    ordered = sorted(datasets, key=lambda dataset: int(dataset.InstanceNumber))
    images = [_cut(dataset) for dataset in ordered]
    for way in (1, -1):
        stacked = [np.stack(tiles[::way]).transpose(2, 1, 0) for tiles in images]
        for array in stacked:
            yield _made("", array, _directions(ordered[0]))
        yield _made("", np.stack(stacked, axis=-1), _directions(ordered[0]))


def _cut(dataset: Dataset) -> list[Array]:
    """Return the tiles of a mosaic, row by row, without the empty ones at its end."""
    image = stored_frames(dataset)[0]
    vframe = "VFRAME" in dataset.ImageType
    number = int(dataset[0x00651050].value if vframe else dataset[0x0019100A].value)
    across = int(np.ceil(np.sqrt(number)))
    down = int(np.ceil(number / across)) if vframe else across
    rows, columns = image.shape[0] // down, image.shape[1] // across
    tiles = image.reshape(down, rows, across, columns).swapaxes(1, 2)
    return list(tiles.reshape(-1, rows, columns)[:number])


def _directions(dataset: Dataset) -> Affine:
    """Directions of column, row and slice index in RAS; no place, which is said by NaN."""
    item = dataset
    if "ImageOrientationPatient" not in item:  # UIH keeps the slices' own headers in here
        item = dataset[0x00651051].value[0]
    cosines = np.array(item.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([*cosines, np.cross(*cosines)]).T
    affine[:2] *= -1
    affine[:3, 3] = np.nan
    return affine


def _made(name: str, array: Array, affine: Affine) -> Made:
    """Bring (i, j, k[, t]) with its RAS affine to canonical RAS and sum it up."""
    place = np.where(np.isfinite(affine), affine, 0.0)
    image = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.int16), place))
    values = np.ascontiguousarray(np.asanyarray(image.dataobj), dtype="<i2")
    turned = np.array(image.affine)
    turned[:3, 3] = np.where(np.isfinite(affine[:3, 3]), turned[:3, 3], np.nan)
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    return Made(name=name, shape=values.shape, sha256=digest, affine=turned)


def _referenced(outputs: Sequence[Mapping[str, Any]]) -> Iterator[Made]:
    for output in outputs:
        if RESAMPLED in output["name"]:
            continue
        canonical = output.get("canonical_ras") or {**output, "sha256": "in colour"}
        yield Made(
            name=output["name"],
            shape=tuple(canonical["shape"]),
            sha256=canonical["sha256"],
            affine=np.array(canonical["affine"]),
        )


def _run(paths: Sequence[Path]) -> list[Made]:
    """Convert the files by the dcm2niix that is installed beside Python."""
    with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as out:
        for path in paths:
            (Path(source) / path.name).symlink_to(path)
        command = [_program(), "-z", "n", "-b", "n", "-f", "%s_%d", "-o", out, source]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return [
            made
            for path in sorted(Path(out).glob("*.nii"))
            if RESAMPLED not in path.name
            for made in _loaded(path)
        ]


def _program() -> str:
    return shutil.which("dcm2niix", path=sysconfig.get_path("scripts")) or "dcm2niix"


def _loaded(path: Path) -> Iterator[Made]:
    """Yield the volumes of a NIfTI file, one by one."""
    image = nib.nifti1.Nifti1Image.from_filename(path)
    values = image.dataobj.get_unscaled()
    if values.dtype.fields:
        affine = nib.as_closest_canonical(image).affine
        yield Made(name=path.name, shape=values.shape, sha256="in colour", affine=affine)
    elif values.ndim == 4:
        for number in range(values.shape[3]):
            yield _made(f"{path.name} volume {number + 1}", values[..., number], image.affine)
    else:
        yield _made(path.name, values, image.affine)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--run", action="store_true", help="run dcm2niix instead of its references")
    arguments = parser.parse_args()
    if arguments.run and shutil.which(_program()) is None:
        parser.error("dcm2niix is not installed: pip install dcm2niix")
    print("| folder | volume of dcm2niix | shape | values | apart, mm | the node |")
    print("|---|---|---|---|---|---|")
    for folder in sorted(path.parent for path in arguments.folder.glob("*/reference.json")):
        for row in compare(folder, rerun=arguments.run):
            values = {True: "identical", False: "DIFFERENT", None: "not compared"}[row.identical]
            apart = "" if row.apart_mm is None else f"{row.apart_mm:.1e}"
            shape = "x".join(map(str, row.shape))
            print(f"| {row.folder} | {row.made} | {shape} | {values} | {apart} | {row.node} |")


if __name__ == "__main__":
    main()
