"""The way from DICOM files to gated objects, one function a stage.

A stage reads the artefacts of the stages before it from the job's folder, calls one function
of imaging, segmentation or results, and returns the names of the files that it left and a
summary for the ledger. Arrays never leave a stage other than as files.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from node.analysis.bench import Job
from node.domain.errors import NoGeometry, OwnFault
from node.domain.regions import Role
from node.domain.states import DeliveryState
from node.domain.study import DeliveryRecord
from node.imaging.artefacts import load_volume, save_volume, write_durably
from node.imaging.assemble import assemble
from node.imaging.measure import region_volumes
from node.imaging.prepare import ModelInput, prepare
from node.imaging.register import Registration, register
from node.imaging.resample import to_native
from node.imaging.volume import Volume
from node.results.context import ResultContext
from node.results.gate import check
from node.results.overlay import encode_overlay, render_png
from node.results.seg import EncodedObject, encode_seg

PICTURE = "overlay.png"
REGISTRATIONS = "registrations.json"

StageResult = tuple[tuple[str, ...], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A named stage. parameters: what its result depends on beside the stage before it."""

    name: str
    work: Callable[[Job], StageResult]
    parameters: Callable[[Job], dict[str, str]] = lambda job: {}  # noqa: ARG005


def assemble_series(job: Job) -> StageResult:
    """Make one volume of each role's series. Raises SeriesUnusable, SpoolDamaged."""
    summary: dict[str, object] = {}
    for role in job.roles:
        volume = assemble(job.verify(role))
        if role is job.record.order.reference and not volume.grid.frame_of_reference_uid:
            message = "the reference series has no Frame of Reference UID, which a result needs"
            raise NoGeometry(message)
        save_volume(volume, job.folder / f"{role}.volume")
        summary[role] = {
            "shape": list(volume.grid.shape),
            "spacing_mm": [round(mm, 3) for mm in volume.grid.spacing_mm],
        }
    return tuple(f"{role}.volume" for role in job.roles), summary


def register_series(job: Job) -> StageResult:
    """Bring every role onto the reference role. Raises RegistrationFailed."""
    reference, *others = job.roles
    fixed = load_volume(job.folder / f"{reference}.volume")
    found: dict[Role, Registration] = {}
    for role in others:
        moving = load_volume(job.folder / f"{role}.volume")
        frame = moving.grid.frame_of_reference_uid
        same_frame = frame != "" and frame == fixed.grid.frame_of_reference_uid
        found[role] = register(moving, fixed, same_frame=same_frame)
    content = {role: {**asdict(r), "matrix": r.matrix.tolist()} for role, r in found.items()}
    write_durably(job.folder / REGISTRATIONS, json.dumps(content).encode())
    summary: dict[str, object] = {
        role: {"gate": r.gate, "similarity": round(r.metric, 3), "moved_mm": round(r.moved_mm, 2)}
        for role, r in found.items()
    }
    return (REGISTRATIONS,), summary


def load_registrations(folder: Path) -> dict[Role, Registration]:
    """Read what register_series left."""
    content = json.loads((folder / REGISTRATIONS).read_bytes())
    return {
        Role(role): Registration(**{**entry, "matrix": np.array(entry["matrix"])})
        for role, entry in content.items()
    }


def extract_brain(job: Job) -> StageResult:
    """Find the brain on the reference role. Raises BrainNotFound."""
    reference = load_volume(job.folder / f"{job.roles[0]}.volume")
    extractor = job.bench.choose_extractor(reference)
    brain = extractor(reference)
    save_volume(brain, job.folder / "brain.volume")
    millilitres = float(np.count_nonzero(brain.array)) * brain.grid.voxel_mm3 / 1000
    return ("brain.volume",), {"method": extractor.name, "brain_ml": round(millilitres, 1)}


def prepare_input(job: Job) -> StageResult:
    """Put all roles on the model's grid, normalised as the bundle's manifest demands."""
    volumes = {role: load_volume(job.folder / f"{role}.volume") for role in job.roles}
    prepared = prepare(
        volumes,
        load_registrations(job.folder),
        load_volume(job.folder / "brain.volume"),
        job.bundle.manifest.preprocessing,
    )
    for role, channel in prepared.channels.items():
        save_volume(channel, job.folder / f"{role}.input")
    save_volume(prepared.brain, job.folder / "brain.input")
    names = (*(f"{role}.input" for role in prepared.channels), "brain.input")
    return names, {"shape": list(prepared.grid.shape)}


