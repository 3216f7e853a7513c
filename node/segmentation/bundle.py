"""A bundle: a folder with a model, its manifest and its card, checked before it is used.

Only the checksums of the weights are trusted, never code of the bundle: configs/inference.json
is for MONAI's own tools and is not evaluated here. Networks are loaded at the first use.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid, BundleMissing, RoleMissing, StepCrashed
from node.domain.ids import Sha256
from node.domain.quality import Finding
from node.domain.regions import Region
from node.imaging.grids import SAME_SPACING
from node.imaging.volume import Volume
from node.segmentation.effort import Effort
from node.segmentation.engines import build_engine, parse_options
from node.segmentation.found import Progress, Segmenter
from node.segmentation.manifest import METADATA, REQUIRED_FILES, Manifest, read_manifest
from node.segmentation.naming import check_channels

if TYPE_CHECKING:
    from node.imaging.prepare import ModelInput


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """What a bundle found in one study.

    labels: uint8 on the model grid: 0, 1 NCR, 2 ED, 3 ET, cleaned as the manifest says.
    opinions_ml: the volume of each region as the engine's single views see it, before any
    cleaning; empty when there is only one view. findings: what lowers the trust in them.
    """

    labels: Volume
    opinions_ml: Mapping[Region, tuple[float, ...]]
    findings: tuple[Finding, ...] = ()


class Bundle:
    """An open, verified bundle; keep it, its networks stay loaded after the first use."""

    def __init__(self, folder: Path, manifest: Manifest, sha256: Sha256) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sha256 = sha256
        self._engine: Segmenter | None = None
        self._one_at_a_time = Lock()

    def segment(
        self, model_input: "ModelInput", effort: Effort, on_progress: Progress | None = None
    ) -> Segmentation:
        """Segment one study; others wait meanwhile, so that the effort's memory is enough.

        on_progress: told the finished part of the work, from 0 to 1. Raises RoleMissing when
        model_input lacks a role of the manifest, StepCrashed when its grid is not of the
        manifest's spacing or a value is no number, BundleMissing when the engine's package is
        absent, BundleInvalid when the weights are not those of the engine or give nonsense or
        a file was changed since the bundle was opened, MemoryError (or torch's own) when the
        effort's memory is not there.
        """
        # Late, because listing the bundles shall not load scipy.
        from node.segmentation.postprocess import clean  # noqa: PLC0415

        channels = self._channels(model_input)
        brain = np.asarray(model_input.brain.array, dtype=bool)
        with self._one_at_a_time:
            if self._engine is None:
                self._engine = self._built()
            found = self._engine(
                channels, brain, model_input.grid.spacing_mm, effort, on_progress or _ignore
            )
        labels = Volume(array=self._labels(found.labels), grid=model_input.grid)
        voxel_ml = model_input.grid.voxel_mm3 / 1000.0
        return Segmentation(
            labels=clean(labels, self.manifest.postprocessing),
            opinions_ml={
                region: tuple(voxels * voxel_ml for voxels in opinions)
                for region, opinions in found.opinions.items()
            },
            findings=found.findings,
        )

    def _built(self) -> Segmenter:
        """Build the engine, which reads all of its files, and look whether they are the same.

        Afterwards, because what was changed in between would bear the verified hash.
        """
        engine = build_engine(self.folder, self.manifest)
        if bundle_sha256(self.folder) != self.sha256:
            raise BundleInvalid(f"bundle {self.manifest.name} was changed after it was verified")
        return engine

    def _channels(self, model_input: "ModelInput") -> NDArray[np.float32]:
        """Stack the roles in the manifest's order."""
        missing = [role for role in self.manifest.roles if role not in model_input.channels]
        if missing:
            raise RoleMissing(f"bundle {self.manifest.name} needs {', '.join(missing)}")
        wanted = self.manifest.preprocessing.spacing_mm
        spacing = model_input.grid.spacing_mm
        if not np.allclose(spacing, wanted, rtol=SAME_SPACING, atol=0.0):
            raise StepCrashed(f"model input of {spacing} mm, the bundle needs {wanted} mm")
        channels = [
            np.asarray(model_input.channels[role].array, dtype=np.float32)
            for role in self.manifest.roles
        ]
        for role, channel in zip(self.manifest.roles, channels, strict=True):
            if not np.isfinite(channel).all():
                raise StepCrashed(f"model input {role} holds values that are no numbers")
        return np.stack(channels)

    def _labels(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate the engine's labels to Segnode's."""
        strange = sorted({int(value) for value in np.unique(found)} - set(self.manifest.labels))
        if strange:
            raise BundleInvalid(f"{self.manifest.name}: labels {strange} are not in the manifest")
        table = np.zeros(256, dtype=np.uint8)
        for theirs, ours in self.manifest.labels.items():
            table[theirs] = ours
        return table[found]


def open_bundle(folder: Path) -> Bundle:
    """Verify a bundle and open it.

    Raises BundleMissing when the folder or the weights are not there, BundleInvalid when
    anything is incomplete, altered or not understood.
    """
    manifest = verify(folder)
    return Bundle(folder, manifest, bundle_sha256(folder))


def verify(folder: Path) -> Manifest:
    """Check layout, manifest, options and checksums of a bundle; errors as `open_bundle`."""
    manifest = check_manifest(folder)
    absent = [name for name in manifest.weights if not (folder / name).is_file()]
    if absent and len(absent) == len(manifest.weights):
        raise BundleMissing(
            f"bundle {manifest.name}: weights not installed; run `segnode models import FOLDER` "
            f"with the folder that holds them (see its docs/README.md)"
        )
    if absent:
        raise BundleInvalid(f"bundle {manifest.name}: {', '.join(sorted(absent))} absent")
    for name, digest in manifest.weights.items():
        if file_sha256(folder / name) != digest:
            raise BundleInvalid(f"bundle {manifest.name}: {name} is not what the manifest says")
    return manifest


def check_manifest(folder: Path) -> Manifest:
    """Check everything of a bundle but the weights; errors as `open_bundle`."""
    if not folder.is_dir():
        raise BundleMissing(f"there is no bundle folder {folder.name}")
    manifest = read_manifest(folder)
    for name in REQUIRED_FILES:
        if not (folder / name).is_file():
            raise BundleInvalid(f"bundle {manifest.name}: {name} absent")
    unlisted = sorted(set(_below(folder, "models")) - set(manifest.weights))
    if unlisted:
        raise BundleInvalid(f"bundle {manifest.name}: {unlisted[0]} is not in the manifest")
    parse_options(manifest)
    if manifest.engine == "monai":  # nnU-Net's names are in its own dataset.json
        source = f"bundle {manifest.name}: network_data_format"
        check_channels(_channel_names(folder), manifest.roles, source)
    return manifest


def _channel_names(folder: Path) -> tuple[str, ...]:
    """Return what a valid metadata.json calls the channels; nothing for several inputs."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # Python bounds its integers
        raise BundleInvalid(f"{folder.name}: {METADATA} cannot be read") from error
    inputs = metadata["network_data_format"]["inputs"].values()
    if len(inputs) != 1:
        return ()
    names = next(iter(inputs))["channel_def"]
    return tuple(names.get(str(place), "") for place in range(len(names)))


def bundle_sha256(folder: Path) -> Sha256:
    """Return the hash over the names and bytes of all files of a bundle."""
    digest = hashlib.sha256()
    for name in sorted(_below(folder)):
        digest.update(f"{name}\0{file_sha256(folder / name)}\n".encode())
    return Sha256(digest.hexdigest())


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes; raises BundleInvalid if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleInvalid(f"{path.parent.name}/{path.name} cannot be read") from error


def _below(folder: Path, part: str = "") -> Iterable[str]:
    """Yield the path in folder of each file below its part."""
    for path in (folder / part).rglob("*"):
        if path.is_file() or path.is_symlink():
            yield path.relative_to(folder).as_posix()


def _ignore(_: float) -> None:
    """Take progress that nobody asked for."""
