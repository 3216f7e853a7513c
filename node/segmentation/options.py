"""What each engine needs, and what a bundle's manifest may set for it."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from node.domain.regions import Role

CASCADE_ROLES: Final = (Role.FLAIR, Role.T1, Role.T1C, Role.T2)
"""Channels of the CA-CNN networks, in the order of their training."""

CASCADE_WEIGHTS: Final = tuple(
    f"{region}_{view}.safetensors" for region in ("wt", "tc", "en") for view in ("ax", "sg", "cr")
)
"""Files of the CA-CNN networks: a region in axial, sagittal and coronal slices."""


class CascadeOptions(BaseModel):
    """Options of the engine `ca-cnn`. noise_seed: of the noise outside the brain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise_seed: Annotated[int, Field(ge=0)] = 0


class IntensityOptions(BaseModel):
    """Options of the engine `intensity`. z: robust z-score, the brain's median is 0.

    seed_z, seed_asymmetry_z: FLAIR, and FLAIR above the mirrored place, where a lesion begins.
    edge_share, edge_least_z: the lesion ends at this share of its own brightness.
    enhancing_z: T1C minus T1. rim_share: where less than this share of the lesion enhances or
    is enclosed by enhancement, core is also what is dark_t1_z on T1 and bright_t2_z on T2.
    smallest_lesion_ml, smallest_enhancing_ml: smaller ones do not count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed_z: float = 2.0
    seed_asymmetry_z: float = 1.0
    edge_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    edge_least_z: float = 1.2
    enhancing_z: float = 1.5
    rim_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    dark_t1_z: float = -0.5
    bright_t2_z: float = 1.0
    smallest_lesion_ml: Annotated[float, Field(ge=0)] = 0.5
    smallest_enhancing_ml: Annotated[float, Field(ge=0)] = 0.1
