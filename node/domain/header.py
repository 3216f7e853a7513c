"""The frozen projection of a data set that the ledger keeps: never pixel data, never a name."""

from dataclasses import dataclass, field

from node.domain.ids import (
    FrameOfReferenceUID,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)

Vector3 = tuple[float, float, float]
Vector6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Where one slice (an instance, or one frame of a multi-frame instance) lies.

    position: Image Position (Patient), mm, LPS, centre of the first voxel.
    orientation: Image Orientation (Patient), row cosines then column cosines.
    """

    position: Vector3
    orientation: Vector6


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Of a Header, what says which instance it is and whose equipment wrote it."""

    study_instance_uid: StudyInstanceUID
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: SOPClassUID
    manufacturer: str = ""
    software_versions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """About 60 attributes of one instance, named by their PS3.6 keywords in snake case.

    Absent or unreadable attributes are None or empty; text is stripped. Times are in
    milliseconds, lengths in mm, angles in degrees. Enhanced multi-frame objects have
    their functional group values (first frame) lifted to the top.
    """

    # Identity
    study_instance_uid: StudyInstanceUID
    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: SOPClassUID
    transfer_syntax_uid: TransferSyntaxUID
    frame_of_reference_uid: FrameOfReferenceUID | None = None
    patient_id: str = ""
    accession_number: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""

    # Equipment
    modality: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    software_versions: str = ""
    station_name: str = ""
    magnetic_field_strength: float | None = None

    # Series
    series_number: int | None = None
    series_description: str = ""
    protocol_name: str = ""
    body_part_examined: str = ""
    series_date: str = ""
    series_time: str = ""
    acquisition_date: str = ""
    acquisition_time: str = ""
    acquisition_number: int | None = None
    instance_number: int | None = None
    image_type: tuple[str, ...] = ()
    derivation_description: str = ""
    burned_in_annotation: str = ""
    images_in_acquisition: int | None = None

    # Physics
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    scan_options: tuple[str, ...] = ()
    mr_acquisition_type: str = ""
    sequence_name: str = ""
    pulse_sequence_name: str = ""
    acquisition_contrast: str = ""
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    echo_train_length: int | None = None
    echo_numbers: int | None = None
    diffusion_b_value: float | None = None
    temporal_position_identifier: int | None = None
    number_of_temporal_positions: int | None = None
    contrast_bolus_agent: str = ""
    contrast_bolus_route: str = ""
    contrast_bolus_volume_ml: float | None = None

    # Pixels and geometry
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    samples_per_pixel: int | None = None
    photometric_interpretation: str = ""
    bits_allocated: int | None = None
    pixel_representation: int | None = None
    pixel_spacing: tuple[float, float] | None = None
    slice_thickness: float | None = None
    spacing_between_slices: float | None = None
    planes: tuple[Plane, ...] = field(default=())
    """One for each frame that has a position; a classic instance has one or none."""
