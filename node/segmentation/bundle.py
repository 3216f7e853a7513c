"""A bundle: a folder with a model, its manifest and its card, checked before it is used.

Only the checksums of the weights are trusted, never code of the bundle: configs/inference.json
is for MONAI's own tools and is not evaluated here. Networks are loaded at the first use.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from node.domain.errors import BundleInvalid, BundleMissing, RoleMissing, StepCrashed
from node.domain.ids import Sha256
from node.imaging.grids import SAME_SPACING
from node.imaging.volume import Volume
from node.segmentation.manifest import REQUIRED_FILES, Engine, Manifest, read_manifest
from node.segmentation.options import (
    CASCADE_ROLES,
    CASCADE_WEIGHTS,
    CascadeOptions,
    IntensityOptions,
)

if TYPE_CHECKING:
    from node.imaging.prepare import ModelInput

Progress = Callable[[float], None]

OPTIONS: Final[dict[Engine, type[BaseModel]]] = {
    "ca-cnn": CascadeOptions,
    "intensity": IntensityOptions,
}


class Segmenter(Protocol):
    """What an engine is: from channels and brain to labels in its own convention."""

    def __call__(
        self,
        channels: NDArray[np.float32],
        brain: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
        on_progress: Progress,
    ) -> NDArray[np.uint8]:
        """Return labels (slice, row, column).

        channels: (role, slice, row, column) in the manifest's order, 0 outside the brain.
        on_progress: told the finished part of the work, rising to 1.
        """
        ...


class Bundle:
    """An open, verified bundle; keep it, its networks stay loaded after the first use."""

    def __init__(self, folder: Path, manifest: Manifest, sha256: Sha256) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sha256 = sha256
        self._engine: Segmenter | None = None

    def segment(self, model_input: "ModelInput", on_progress: Progress | None = None) -> Volume:
        """Return uint8 labels on the model grid: 0, 1 NCR, 2 ED, 3 ET.

        on_progress: told the finished part of the work, from 0 to 1. Raises RoleMissing when
        model_input lacks a role of the manifest, StepCrashed when its grid is not of the
        manifest's spacing, BundleInvalid when the weights are not those of the engine.
        """
        channels = self._channels(model_input)
        if self._engine is None:
            self._engine = _build(self.folder, self.manifest)
        found = self._engine(
            channels,
            np.asarray(model_input.brain.array, dtype=bool),
            model_input.grid.spacing_mm,
            on_progress or _ignore,
        )
        return Volume(array=self._labels(found), grid=model_input.grid)

    def _channels(self, model_input: "ModelInput") -> NDArray[np.float32]:
        """Stack the roles in the manifest's order."""
        missing = [role for role in self.manifest.roles if role not in model_input.channels]
        if missing:
            raise RoleMissing(f"bundle {self.manifest.name} needs {', '.join(missing)}")
        wanted = self.manifest.preprocessing.spacing_mm
        spacing = model_input.grid.spacing_mm
        if not np.allclose(spacing, wanted, rtol=SAME_SPACING, atol=0.0):
            raise StepCrashed(f"model input of {spacing} mm, the bundle needs {wanted} mm")
        return np.stack(
            [
                np.asarray(model_input.channels[role].array, dtype=np.float32)
                for role in self.manifest.roles
            ]
        )

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
    models = folder / "models"
    stored = models.iterdir() if models.is_dir() else iter(())
    unlisted = sorted({f"models/{path.name}" for path in stored} - set(manifest.weights))
    if unlisted:
        raise BundleInvalid(f"bundle {manifest.name}: {unlisted[0]} is not in the manifest")
    _options(manifest)
    return manifest


def bundle_sha256(folder: Path) -> Sha256:
    """Return the hash over the names and bytes of all files of a bundle."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return Sha256(digest.hexdigest())


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes; raises BundleInvalid if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleInvalid(f"{path.parent.name}/{path.name} cannot be read") from error


def _options(manifest: Manifest) -> Any:
    """Parse the engine's options and check that roles and weights are those it needs."""
    try:
        options = OPTIONS[manifest.engine].model_validate(dict(manifest.engine_options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleInvalid(
            f"bundle {manifest.name}: engine_options.{place}: {first['msg']}"
        ) from error
    needed = CASCADE_WEIGHTS if manifest.engine == "ca-cnn" else ()
    if set(manifest.weights) != {f"models/{name}" for name in needed}:
        raise BundleInvalid(
            f"bundle {manifest.name}: the weights are not those of {manifest.engine}"
        )
    if set(manifest.roles) != set(CASCADE_ROLES):
        raise BundleInvalid(f"bundle {manifest.name}: {manifest.engine} needs all four roles")
    if manifest.engine == "ca-cnn" and manifest.roles != CASCADE_ROLES:
        raise BundleInvalid(
            f"bundle {manifest.name}: ca-cnn needs the roles in the order of its training"
        )
    return options


def _build(folder: Path, manifest: Manifest) -> Segmenter:
    """Import the engine, which brings torch or scipy, and hand it the weights' folder."""
    options = _options(manifest)
    if manifest.engine == "ca-cnn":
        from node.segmentation.ca_cnn import CascadeEngine  # noqa: PLC0415

        return CascadeEngine(folder / "models", options)
    from node.segmentation.intensity import IntensityEngine  # noqa: PLC0415

    return IntensityEngine(manifest.roles, options)


def _ignore(_: float) -> None:
    """Take progress that nobody asked for."""
