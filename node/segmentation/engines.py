"""The engines by their names: what each needs of a manifest, and how it is built.

Nothing heavy is loaded here before an engine is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from node.domain.errors import BundleInvalid
from node.segmentation.found import Segmenter
from node.segmentation.manifest import Engine, Manifest
from node.segmentation.network_options import MonaiOptions, NnUNetOptions
from node.segmentation.options import (
    CASCADE_ROLES,
    CASCADE_WEIGHTS,
    CascadeOptions,
    IntensityOptions,
)

CASCADE_SPACING_MM: Final = (1.0, 1.0, 1.0)
"""Of the images that the CA-CNN was trained with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """One engine. options: the model of its engine_options.

    objection: why a manifest with these options cannot be, or "". build: makes it for a
    bundle folder; raises BundleMissing when a package is absent, BundleInvalid when the
    weights are not those of the options.
    """

    options: type[BaseModel]
    objection: Callable[[Manifest, Any], str]
    build: Callable[[Path, Manifest, Any], Segmenter]


def parse_options(manifest: Manifest) -> Any:
    """Return the engine's options; raises BundleInvalid when the manifest does not suit it."""
    kind = ENGINES[manifest.engine]
    try:
        options = kind.options.model_validate(dict(manifest.engine_options))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in ("engine_options", *first["loc"]))
        raise BundleInvalid(f"bundle {manifest.name}: {place}: {first['msg']}") from error
    objection = kind.objection(manifest, options)
    if objection:
        raise BundleInvalid(f"bundle {manifest.name}: {objection}")
    return options


def build_engine(folder: Path, manifest: Manifest) -> Segmenter:
    """Import the engine, which may bring torch or scipy, and give it the bundle's files."""
    return ENGINES[manifest.engine].build(folder, manifest, parse_options(manifest))


def _needs_files(manifest: Manifest, names: frozenset[str]) -> str:
    if set(manifest.weights) != names:
        return f"the weights are not those of {manifest.engine}"
    return ""


def _normalises_itself(manifest: Manifest) -> str:
    normalisation = manifest.preprocessing.normalisation
    if normalisation != "none":
        return f'{manifest.engine} normalises by itself: normalisation must be "none"'
    return ""


def _intensity_objection(manifest: Manifest, _: IntensityOptions) -> str:
    if set(manifest.roles) != set(CASCADE_ROLES):
        return "intensity needs all four roles"
    if objection := _normalises_itself(manifest):
        return objection
    return _needs_files(manifest, frozenset())


def _cascade_objection(manifest: Manifest, _: CascadeOptions) -> str:
    if set(manifest.roles) != set(CASCADE_ROLES):
        return "ca-cnn needs all four roles"
    if manifest.roles != CASCADE_ROLES:
        return "ca-cnn needs the roles in the order of its training"
    if objection := _normalises_itself(manifest):
        return objection
    if manifest.preprocessing.brain != "mask":
        return 'ca-cnn was trained on brains without skull: brain must be "mask"'
    if manifest.preprocessing.spacing_mm != CASCADE_SPACING_MM:
        return "ca-cnn was trained on voxels of 1 mm: spacing_mm must be [1, 1, 1]"
    return _needs_files(manifest, frozenset(f"models/{name}" for name in CASCADE_WEIGHTS))


def _monai_objection(manifest: Manifest, options: MonaiOptions) -> str:
    channels = options.network_arguments.get("in_channels")
    if channels is not None and channels != len(manifest.roles):
        return f"a network of {channels} channels for {len(manifest.roles)} roles"
    unknown = sorted(set(options.label_values) - set(manifest.labels))
    if unknown:
        return f"labels {unknown} of engine_options.output are not in the manifest"
    return _needs_files(manifest, frozenset({options.weights}))


def _nnunet_objection(manifest: Manifest, options: NnUNetOptions) -> str:
    return _normalises_itself(manifest) or _needs_files(manifest, frozenset(options.files))


def _build_intensity(_: Path, manifest: Manifest, options: IntensityOptions) -> Segmenter:
    from node.segmentation.intensity import IntensityEngine  # noqa: PLC0415

    return IntensityEngine(manifest.roles, options)


def _build_cascade(folder: Path, _: Manifest, options: CascadeOptions) -> Segmenter:
    from node.segmentation.ca_cnn import CascadeEngine  # noqa: PLC0415

    return CascadeEngine(folder / "models", options)


def _build_monai(folder: Path, manifest: Manifest, options: MonaiOptions) -> Segmenter:
    from node.segmentation.monai_engine import MonaiEngine  # noqa: PLC0415

    weights = folder / options.weights
    return MonaiEngine(weights, len(manifest.roles), manifest.labels, options)


def _build_nnunet(folder: Path, manifest: Manifest, options: NnUNetOptions) -> Segmenter:
    from node.segmentation.nnunet_engine import NnUNetEngine  # noqa: PLC0415

    return NnUNetEngine(folder / "models", manifest.roles, manifest.labels, options)


ENGINES: Final[Mapping[Engine, EngineKind]] = {
    "intensity": EngineKind(
        options=IntensityOptions, objection=_intensity_objection, build=_build_intensity
    ),
    "ca-cnn": EngineKind(
        options=CascadeOptions, objection=_cascade_objection, build=_build_cascade
    ),
    "monai": EngineKind(options=MonaiOptions, objection=_monai_objection, build=_build_monai),
    "nnunet": EngineKind(options=NnUNetOptions, objection=_nnunet_objection, build=_build_nnunet),
}
