"""The manifest of a bundle: MONAI's metadata.json, with our part under the key `segnode`.

MONAI Bundle Specification: configs/metadata.json, configs/inference.json, models/, docs/README.md
and LICENSE. Of MONAI's fields those are required that its schema requires; others may be there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from node.domain.errors import BundleInvalid
from node.domain.ids import BundleName, Sha256
from node.domain.regions import Region, Role
from node.imaging.normalise import Normalisation
from node.imaging.preprocessing import Interpolation, Preprocessing, Space
from node.segmentation.postprocess_options import Postprocessing, Spread, Uncertainty

__all__ = [
    "Engine",
    "Manifest",
    "Postprocessing",
    "Preprocessing",
    "Spread",
    "Uncertainty",
    "parse_manifest",
    "read_manifest",
]

METADATA: Final = "configs/metadata.json"
REQUIRED_FILES: Final = (METADATA, "configs/inference.json", "docs/README.md", "LICENSE")

MANIFEST_BYTES: Final = 1_000_000
"""A larger metadata.json is refused unread."""

Engine = Literal["intensity", "ca-cnn", "monai", "nnunet"]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]

BRATS_SPACING_MM: Final = (1.0, 1.0, 1.0)
"""Of the space "brats", which is one grid."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Preprocessing(_Strict):
    """Written form of node.imaging.preprocessing.Preprocessing."""

    spacing_mm: tuple[Positive, Positive, Positive]
    orientation: Literal["LPS"]
    normalisation: Normalisation
    percentiles: tuple[Percent, Percent] | None = None
    brain: Literal["mask", "keep"]
    bias_correction: bool = False
    interpolation: Interpolation = "anisotropic"
    space: Space = "native"
    crop_margin_mm: NotNegative | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.normalisation == "percentile") != (self.percentiles is not None):
            raise ValueError("percentiles belong to the normalisation percentile, and only to it")
        if self.percentiles is not None and self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("percentiles must rise")
        if self.space == "brats" and self.spacing_mm != BRATS_SPACING_MM:
            raise ValueError("the space brats has a spacing of 1 mm")
        return self


class _Postprocessing(_Strict):
    """Written form of Postprocessing."""

    fill_holes_mm3: NotNegative = 0.0
    smallest_mm3: NotNegative = 0.0
    component_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class _Spread(_Strict):
    floor: NotNegative
    gain: NotNegative


class _Uncertainty(_Strict):
    """Written form of Uncertainty."""

    method: Text
    WT: _Spread
    TC: _Spread
    ET: _Spread

    def value(self) -> Uncertainty:
        """Return it as the rest of the node knows it."""
        written = {Region.WT: self.WT, Region.TC: self.TC, Region.ET: self.ET}
        return Uncertainty(
            method=self.method,
            spreads={r: Spread(floor=s.floor, gain=s.gain) for r, s in written.items()},
        )


class _Segnode(_Strict):
    """The key `segnode`. Labels: what the engine gives -> 0, 1 NCR, 2 ED, 3 ET."""

    manifest_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    preprocessing: _Preprocessing
    postprocessing: _Postprocessing = _Postprocessing()
    uncertainty: _Uncertainty | None = None
    labels: dict[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=3)]]
    engine: Engine
    engine_options: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    licence: Text
    algorithm: Text
    intended_use: Text
    research_text: Text

    @field_validator("roles")
    @classmethod
    def _different(cls, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(roles)) != len(roles):
            raise ValueError("a role is named twice")
        return roles

    @field_validator("labels")
    @classmethod
    def _background_stays(cls, labels: dict[int, int]) -> dict[int, int]:
        if labels.get(0) != 0:
            raise ValueError("0 must mean 0, background")
        return labels

    @field_validator("weights")
    @classmethod
    def _inside_models(cls, weights: dict[str, str]) -> dict[str, str]:
        for name in weights:
            path = PurePosixPath(name)
            inside = len(path.parts) > 1 and path.parts[0] == "models" and ".." not in path.parts
            if not inside or str(path) != name:  # one name for each file
                raise ValueError(f"weights outside models/: {name}")
        return weights


class _ImageFormat(BaseModel):
    """One entry of network_data_format, as far as MONAI's schema requires it."""

    type: Text
    num_channels: int
    spatial_shape: list[int | str]
    dtype: Text
    channel_def: dict[str, str]


class _NetworkDataFormat(BaseModel):
    inputs: Annotated[dict[str, _ImageFormat], Field(min_length=1)]
    outputs: Annotated[dict[str, _ImageFormat], Field(min_length=1)]


class _Metadata(BaseModel):
    """metadata.json; MONAI allows further keys."""

    version: Text
    changelog: dict[str, str]
    monai_version: Text
    pytorch_version: Text
    numpy_version: Text
    task: Text
    description: Text
    authors: Text
    copyright: Text
    network_data_format: _NetworkDataFormat
    segnode: _Segnode


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    roles: in the order of the network's channels. labels: of the engine -> of Segnode.
    weights: path in the bundle, below models/ -> checksum. algorithm, research_text: for the
    objects made. uncertainty: None when the volumes' intervals were never measured.
    """

    name: BundleName
    version: str
    roles: tuple[Role, ...]
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    uncertainty: Uncertainty | None
    labels: Mapping[int, int]
    engine: Engine
    engine_options: Mapping[str, Any]
    weights: Mapping[str, Sha256]
    licence: str
    description: str
    algorithm: str
    intended_use: str
    research_text: str


def read_manifest(folder: Path) -> Manifest:
    """Read and check configs/metadata.json of a bundle; raises BundleInvalid."""
    path = folder / METADATA
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise BundleInvalid(f"{folder.name}: {METADATA} is too large to be a manifest")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleInvalid(f"{folder.name}: {METADATA} cannot be read") from error
    return parse_manifest(text, bundle=folder.name)


def parse_manifest(text: str, *, bundle: str) -> Manifest:
    """Parse the text of a metadata.json; raises BundleInvalid naming the first wrong field.

    bundle: what to call it in the error.
    """
    try:
        metadata = _Metadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleInvalid(f"{bundle}: {METADATA}: {place}: {first['msg']}") from error
    ours = metadata.segnode
    return Manifest(
        name=BundleName(ours.name),
        version=metadata.version,
        roles=ours.roles,
        preprocessing=Preprocessing(**ours.preprocessing.model_dump()),
        postprocessing=Postprocessing(**ours.postprocessing.model_dump()),
        uncertainty=ours.uncertainty.value() if ours.uncertainty else None,
        labels=ours.labels,
        engine=ours.engine,
        engine_options=ours.engine_options,
        weights={name: Sha256(digest) for name, digest in ours.weights.items()},
        licence=ours.licence,
        description=metadata.description,
        algorithm=ours.algorithm,
        intended_use=ours.intended_use,
        research_text=ours.research_text,
    )
