"""Which SOP classes are storage."""

import pytest
from pydicom import uid

from node.dicom.classes import STORAGE_CLASSES, is_storage_class


@pytest.mark.parametrize(
    "sop_class",
    [
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.SegmentationStorage,
        uid.SecondaryCaptureImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.EncapsulatedPDFStorage,
        uid.RawDataStorage,
        "1.2.840.10008.5.1.4.1.1.999.1",  # younger than the dictionary
    ],
)
def test_objects_of_storage_classes_are_stored(sop_class: str) -> None:
    assert is_storage_class(sop_class)


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.1.1",  # verification
        "1.2.840.10008.1.20.1",  # storage commitment
        "1.2.840.10008.1.3.10",  # DICOMDIR
        "1.2.840.10008.3.1.2.3.3",  # performed procedure step
        "1.2.840.10008.5.1.4.1.2.2.1",  # query
        "1.3.12.2.1107.5.9.1",  # private
        "",
    ],
)
def test_nothing_else_is_stored(sop_class: str) -> None:
    assert not is_storage_class(sop_class)


def test_the_dictionary_was_found() -> None:
    assert len(STORAGE_CLASSES) > 150
