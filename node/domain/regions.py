"""Roles of series and regions of a glioma, by the terms of the field."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a series is for a bundle."""

    T1 = "T1"
    T1C = "T1C"
    T2 = "T2"
    FLAIR = "FLAIR"


class Region(StrEnum):
    """Nested regions of a glioma: WT contains TC contains ET (BraTS)."""

    WT = "WT"
    TC = "TC"
    ET = "ET"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionVolume:
    """Volume of one region, counted on the native grid of the reference series."""

    region: Region
    voxels: int
    voxel_mm3: float

    @property
    def millilitres(self) -> float:
        """Volume in mL."""
        return self.voxels * self.voxel_mm3 / 1000.0
