"""How the regions are named, coded and coloured in every result.

Codes: PS3.16 CID 7150 (category), CID 7199, 7159 and 7168 (types; the whole tumour with its
oedema is the lesion, the core is the neoplasm), CID 4030 (anatomic region), CID 7162 (family).
Colours: yellow, red and light blue, as BraTS shows WT, TC and ET (Menze et al., IEEE TMI 2015;
34:1993, figure 1).
"""

from dataclasses import dataclass
from typing import Final

from pydicom.sr.coding import Code

from node.domain.regions import Region

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStyle:
    """One region as a segment and as an outline.

    number: Segment Number (0062,0004). rgb: sRGB, 0 to 255, unique among the regions.
    """

    region: Region
    number: int
    label: str
    type: Code
    rgb: Colour


STYLES: Final = (
    RegionStyle(
        region=Region.WT,
        number=1,
        label="Whole tumour (WT)",
        type=Code("301766008", "SCT", "Lesion of Brain"),
        rgb=(255, 224, 32),
    ),
    RegionStyle(
        region=Region.TC,
        number=2,
        label="Tumour core (TC)",
        type=Code("108369006", "SCT", "Neoplasm"),
        rgb=(255, 56, 56),
    ),
    RegionStyle(
        region=Region.ET,
        number=3,
        label="Enhancing tumour (ET)",
        type=Code("C113842", "NCIt", "Enhancing Lesion"),
        rgb=(64, 208, 255),
    ),
)
"""From the outer region to the inner one."""

MORPHOLOGICALLY_ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN: Final = Code("12738006", "SCT", "Brain")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
MULTIPLANAR_REFORMATTING: Final = Code("113072", "DCM", "Multiplanar reformatting")
