"""The words of the default rule: names as technologists write them, in six languages.

They were written down from experience and not taken from the table of real headers, so that the
rule is also tried on what it was not made with; the traps that everybody knows are in both.
"""

from typing import Final

import pytest

from node.rules.roles import decide
from tests.unit.rules.builders import a_series, the_default_rule

NAMES: Final = {
    "T1C": (
        "AX T1 POST GAD|POST GD AX T1|AX T1 GD|T1 AX POST CONTRAST|Ax T1 FS +C|"
        "SAG T1 POST|t1_mprage_tra_iso_km|t1_se_tra_nach KM|T1w KM tra|t1_fl2d_tra_+KM|"
        "t1_tse_cor_fs_KM|T1 SE AX GADO|Ax T1 gado FS|3D T1 EG GADO|T1 SE mdc|"
        "T1 3D dopo mdc|T1 con contraste|T1 AX CON GD|3D T1 TFE CON CIV|T1 m/kontrast|"
        "T1 med kontrast|t1_mpr_sag_K+|3D T1 K+|sT1W_3D_TFE GD|T1W_3D_TFE_C|T1_TSE_C|"
        "T1 TSE SAG +C|+C AX T1|Ax BRAVO +C|3D BRAVO Post|SPGR POST|AX SPGR GD|"
        "AXIAL FSPGR 3D POST CONTRAST|t1ce|T1CE|T1_CE_3D|T1-CE AXIAL|T1c 3D|T1 C+|"
        "C+ T1 axial|CE T1 SPACE|T1 GD-DTPA|t1 +gd|AXT1POSTGD|T1POST|T1AXPOST|"
        "sag t1 post gad|POST T1 COR|COR T1 POST FS|t1_mprage_sag_p2_iso_post|"
        "MPRAGE POST|MPRAGE_GD|mprage with contrast|T1 WITH CONTRAST|T1 enhanced|"
        "T1W CE 3D|t1_space_sag_p2_iso_KM|T1 SPACE post KM|T1 post op with gad|"
        "T1 after injection|T1 apres injection|T1 IV+|T1 contraste|T1 na contrast|"
        "T1 po kontrascie|AX T1 +|T1增强|T1 SAG DELAYED POST|STEALTH T1 POST|"
        "AX 3D T1 STEALTH +GAD|T1_mprage_tra_KM_navi|3D T1 TFE GADOVIST|T1 DOTAREM ax|"
        "Cor T1 POST|AX T1 SE POST INF|T1W_SE_GADO SENSE|ax 3d fspgr c+"
    ),
    "T1": (
        "AX T1|T1 AX PRE|PRE T1|T1 ohne KM|T1 nativ|t1_se_tra_nativ|T1 senza mdc|"
        "T1 sans gado|T1 sin contraste|T1 w/o contrast|T1 without contrast|"
        "AX T1 PRE CONTRAST|T1 PRE GD|T1 pre-contrast|T1 precontrast|T1 noncontrast|"
        "T1 NON CONTRAST|T1 uten kontrast|T1 C-|T1 K-|T1 basale|T1 unenhanced|"
        "AX T1 POST OP|T1 postop|T1 post-op|T1 posterior fossa|3D T1 preop|T1 PRE OP|"
        "sag T1 +GC|t1_sag_c4_iso|T1 FLAIR|Ax T1 FLAIR FSE|T1 TIRM tra|"
        "t1_tirm_tra_dark-fluid|3DT1|FFE_T13D|3D BRAVO|Ax BRAVO|IR FSPGR|Sag FSPGR|"
        "MP-RAGE|t1_mpr_ns_sag|T1W_IR_TSE|T1 GDC|T1 24CM FOV|T1 vol DTI|"
        "t1_mprage_sag_fmri|T1 SPIR|T1W_TSE SENSE|T1 enc|brain T1|post chemo T1|"
        "T1 post radiation|T1_se_tra_512"
    ),
    "T2": (
        "AX T2|T2 TSE|t2_tse_tra_C|T2 post contrast|AX T2 FSE FS|T2W_TSE|"
        "t2_tse_tra_restore|T2 SPACE|CUBE T2|T2 PROPELLER|t2_blade_tra|AX FRFSE T2|"
        "t2_tse_rst_tra|T2 haste|BRAIN T2 AX|AXT2FSE|T2 gado|PD/T2 dual"
    ),
    "FLAIR": (
        "FLAIR|t2_tirm_tra_dark-fluid|AX FLAIR POST|Flair enc|3D FLAIR|CUBE FLAIR|"
        "T2 FLAIR FS|t2_tirm_tra|dark fluid space|FLAIR GADO|AXFLAIR|BRAIN FLAIR"
    ),
    "none": (
        "RIGHT1|LEFT1|REST1|TEST1|SET1|SCOUT1|T12 vertebra|sag T1 spine|T1 SAG LWS|"
        "HWS t2 sag|t2_tse_sag_C1-C8|t2 sag lumbar|T2*|T2 STAR|T2_ETOILE|T2WFFE|T2W_FFE|"
        "t2 hemo|t2_fl2d_tra_hemo|AX T2 GRE|GRE T2*|t2_me2d_medic|SWI|Ax SWAN|DWI|ADC|"
        "dADC|ddADC|dDWI|sB1000|b1000|T1 map|T2 map|t1 map molli|T1 MIP|T1 gado MPR cor|"
        "MPR sag T1|t1_mprage_sag_MPR_Tra|SUB T1 POST-PRE|T1_sub|T1 subtraction|AX PD|"
        "STIR cor|t2_tirm_cor_stir|TOF|MRA|MRV|LOC|LOCALIZER|survey|3 plane loc|ASL|"
        "perf|DSC T1|DCE T1|orbit T1 FS GD|T1 pituitary gd|sella T1 cor|IAC T2|ciss 3d|"
        "FIESTA|T2 CISS|MP2RAGE INV1|mp2rage_INV2|DIR|T2 myelo|cor T1 hals|"
        "gre_field_mapping|fieldmap T1|csi|T2 knee|Screen Save|SOURCE|Dose Report"
    ),
}


@pytest.mark.parametrize(
    ("expected", "name"),
    [(role, name) for role, names in NAMES.items() for name in names.split("|")],
)
def test_a_name_alone_gives_its_role_or_none(expected: str, name: str) -> None:
    chosen = decide(the_default_rule(), [a_series(2, name)]).chosen
    assert next(iter(chosen), "none") == expected
