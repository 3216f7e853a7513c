"""What a bundle's manifest may say for the engines `monai` and `nnunet`.

Everything is a literal value: no text of a bundle is ever evaluated or imported.
"""

import math
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from node.domain.regions import Region

Network = Literal[
    "AttentionUnet",
    "BasicUNet",
    "DynUNet",
    "SegResNet",
    "SegResNetDS",
    "SegResNetVAE",
    "SwinUNETR",
    "UNETR",
    "UNet",
]
"""Classes of monai.networks.nets that can be built: none of them reads files or the network."""

STATE_DICTS: Final = frozenset({".safetensors", ".pt", ".pth"})
SCRIPTS: Final = frozenset({".ts", ".torchscript"})

OPPOSITE: Final = {"L": "R", "R": "L", "P": "A", "A": "P", "S": "I", "I": "S"}

DEEPEST: Final = 4
"""Levels of lists in a network's arguments."""


def _directions(axes: str) -> str:
    if len(axes) != 3 or {min(a, OPPOSITE.get(a, a)) for a in axes} != {"L", "A", "I"}:
        raise ValueError("axes must be three letters, one each of L/R, P/A and S/I")
    return axes


Axes = Annotated[str, AfterValidator(_directions)]
Size = Annotated[int, Field(gt=0, le=1024)]
Sizes = tuple[Size, Size, Size]
Axis = Annotated[int, Field(ge=0, le=2)]
Label = Annotated[int, Field(ge=0, le=255)]
Fold = Annotated[int, Field(ge=0, le=99)] | Literal["all"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SoftmaxOutput(_Options):
    """One channel for each label: the largest wins. labels: in the order of the channels."""

    kind: Literal["softmax"]
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("a label is named twice")
        return labels


class RegionsOutput(_Options):
    """One channel for each region: there where its sigmoid is above threshold.

    What lies in an inner region lies in the outer ones too. The engine's labels are then
    1 NCR, 2 ED, 3 ET.
    """

    kind: Literal["regions"]
    regions: Annotated[tuple[Region, ...], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @field_validator("regions")
    @classmethod
    def _different(cls, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        if len(set(regions)) != len(regions):
            raise ValueError("a region is named twice")
        return regions


class MonaiOptions(_Options):
    """Options of the engine `monai`.

    network, network_arguments: the class and what it is built with; spatial_dims, in_channels
    and out_channels follow from roles and output and need not be said.
    weights: a state dict; state_key: under which key of the file it lies ("" looks for it).
    axes: to where the network's three axes run, as letters (L R, P A, S I); "SPL" is
    Segnode's own (slice, row, column), NIfTI files of BraTS are "LPS".
    roi, smallest_roi: patch in voxels along the network's axes, and to what it may shrink
    where memory is short (null: not at all). An image smaller than roi is seen at once, made
    larger with zeros until divisible_by divides it; with pad_to_roi until it is as large.
    overlap: of neighbouring patches, as a share of roi. blend: how patches are weighted.
    mirror: axes along which the image is mirrored too; all combinations are averaged, and
    each of them is one opinion about the volumes.
    """

    network: Network
    network_arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str
    state_key: str = ""
    axes: Axes = "SPL"
    roi: Sizes
    smallest_roi: Sizes | None = None
    pad_to_roi: bool = False
    divisible_by: Annotated[int, Field(gt=0, le=128)] = 1
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    blend: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[Axis, ...] = ()
    output: Annotated[SoftmaxOutput | RegionsOutput, Field(discriminator="kind")]

    @property
    def out_channels(self) -> int:
        """How many channels the network gives."""
        if isinstance(self.output, SoftmaxOutput):
            return len(self.output.labels)
        return len(self.output.regions)

    @property
    def label_values(self) -> tuple[int, ...]:
        """Which labels the engine can give."""
        if isinstance(self.output, SoftmaxOutput):
            return self.output.labels
        return (0, 1, 2, 3)

    @field_validator("network_arguments")
    @classmethod
    def _literal(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for name, value in arguments.items():
            _check_literal(name, value, DEEPEST)
        return arguments

    @field_validator("weights")
    @classmethod
    def _state_dict(cls, weights: str) -> str:
        suffix = PurePosixPath(weights).suffix
        if suffix in SCRIPTS:
            raise ValueError("TorchScript is code, which is not run; give the state dict")
        if suffix not in STATE_DICTS:
            raise ValueError(f"weights must end with one of {', '.join(sorted(STATE_DICTS))}")
        return weights

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, wanted in (("spatial_dims", 3), ("out_channels", self.out_channels)):
            if self.network_arguments.get(name, wanted) != wanted:
                raise ValueError(f"network_arguments.{name} must be {wanted}")
        for sizes in (self.roi, self.smallest_roi or self.roi):
            if any(size % self.divisible_by for size in sizes):
                raise ValueError(f"{self.divisible_by} does not divide the patch {sizes}")
        if any(a > b for a, b in zip(self.smallest_roi or self.roi, self.roi, strict=True)):
            raise ValueError("smallest_roi is larger than roi")
        if len(set(self.mirror)) != len(self.mirror):
            raise ValueError("an axis of mirror is named twice")
        return self


class NnUNetOptions(_Options):
    """Options of the engine `nnunet`: which networks of an nnU-Net v2 folder are used, and how.

    The folder lies in models/ with nnU-Net's own names: dataset.json, plans.json and
    fold_N/checkpoint. Its plans say how it resamples and normalises; the bundle's own
    preprocessing should leave intensities as they are.
    folds: whose mean is taken; several are several opinions about the volumes.
    configuration: one of the plans. checkpoint: file of each fold. axes: to where the image's
    axes ran in training, as letters (L R, P A, S I): "SPL" for files in LPS that were read
    with SimpleITK, "SAR" for nnU-Net's NibabelIOWithReorient. tile_step: between patches, as
    a share of their size. mirror: whether mirrored inputs are averaged too, along the axes that
    the checkpoint names; null means on a GPU only, where that is cheap.
    """

    folds: Annotated[tuple[Fold, ...], Field(min_length=1)] = (0,)
    configuration: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] = "3d_fullres"
    checkpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+\.pth$")] = "checkpoint_final.pth"
    axes: Axes = "SPL"
    tile_step: Annotated[float, Field(gt=0, le=1)] = 0.5
    mirror: bool | None = None

    @field_validator("folds")
    @classmethod
    def _different(cls, folds: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(folds)) != len(folds):
            raise ValueError("a fold is named twice")
        return folds

    @property
    def files(self) -> tuple[str, ...]:
        """Which files of the bundle the engine reads."""
        checkpoints = (f"models/fold_{fold}/{self.checkpoint}" for fold in self.folds)
        return ("models/dataset.json", "models/plans.json", *checkpoints)


def _check_literal(name: str, value: object, depth: int) -> None:
    """Refuse what is not a number, a truth value, a word, null, or lists and tables of them."""
    if isinstance(value, str):
        if value.startswith(("$", "@", "%")):
            raise ValueError(f"{name}: expressions are not evaluated")
    elif isinstance(value, list | dict):
        if depth == 0:
            raise ValueError(f"{name}: too many levels of lists")
        inner = value.values() if isinstance(value, dict) else value
        for item in inner:
            _check_literal(name, item, depth - 1)
    elif not (value is None or isinstance(value, bool | int | float)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f"{name}: not a literal value")
