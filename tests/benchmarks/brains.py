"""Brain extractors on real heads, on a phantom, and on heads with an expert's tumour.

`python -m tests.benchmarks.brains [--pictures DIR] [--published] [NAME …]` prints two tables.
NAME: parts of the names of heads and skulls; all by default. Data of ../shared; what is absent
is left out. --published: also HD-BET 1 in the form of its authors, and with five networks.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from pydicom import dcmread
from scipy import ndimage

from node.domain.errors import SegnodeError
from node.domain.regions import Role
from node.imaging.assemble import assemble
from node.imaging.brain import BrainExtractor, cut_faces
from node.imaging.measure import dice
from node.imaging.volume import Array, Grid, Volume
from node.phantom.head import make_head
from node.segmentation.brains.choose import best_effort
from node.segmentation.brains.deepbet import DeepBet
from node.segmentation.brains.hd_bet_v1 import HdBetV1
from tests.support.cases import read_nifti
from tests.support.composed_heads import ComposedHead, compose
from tests.support.shared import SHARED

DATA: Final = SHARED / "data"
DONORS: Final = ("BraTS2021_01478", "BraTS-GLI-00002-000", "BraTS2021_01483", "BraTS2021_01477")
"""The largest tumours, which reach the surface of the brain."""

SKULLS: Final[Mapping[str, str]] = {
    "TCGA t1ce": "t1ce",
    "TCGA flair": "flair",
    "xa30 t1": "t1",
    "phantom t1ce": "t1ce",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One extraction: mask or error, and its times in seconds."""

    mask: Array | None
    error: str
    wall_s: float
    processor_s: float


def nifti(folder: str, name: str) -> Volume:
    room = next(r for r in ("glioma", "glioma-more") if (DATA / r / folder).is_dir())
    found = read_nifti(DATA / room / folder / f"{folder}_{name}.nii.gz")
    return found.with_array(found.array.astype(np.float32))


def dicom(folder: str) -> Volume:
    return assemble([p for p in (DATA / "dicom" / folder).iterdir() if p.suffix != ".json"])


