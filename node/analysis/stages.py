"""The way from DICOM files to gated objects, one function a stage.

A stage reads the artefacts of the stages before it from the job's folder and returns the names
of the files that it left and a summary for the ledger. Arrays never leave a stage other than
as files. What lies between series and labels is in `node.analysis.steps`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from node.analysis import steps
from node.analysis.bench import Job
from node.analysis.case import LABELS, Case, volume_name
from node.analysis.steps import StepResult
from node.domain.errors import NoGeometry, OwnFault
from node.domain.states import DeliveryState
from node.domain.study import DeliveryRecord
from node.imaging.artefacts import load_volume, save_volume, write_durably
from node.imaging.assemble import assemble
from node.imaging.measure import region_volumes
from node.imaging.volume import Volume
from node.results.context import ResultContext
from node.results.gate import check
from node.results.overlay import encode_overlay, render_png
from node.results.seg import EncodedObject, encode_seg
from node.segmentation.brains import methods_at_hand

PICTURE = "overlay.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A named stage. parameters: what its result depends on beside the stage before it."""

    name: str
    work: Callable[[Job], StepResult]
    parameters: Callable[[Job], dict[str, str]] = lambda job: {}  # noqa: ARG005


def assemble_series(job: Job) -> StepResult:
    """Make one volume of each role's series. Raises SeriesUnusable, SpoolDamaged."""
    summary: dict[str, object] = {}
    for role in job.roles:
        volume = assemble(job.verify(role))
        if role is job.record.order.reference and not volume.grid.frame_of_reference_uid:
            message = "the reference series has no Frame of Reference UID, which a result needs"
            raise NoGeometry(message)
        save_volume(volume, job.folder / volume_name(role))
        summary[role] = {
            "shape": list(volume.grid.shape),
            "spacing_mm": [round(mm, 3) for mm in volume.grid.spacing_mm],
        }
    return tuple(volume_name(role) for role in job.roles), summary


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


def encode_objects(job: Job) -> StepResult:
    """Make SEG and overlay, hold them against the source, and plan their deliveries.

    Raises EncodingRefused, BundleInvalid when the bundle is not the one that made the labels.
    """
    steps.load_opinions(job.case)
    reference = job.case.volume(job.roles[0])
    labels = load_volume(job.folder / LABELS)
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


def _brain(job: Job) -> dict[str, str]:
    options = job.bench.tools.brain
    return {
        "method": options.method,
        "networks": str(options.networks),
        "hd_bet": options.hd_bet_sha256 if options.hd_bet_folder else "",
        "at_hand": ",".join(sorted(methods_at_hand(options))),
    }


def _shown(job: Job) -> dict[str, str]:
    return {
        "destinations": ",".join(job.bench.destinations(job.record.order)),
        "overlay_thickness_mm": str(job.bench.overlay_thickness_mm),
    }


def _of_case(step: Callable[[Case], StepResult]) -> Callable[[Job], StepResult]:
    """Make a stage's work of a step that needs no ledger."""
    return lambda job: step(job.case)


STAGES: tuple[Stage, ...] = (
    Stage(name="assemble", work=assemble_series, parameters=_inputs),
    Stage(name="register", work=_of_case(steps.register_series)),
    Stage(name="brain", work=_of_case(steps.find_brain), parameters=_brain),
    Stage(name="prepare", work=_of_case(steps.prepare_input), parameters=_bundle),
    Stage(name="infer", work=_of_case(steps.infer_labels), parameters=_bundle),
    Stage(name="native", work=_of_case(steps.return_to_native)),
    Stage(name="encode", work=encode_objects, parameters=_shown),
)


def stage_named(name: str) -> Stage:
    """Return the stage of that name. Raises OwnFault for one that does not exist."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    message = f"there is no stage {name!r}"
    raise OwnFault(message)
