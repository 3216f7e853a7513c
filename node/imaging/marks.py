"""What each slice of a classic or enhanced object says of itself (PS3.3 C.8.3, C.7.6.16)."""

from collections.abc import Iterator
from typing import Final

from node.dicom.attributes import EMPTY, Attribute, Attributes, from_bytes, layout
from node.dicom.elements import Encoded
from node.dicom.frames import PER_FRAME, SHARED
from node.domain.header import Header
from node.imaging.parts import Mark, Slice, Value

_GRADIENT: Final = {"DiffusionGradientDirectionSequence": layout("DiffusionGradientOrientation")}

_GROUPS: Final = layout(
    "",
    {
        "CardiacSynchronizationSequence": layout("NominalCardiacTriggerDelayTime"),
        "FrameContentSequence": layout("FrameAcquisitionNumber StackID TemporalPositionIndex"),
        "MRDiffusionSequence": layout("DiffusionBValue", _GRADIENT),
        "MREchoSequence": layout("EffectiveEchoTime"),
        "MRImageFrameTypeSequence": layout("ComplexImageComponent FrameType"),
        "MRModifierSequence": layout("InversionTimes"),
        "MRTimingAndRelatedParametersSequence": layout("FlipAngle"),
    },
)

_TOP: Final = layout(
    "ComplexImageComponent DiffusionGradientOrientation TriggerTime",
    {SHARED: _GROUPS, PER_FRAME: _GROUPS},
)

_TILES: Final = layout(
    "",
    private=(
        Attribute("Creator0019", 0x00190010, "LO"),
        Attribute("NumberOfImagesInMosaic", 0x0019100A, "US"),
        Attribute("Creator0065", 0x00650010, "LO"),
        Attribute("MRNumberOfSliceInVolume", 0x00651050, "DS"),
    ),
)

_TILE_COUNTS: Final = (
    ("Creator0019", "SIEMENS MR HEADER", "NumberOfImagesInMosaic"),
    ("Creator0065", "Image Private Header", "MRNumberOfSliceInVolume"),
)

_COMPONENTS: Final = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
"""As Siemens and Philips say it in Image Type."""

_ROUNDED: Final = {
    Mark.ECHO_TIME: 2,
    Mark.INVERSION_TIME: 1,
    Mark.FLIP_ANGLE: 1,
    Mark.B_VALUE: 0,
    Mark.TRIGGER_TIME: 0,
}
"""Decimals within which a value is the same; scanners write 7.001 and 7.0009765625."""


def slices_of(header: Header, data_set: Encoded, *, start: int) -> tuple[Slice, ...]:
    """Return a Slice for each plane of an object; data_set begins at byte `start`.

    Raises NotDicom.
    """
    top = from_bytes(data_set, header.transfer_syntax_uid, _TOP, start=start)
    enhanced = SHARED in top.items or PER_FRAME in top.items
    number = header.instance_number or 0
    return tuple(
        Slice(
            plane=plane,
            number=(number, frame),
            marks=_rounded(_of_frame(top, frame) if enhanced else _of_classic(header, top)),
        )
        for frame, plane in enumerate(header.planes)
    )


def _of_classic(header: Header, top: Attributes) -> Iterator[tuple[Mark, Value | None]]:
    yield Mark.ECHO_TIME, header.echo_time_ms
    yield Mark.INVERSION_TIME, header.inversion_time_ms
    yield Mark.FLIP_ANGLE, header.flip_angle_deg
    yield from _kind(top.text("ComplexImageComponent"), header.image_type)
    yield Mark.B_VALUE, header.diffusion_b_value
    yield Mark.GRADIENT, _direction(top)
    yield Mark.TIME_POINT, _whole(header.temporal_position_identifier)
    yield Mark.TRIGGER_TIME, top.number("TriggerTime")
    yield Mark.ECHO, _whole(header.echo_numbers)
    yield Mark.ACQUISITION, _whole(header.acquisition_number)


def _of_frame(top: Attributes, frame: int) -> Iterator[tuple[Mark, Value | None]]:
    frames = top.items.get(PER_FRAME, ())
    own, shared = frames[frame] if frame < len(frames) else EMPTY, top.item(SHARED)

    def group(keyword: str) -> Attributes:
        return own.item(keyword) if keyword in own.items else shared.item(keyword)

    kind, content = group("MRImageFrameTypeSequence"), group("FrameContentSequence")
    diffusion = group("MRDiffusionSequence")
    yield Mark.ECHO_TIME, group("MREchoSequence").number("EffectiveEchoTime")
    yield Mark.INVERSION_TIME, group("MRModifierSequence").number("InversionTimes")
    yield Mark.FLIP_ANGLE, group("MRTimingAndRelatedParametersSequence").number("FlipAngle")
    yield from _kind(kind.text("ComplexImageComponent"), kind.texts("FrameType"))
    yield Mark.B_VALUE, diffusion.number("DiffusionBValue")
    yield Mark.GRADIENT, _direction(diffusion.item("DiffusionGradientDirectionSequence"))
    yield Mark.TIME_POINT, content.number("TemporalPositionIndex")
    yield (
        Mark.TRIGGER_TIME,
        group("CardiacSynchronizationSequence").number("NominalCardiacTriggerDelayTime"),
    )
    yield Mark.ACQUISITION, content.number("FrameAcquisitionNumber")
    yield Mark.STACK, content.text("StackID")


def _kind(component: str, image_type: tuple[str, ...]) -> Iterator[tuple[Mark, Value | None]]:
    letters = (_COMPONENTS[word] for word in image_type[2:] if word in _COMPONENTS)
    said = component.lower() if component.lower() in _COMPONENTS.values() else ""
    yield Mark.COMPONENT, said or next(letters, None)
    yield Mark.IMAGE_TYPE, "\\".join(image_type)


def _direction(source: Attributes) -> Value | None:
    found = source.numbers("DiffusionGradientOrientation")
    return tuple(round(cosine, 3) + 0.0 for cosine in found) if len(found) == 3 else None


def _whole(number: int | None) -> float | None:
    return None if number is None else float(number)


def _rounded(found: Iterator[tuple[Mark, Value | None]]) -> dict[Mark, Value]:
    return {
        mark: round(value, _ROUNDED[mark])
        if isinstance(value, float) and mark in _ROUNDED
        else value
        for mark, value in found
        if value is not None and value != ""
    }


def number_of_tiles(data_set: Encoded, transfer_syntax_uid: str, *, start: int) -> int | None:
    """Return how many slices a Siemens or UIH mosaic says that it holds, None when it does not.

    Source: the vendors' private attributes, as dcm2niix reads them. Raises NotDicom.
    """
    top = from_bytes(data_set, transfer_syntax_uid, _TILES, start=start)
    for creator, said, name in _TILE_COUNTS:
        if top.text(creator) == said:
            return top.integer(name)
    return None