def plain_stack(folder: str) -> Volume:
    """Read a series with a gap as if its slices were evenly spaced."""
    paths = [p for p in (DATA / "dicom" / folder).iterdir() if p.suffix != ".json"]
    slices = [dcmread(path) for path in paths]
    cosines = np.array(slices[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(cosines[:3], cosines[3:])
    slices.sort(key=lambda s: float(normal @ np.array(s.ImagePositionPatient, dtype=float)))
    first, last = (np.array(slices[i].ImagePositionPatient, dtype=float) for i in (0, -1))
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(slices) - 1)
    affine[:3, 1] = cosines[3:] * float(slices[0].PixelSpacing[0])
    affine[:3, 2] = cosines[:3] * float(slices[0].PixelSpacing[1])
    affine[:3, 3] = first
    array = np.stack([s.pixel_array for s in slices]).astype(np.float32)
    return Volume(array=array, grid=Grid(shape=array.shape, affine=affine))


def phantom() -> tuple[Volume, Array]:
    head = make_head(3, tumour=None)
    seen = head.series[Role.T1C]
    return seen.with_array(seen.array.astype(np.float32)), head.brain_on(seen.grid).array


def heads() -> Mapping[str, Callable[[], Volume]]:
    found: dict[str, Callable[[], Volume]] = {
        f"TCGA {name}": lambda name=name: nifti("TCGA-FG-6692-raw", name)  # type: ignore[misc]
        for name in ("t1ce", "t1", "t2", "flair")
    }
    found["pyradiomics t1ce"] = lambda: nifti("pyradiomics-brain1-raw", "t1ce")
    found["xa30 t1"] = lambda: dicom("xa30_t1_mprage_norm_enh")
    found["fnndsc t2"] = lambda: plain_stack("fnndsc_t2_ax_tse")
    found["phantom t1ce"] = lambda: phantom()[0]
    return found


def methods(*, published: bool) -> Mapping[str, BrainExtractor]:
    effort = best_effort()
    found: dict[str, BrainExtractor] = {
        "hd-bet-v1": HdBetV1(effort=effort),
        "deepbet": DeepBet(effort=effort),
    }
    if published:
        found["hd-bet-v1 as published"] = HdBetV1(effort=effort, as_published=True)
        found["hd-bet-v1, 5 networks"] = HdBetV1(effort=effort, networks=5)
    return found


def run(extractor: BrainExtractor, volume: Volume) -> Run:
    wall, processor = time.perf_counter(), time.process_time()
    mask, error = None, ""
    try:
        mask = extractor(volume).array
    except SegnodeError as refused:
        error = str(refused)
    return Run(
        mask=mask,
        error=error,
        wall_s=time.perf_counter() - wall,
        processor_s=time.process_time() - processor,
    )


def millilitres(mask: Array, grid: Grid) -> float:
    return float(np.count_nonzero(mask)) * grid.voxel_mm3 / 1000.0


def on_heads(
    wanted: list[str], extractors: Mapping[str, BrainExtractor], pictures: Path | None
) -> None:
    print("head | method | mL | wall s | processor s | remarks")
    print("---|---|---|---|---|---")
    for name, read in heads().items():
        if not any(word in name for word in wanted):
            continue
        try:
            volume = read()
        except (FileNotFoundError, StopIteration):
            print(f"{name} | absent |")
            continue
        runs = {method: run(extractor, volume) for method, extractor in extractors.items()}
        for method, one in runs.items():
            ml = "none" if one.mask is None else f"{millilitres(one.mask, volume.grid):.0f}"
            remarks = (
                one.error if one.mask is None else remarks_on(name, volume.with_array(one.mask))
            )
            print(
                f"{name} | {method} | {ml} | {one.wall_s:.1f} | {one.processor_s:.1f} | {remarks}"
            )
        masks = {method: one.mask for method, one in runs.items() if one.mask is not None}
        for (a, first), (b, second) in combinations(masks.items(), 2):
            print(f"{name} | Dice {a} : {b} | {dice(first, second):.4f}")
        if pictures is not None:
            draw(pictures / f"{name.replace(' ', '_')}.png", volume, list(masks.values()))


def remarks_on(name: str, mask: Volume) -> str:
    said = [f"cut at {side} {area:.0f} cm²" for side, area in cut_faces(mask).items()]
    if name == "pyradiomics t1ce":
        tumour = nifti("pyradiomics-brain1-raw", "tumourmask").array > 0
        said.append(f"tumour kept {(mask.array & tumour).sum() / tumour.sum():.4f}")
    if name == "phantom t1ce":
        said.append(f"Dice with the truth {dice(mask.array, phantom()[1]):.4f}")
    return ", ".join(said)


def composed(skull: str, own: BrainExtractor) -> Iterator[tuple[str, ComposedHead]]:
    """Give heads made of a skull and each donor; own finds the cavity of a real skull."""
    if skull == "phantom t1ce":
        head, cavity = phantom()
    else:
        head = heads()[skull]()
        cavity = own(head).array
    for donor in DONORS:
        brain = nifti(donor, SKULLS[skull])
        yield donor, compose(head, head.with_array(cavity), brain, nifti(donor, "seg"))


def on_tumours(
    wanted: list[str], extractors: Mapping[str, BrainExtractor], pictures: Path | None
) -> None:
    print("\nskull | donor | WT (edge) mL | method | mL | Dice | WT kept | edge kept | lost mL")
    print("---|---|---|---|---|---|---|---|---")
    for skull in SKULLS:
        if not any(word in skull for word in wanted):
            continue
        for donor, head in composed(skull, extractors["hd-bet-v1"]):
            grid = head.image.grid
            whole, edge = head.tumour.array, head.edge()
            sizes = f"{millilitres(whole, grid):.0f} ({millilitres(edge, grid):.1f})"
            masks = []
            for method, extractor in extractors.items():
                found = run(extractor, head.image).mask
                row = f"{skull} | {donor} | {sizes} | {method}"
                if found is None:
                    print(f"{row} | none found")
                    continue
                masks.append(found)
                lost = millilitres(whole & ~found, grid)
                print(
                    f"{row} | {millilitres(found, grid):.0f} | {dice(found, head.brain.array):.4f}"
                    f" | {head.kept(found):.4f} | {head.kept_at_edge(found):.4f} | {lost:.2f}",
                    flush=True,
                )
            if pictures is not None:
                path = pictures / f"{skull.replace(' ', '_')}_{donor}.png"
                draw(path, head.image, [*masks, head.tumour.array])


COLOURS: Final = ((0, 255, 255), (255, 60, 60), (255, 255, 0), (0, 255, 0), (255, 0, 255))
TILES: Final = 12
SIDE_PIXELS: Final = 220


def draw(path: Path, volume: Volume, masks: list[Array]) -> None:
    """Write slices with the outlines of the masks, for looking at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    low, high = np.percentile(volume.array, (1, 99.5))
    tiles = []
    for index in np.linspace(0, volume.grid.shape[0] - 1, TILES).astype(int):
        grey = np.clip((volume.array[index] - low) / (high - low), 0, 1) * 255
        picture = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        for mask, colour in zip(masks, COLOURS, strict=False):
            picture[mask[index] & ~ndimage.binary_erosion(mask[index])] = colour
        tile = Image.fromarray(picture).resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BOX)
        tiles.append(np.asarray(tile))
    rows = [np.hstack(tiles[i : i + TILES // 2]) for i in (0, TILES // 2)]
    Image.fromarray(np.vstack(rows)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[""])
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--only", choices=["heads", "tumours"])
    arguments = parser.parse_args()
    extractors = methods(published=arguments.published)
    if arguments.only != "tumours":
        on_heads(arguments.names, extractors, arguments.pictures)
    if arguments.only != "heads":
        on_tumours(arguments.names, extractors, arguments.pictures)


if __name__ == "__main__":
    main()
