"""Functional groups of enhanced multi-frame images, lifted to the classic attributes.

The rules then see one vocabulary (PS3.3 C.7.6.16 and C.8.13 against C.8.3). A group is taken
from the first frame, else from the shared ones; the b-value is the largest of all frames,
because the first frame of a diffusion series has none.
"""

from collections.abc import Iterator
from typing import Final

from node.dicom.attributes import Attributes, Layout, layout
from node.domain.header import Plane

SHARED: Final = "SharedFunctionalGroupsSequence"
PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"

FUNCTIONAL_GROUPS: Final[Layout] = layout(
    "",
    {
        "FrameAnatomySequence": layout("", {"AnatomicRegionSequence": layout("CodeMeaning")}),
        "FrameContentSequence": layout("TemporalPositionIndex"),
        "MRDiffusionSequence": layout("DiffusionBValue"),
        "MREchoSequence": layout("EffectiveEchoTime"),
        "MRImageFrameTypeSequence": layout("AcquisitionContrast FrameType"),
        "MRModifierSequence": layout("InversionRecovery InversionTimes"),
        "MRTimingAndRelatedParametersSequence": layout(
            "EchoTrainLength FlipAngle GradientEchoTrainLength RFEchoTrainLength RepetitionTime"
        ),
        "PixelMeasuresSequence": layout("PixelSpacing SliceThickness SpacingBetweenSlices"),
        "PlaneOrientationSequence": layout("ImageOrientationPatient"),
        "PlanePositionSequence": layout("ImagePositionPatient"),
    },
)

_TIMING: Final = "MRTimingAndRelatedParametersSequence"

_LIFTED: Final = (
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    (_TIMING, "RFEchoTrainLength", "EchoTrainLength"),
    (_TIMING, "EchoTrainLength", "EchoTrainLength"),
    (_TIMING, "FlipAngle", "FlipAngle"),
    (_TIMING, "RepetitionTime", "RepetitionTime"),
    ("MRModifierSequence", "InversionTimes", "InversionTime"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    ("PixelMeasuresSequence", "PixelSpacing", "PixelSpacing"),
    ("PixelMeasuresSequence", "SliceThickness", "SliceThickness"),
    ("PixelMeasuresSequence", "SpacingBetweenSlices", "SpacingBetweenSlices"),
)
"""Group, attribute in it, classic attribute; a later line wins where both are present."""

_ECHO_PULSE: Final = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}


def lifted(top: Attributes) -> Attributes:
    """Return the data set with its functional group values at the top; as it was if classic."""
    if SHARED not in top.items and PER_FRAME not in top.items:
        return top
    found = dict(top.values)
    for group, name, classic in _LIFTED:
        values = _group(top, 0, group).texts(name)
        if values:
            found[classic] = values
    for classic, values in _if_absent(top):
        if values and not found.get(classic):
            found[classic] = values
    largest = _largest_b_value(top)
    if largest is not None:
        found["DiffusionBValue"] = (str(largest),)
    return Attributes(found, top.items)


def planes_of(top: Attributes) -> tuple[Plane, ...]:
    """Return a plane for each frame that says where it lies; one or none if classic."""
    if SHARED not in top.items and PER_FRAME not in top.items:
        plane = _plane(top, top)
        return (plane,) if plane else ()
    frames = len(top.items.get(PER_FRAME, ()))
    placed = (
        _plane(_group(top, i, "PlanePositionSequence"), _group(top, i, "PlaneOrientationSequence"))
        for i in range(frames)
    )
    return tuple(plane for plane in placed if plane)


def _group(top: Attributes, frame: int, keyword: str) -> Attributes:
    """Return a functional group of a frame, or the shared one (PS3.3 C.7.6.16.1.1)."""
    frames = top.items.get(PER_FRAME, ())
    own = frames[frame].items.get(keyword) if frame < len(frames) else None
    return own[0] if own else top.item(SHARED).item(keyword)


def _plane(position: Attributes, orientation: Attributes) -> Plane | None:
    where = position.numbers("ImagePositionPatient")
    how = orientation.numbers("ImageOrientationPatient")
    if len(where) != 3 or len(how) != 6:
        return None
    return Plane(
        position=(where[0], where[1], where[2]),
        orientation=(how[0], how[1], how[2], how[3], how[4], how[5]),
    )


def _if_absent(top: Attributes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what enhanced objects say in other words than classic ones."""
    frame_type = _group(top, 0, "MRImageFrameTypeSequence")
    anatomy = _group(top, 0, "FrameAnatomySequence").item("AnatomicRegionSequence")
    yield "ImageType", frame_type.texts("FrameType")
    yield "AcquisitionContrast", frame_type.texts("AcquisitionContrast")
    yield "BodyPartExamined", anatomy.texts("CodeMeaning")
    yield "ScanningSequence", _scanning_sequence(top)
    if top.text("SpectrallySelectedSuppression") == "FAT":
        yield "ScanOptions", ("FS",)


def _scanning_sequence(top: Attributes) -> tuple[str, ...]:
    modifier = _group(top, 0, "MRModifierSequence")
    found = list(_ECHO_PULSE.get(top.text("EchoPulseSequence"), ()))
    if modifier.text("InversionRecovery") == "YES":
        found.append("IR")
    if top.text("EchoPlanarPulseSequence") == "YES":
        found.append("EP")
    return tuple(found)


def _largest_b_value(top: Attributes) -> float | None:
    frames = (*top.items.get(PER_FRAME, ()), top.item(SHARED))
    values = (frame.item("MRDiffusionSequence").number("DiffusionBValue") for frame in frames)
    return max((value for value in values if value is not None), default=None)
