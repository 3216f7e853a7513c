"""What Segnode wrote is recognised by its equipment."""

import pytest

from node.dicom.headers import read_header
from node.dicom.ours import MANUFACTURER, is_ours
from tests.support.dicom_objects import EXPLICIT, encode, mr_dataset


@pytest.mark.parametrize(
    ("manufacturer", "software", "ours"),
    [
        (MANUFACTURER, "segnode 0.1.0", True),
        (MANUFACTURER, "", True),
        ("SEGNODE", "", True),
        ("ACME", "Segnode 0.1.0", True),
        ("SIEMENS", "syngo MR B17", False),
        ("", "", False),
        ("Segnodes & Sons", "", False),
    ],
)
def test_equipment_tells_whether_an_object_is_ours(
    manufacturer: str, software: str, ours: bool
) -> None:
    made = mr_dataset(Manufacturer=manufacturer, SoftwareVersions=software)
    assert is_ours(read_header(encode(made), EXPLICIT)) is ours