def infer_labels(job: Job) -> StageResult:
    """Run the bundle on the prepared input."""
    brain = load_volume(job.folder / "brain.input")
    channels = {role: load_volume(job.folder / f"{role}.input") for role in job.roles}
    labels = job.bundle.segment(ModelInput(channels=channels, brain=brain, grid=brain.grid))
    save_volume(labels, job.folder / "labels.input")
    manifest = job.bundle.manifest
    return ("labels.input",), {
        "bundle": manifest.name,
        "version": manifest.version,
        "sha256": job.bundle.sha256,
    }


def return_to_native(job: Job) -> StageResult:
    """Bring the labels back to the reference series' own grid and measure them."""
    reference = load_volume(job.folder / f"{job.roles[0]}.volume")
    labels = to_native(load_volume(job.folder / "labels.input"), reference.grid)
    save_volume(labels, job.folder / "labels.volume")
    volumes = {v.region.value: round(v.millilitres, 3) for v in region_volumes(labels)}
    return ("labels.volume",), {"volumes_ml": volumes}


def result_context(job: Job, labels: Volume) -> ResultContext:
    """Say who made the result and from what, for every object that carries it."""
    manifest = job.bundle.manifest
    return ResultContext(
        analysis_id=job.record.order.analysis_id,
        bundle_name=manifest.name,
        bundle_version=manifest.version,
        bundle_sha256=job.bundle.sha256,
        software_version=job.bench.software_version,
        algorithm_description=manifest.algorithm,
        research_text=manifest.research_text,
        volumes=region_volumes(labels),
        created_at=job.record.created_at,
    )


def encode_objects(job: Job) -> StageResult:
    """Make SEG and overlay, hold them against the source, and plan their deliveries.

    Raises EncodingRefused.
    """
    reference = load_volume(job.folder / f"{job.roles[0]}.volume")
    labels = load_volume(job.folder / "labels.volume")
    context = result_context(job, labels)
    others = tuple(path for role in job.roles[1:] for path in job.files(role))
    seg = encode_seg(labels, job.reference_files, others, context)
    overlay = encode_overlay(
        labels,
        reference,
        job.reference_files,
        context,
        thickness_mm=job.bench.overlay_thickness_mm,
    )
    objects = (seg, *overlay)
    check(objects, labels, job.reference_files)
    names = tuple(_write_object(job, index, made) for index, made in enumerate(objects))
    render_png(labels, reference, job.folder / PICTURE, context)
    _plan_deliveries(job, objects, names)
    return (*names, PICTURE), {
        "objects": {"SEG": 1, "OVERLAY": len(overlay)},
        "series": sorted({made.series_instance_uid for made in objects}),
    }


def _write_object(job: Job, index: int, made: EncodedObject) -> str:
    name = f"{made.kind}-{index:04d}.dcm"
    write_durably(job.folder / name, made.data)
    return name


def _plan_deliveries(job: Job, objects: tuple[EncodedObject, ...], names: tuple[str, ...]) -> None:
    order = job.record.order
    job.bench.ledger.deliveries.plan(
        [
            DeliveryRecord(
                analysis_id=order.analysis_id,
                destination=destination,
                sop_instance_uid=made.sop_instance_uid,
                kind=made.kind,
                path=str((job.folder / name).relative_to(job.bench.spool.root)),
                state=DeliveryState.PENDING,
                status=None,
                attempts=0,
                reason=None,
                changed_at=job.bench.clock.now(),
            )
            for destination in job.bench.destinations(order)
            for made, name in zip(objects, names, strict=True)
        ]
    )


def _inputs(job: Job) -> dict[str, str]:
    return {"inputs": job.record.order.inputs_sha256, "software": job.bench.software_version}


def _bundle(job: Job) -> dict[str, str]:
    return {"bundle": job.bundle.sha256}


def _shown(job: Job) -> dict[str, str]:
    return {
        "destinations": ",".join(job.bench.destinations(job.record.order)),
        "overlay_thickness_mm": str(job.bench.overlay_thickness_mm),
    }


STAGES: tuple[Stage, ...] = (
    Stage(name="assemble", work=assemble_series, parameters=_inputs),
    Stage(name="register", work=register_series),
    Stage(name="brain", work=extract_brain),
    Stage(name="prepare", work=prepare_input, parameters=_bundle),
    Stage(name="infer", work=infer_labels, parameters=_bundle),
    Stage(name="native", work=return_to_native),
    Stage(name="encode", work=encode_objects, parameters=_shown),
)


def stage_named(name: str) -> Stage:
    """Return the stage of that name. Raises OwnFault for one that does not exist."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    message = f"there is no stage {name!r}"
    raise OwnFault(message)
