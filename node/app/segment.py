"""`segnode segment`: the steps of an analysis for a few files, without a node."""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from node.analysis import steps
from node.analysis.case import LABELS, MEASUREMENTS, Case, Tools, volume_name
from node.analysis.steps import StepResult
from node.app.inputs import Series, read_series
from node.app.wiring import SOFTWARE_VERSION
from node.domain.errors import RoleMissing, SpoolUnwritable
from node.domain.ids import AnalysisId
from node.domain.measurement import Measurements, from_json, to_json
from node.domain.quality import FINDINGS, Finding, Verdict, collect
from node.domain.regions import Role
from node.imaging.artefacts import load_volume, save_volume, write_durably
from node.imaging.measure import region_volumes
from node.imaging.nifti import write_nifti
from node.imaging.volume import Volume
from node.results.context import ResultContext
from node.results.gate import check
from node.results.overlay import render_png
from node.results.seg import encode_seg
from node.segmentation.bundle import Bundle

LABELS_FILE: Final = "labels.nii.gz"
PICTURE_FILE: Final = "overview.png"
SEG_FILE: Final = "segmentation.dcm"
REPORT_FILE: Final = "report.json"

Tell = Callable[[str, float], None]
"""Told the name of the step at hand and the finished part of it, from 0 to 1."""

STEPS: Final[tuple[tuple[str, Callable[[Case], StepResult]], ...]] = (
    ("register", steps.register_series),
    ("brain", steps.find_brain),
    ("prepare", steps.prepare_input),
    ("infer", steps.infer_labels),
    ("native", steps.return_to_native),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a researcher asks for. inputs: a path for each role; out: folder for the answer."""

    inputs: Mapping[Role, Path]
    reference: Role
    out: Path


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: how long it took, and what it says of itself."""

    step: str
    seconds: float
    summary: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it. files: names in the folder that was asked for."""

    steps: tuple[StepReport, ...]
    measurements: Measurements
    verdict: Verdict
    files: tuple[str, ...]


def segment(request: Request, bundle: Bundle, tools: Tools, tell: Tell) -> Report:
    """Segment one case and write labels, picture, SEG (for DICOM) and report.

    Raises the named errors of the steps; the folder then has no report.
    """
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        for name in (REPORT_FILE, SEG_FILE, LABELS_FILE, PICTURE_FILE):  # of an earlier case
            (request.out / name).unlink(missing_ok=True)
    except OSError as error:
        message = f"{request.out.name} cannot be made: {error.strerror}"
        raise SpoolUnwritable(message) from error
    missing = [role for role in bundle.manifest.roles if role not in request.inputs]
    if missing:
        message = f"bundle {bundle.manifest.name} needs {', '.join(missing)}"
        raise RoleMissing(message)
    others = (role for role in request.inputs if role is not request.reference)
    with tempfile.TemporaryDirectory(prefix="segnode-") as temporary:
        case = Case(
            folder=Path(temporary),
            roles=(request.reference, *others),
            bundle=bundle,
            tools=tools,
        )
        started = time.monotonic()
        tell("assemble", 0.0)
        series = _read(case, request)
        summary: dict[str, object] = {
            role: list(one.volume.grid.shape) for role, one in series.items()
        }
        done = [StepReport("assemble", time.monotonic() - started, summary)]
        for name, step in STEPS:
            started = time.monotonic()
            tell(name, 0.0)
            _, summary = step(replace(case, on_progress=partial(tell, name)))
            done.append(StepReport(name, time.monotonic() - started, summary))
        return _write(request, case, series, done)


def _read(case: Case, request: Request) -> dict[Role, Series]:
    """Read all series and leave their volumes as artefacts."""
    series = {role: read_series(request.inputs[role]) for role in case.roles}
    for role, one in series.items():
        save_volume(one.volume, case.folder / volume_name(role))
    return series


def _write(
    request: Request, case: Case, series: Mapping[Role, Series], done: Sequence[StepReport]
) -> Report:
    """Write the answer; the report comes last."""
    labels = load_volume(case.folder / LABELS)
    context = _context(case, series, labels)
    write_nifti(labels, request.out / LABELS_FILE)
    render_png(labels, series[case.reference].volume, request.out / PICTURE_FILE, context)
    files = [LABELS_FILE, PICTURE_FILE]
    reference = series[case.reference]
    if reference.files and reference.volume.grid.frame_of_reference_uid:
        others = tuple(path for role in case.roles[1:] for path in series[role].files)
        seg = encode_seg(labels, reference.files, others, context)
        check((seg,), labels, reference.files)
        write_durably(request.out / SEG_FILE, seg.data)
        files.append(SEG_FILE)
    report = Report(
        steps=tuple(done),
        measurements=from_json(json.loads((case.folder / MEASUREMENTS).read_bytes())),
        verdict=_verdict(done),
        files=(*files, REPORT_FILE),
    )
    content = json.dumps(_as_json(report, case), indent=2)
    write_durably(request.out / REPORT_FILE, (content + "\n").encode())
    return report


def _context(case: Case, series: Mapping[Role, Series], labels: Volume) -> ResultContext:
    """Say who made the result; the same answer to the same question has the same identifiers."""
    digest = hashlib.sha256(f"{SOFTWARE_VERSION} {case.bundle.sha256}".encode())
    for role in case.roles:
        grid, array = series[role].volume.grid, series[role].volume.array
        digest.update(f"{role} {grid.shape} {grid.frame_of_reference_uid}".encode())
        digest.update(grid.affine.tobytes() + array.tobytes())
    digest.update(labels.array.tobytes())
    manifest = case.bundle.manifest
    return ResultContext(
        analysis_id=AnalysisId(digest.hexdigest()),
        bundle_name=manifest.name,
        bundle_version=manifest.version,
        bundle_sha256=case.bundle.sha256,
        software_version=SOFTWARE_VERSION,
        algorithm_description=manifest.algorithm,
        research_text=manifest.research_text,
        volumes=region_volumes(labels),
        created_at=datetime.now(UTC),
    )


def _verdict(done: Sequence[StepReport]) -> Verdict:
    found: list[Any] = []
    for step in done:
        written = step.summary.get(FINDINGS)
        found += written if isinstance(written, list) else []
    return collect(Finding(**entry) for entry in found)


def _as_json(report: Report, case: Case) -> dict[str, Any]:
    manifest = case.bundle.manifest
    return {
        "software": SOFTWARE_VERSION,
        "bundle": {
            "name": manifest.name,
            "version": manifest.version,
            "sha256": case.bundle.sha256,
            "intended_use": manifest.intended_use,
        },
        "reference": case.reference,
        "trust": report.verdict.trust,
        "findings": [asdict(finding) for finding in report.verdict.findings],
        "measurements": to_json(report.measurements),
        "steps": [asdict(step) for step in report.steps],
        "files": list(report.files),
    }
