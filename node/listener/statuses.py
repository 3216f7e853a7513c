"""Errors and admissions become DIMSE statuses here, once (PS3.4 table B.2-1, PS3.7 annex C)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from node.domain.errors import (
    DuplicateDiffers,
    MissingIdentifier,
    NotDicom,
    ObjectTooLarge,
    RefusedInput,
    SegnodeError,
    SiteFault,
    UnsupportedSopClass,
)
from node.store.admission import Admission

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_INSTANCE: Final = 0x0111
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

STATUS_OF_ERROR: Final[Mapping[type[SegnodeError], int]] = MappingProxyType(
    {
        NotDicom: CANNOT_UNDERSTAND,
        MissingIdentifier: DATA_SET_DOES_NOT_MATCH,
        UnsupportedSopClass: SOP_CLASS_NOT_SUPPORTED,
        DuplicateDiffers: DUPLICATE_INSTANCE,
        ObjectTooLarge: OUT_OF_RESOURCES,
        RefusedInput: CANNOT_UNDERSTAND,
        SiteFault: OUT_OF_RESOURCES,
        SegnodeError: PROCESSING_FAILURE,
    }
)
"""The nearest ancestor counts. What the site must mend asks the sender to try again later."""

STATUS_OF_ADMISSION: Final[Mapping[Admission, int]] = MappingProxyType(
    {
        Admission.STORED: SUCCESS,
        Admission.DUPLICATE: SUCCESS,
        Admission.OURS: SUCCESS,
        Admission.KEPT_ASIDE: DUPLICATE_INSTANCE,
    }
)


def status_of(error: SegnodeError) -> int:
    """Return the status that tells the sender whose fault it is."""
    return next(STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)
