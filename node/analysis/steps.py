"""The steps between series and measured labels, for the node and for `segnode segment` alike.

A step reads artefacts of the case's folder, calls one function of imaging or segmentation, and
returns the names of the files that it left and a summary. What lowers the trust in the result
stands in the summary under `findings`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from node.analysis.case import (
    BRAIN,
    BRAIN_OF_MODEL,
    LABELS,
    LABELS_OF_MODEL,
    MEASUREMENTS,
    OPINIONS,
    REGISTRATIONS,
    WAY_HOME,
    Case,
    input_name,
)
from node.analysis.ladder import descend
from node.analysis.tasks import FindBrain, Segment
from node.domain.errors import BundleInvalid
from node.domain.measurement import describe as describe_measurements
from node.domain.measurement import to_json
from node.domain.quality import FINDINGS, MEASURED, Finding
from node.domain.regions import Region, Role
from node.imaging.artefacts import load_volume, save_volume, write_durably
from node.imaging.measure import measure, tumour_findings
from node.imaging.prepare import prepare
from node.imaging.register import Registration, register_all
from node.imaging.resample import to_native
from node.imaging.round_trip import round_trip, round_trip_findings
from node.imaging.volume import Affine
from node.segmentation.machine import describe, efforts

Summary = dict[str, object]
StepResult = tuple[tuple[str, ...], Summary]


def register_series(case: Case) -> StepResult:
    """Bring every role onto the reference role. Raises RegistrationFailed, MirroredSeries."""
    fixed = case.volume(case.reference)
    frame = fixed.grid.frame_of_reference_uid
    moving = {role: case.volume(role) for role in case.roles[1:]}
    found = register_all(
        moving,
        fixed,
        same_frame={
            role: frame != "" and volume.grid.frame_of_reference_uid == frame
            for role, volume in moving.items()
        },
        threads=case.tools.machine().cores,
    )
    content = {role: {**asdict(r), "matrix": r.matrix.tolist()} for role, r in found.items()}
    write_durably(case.folder / REGISTRATIONS, json.dumps(content).encode())
    summary: Summary = {
        role: {
            "gate": r.gate,
            "similarity": round(r.metric, 3),
            "moved_mm": round(r.moved_mm, 2),
            "side": "-" if r.sidedness is None else round(r.sidedness, 2),
        }
        for role, r in found.items()
    }
    findings = [finding for r in found.values() for finding in r.findings]
    return (REGISTRATIONS,), with_findings(summary, findings)


def load_registrations(folder: Path) -> dict[Role, Registration]:
    """Read what register_series left."""
    content = json.loads((folder / REGISTRATIONS).read_bytes())
    return {
        Role(role): Registration(
            **{
                **entry,
                "matrix": np.array(entry["matrix"]),
                "findings": tuple(Finding(**finding) for finding in entry["findings"]),
            }
        )
        for role, entry in content.items()
    }


def find_brain(case: Case) -> StepResult:
    """Find the brain on the reference role. Raises BrainNotFound, HeadIncomplete."""
    tools = case.tools
    descent = descend(
        efforts(tools.machine()),
        lambda effort: tools.workshop.perform(
            FindBrain(
                folder=case.folder, reference=case.reference, effort=effort, options=tools.brain
            ),
            limit_s=tools.brain_limit_s,
        ),
    )
    found = descent.result
    summary: Summary = {
        "method": found.method,
        "because": found.reason,
        "brain_ml": round(found.brain_ml, 1),
        **_effort(descent.failed),
    }
    return (BRAIN,), with_findings(summary, found.findings)


def prepare_input(case: Case) -> StepResult:
    """Put all roles on the model's grid, normalised as the bundle's manifest demands."""
    prepared = prepare(
        {role: case.volume(role) for role in case.roles},
        load_registrations(case.folder),
        load_volume(case.folder / BRAIN),
        case.bundle.manifest.preprocessing,
        threads=case.tools.machine().cores,
    )
    for role, channel in prepared.channels.items():
        save_volume(channel, case.folder / input_name(role))
    save_volume(prepared.brain, case.folder / BRAIN_OF_MODEL)
    way = None if prepared.way_home is None else prepared.way_home.tolist()
    write_durably(case.folder / WAY_HOME, json.dumps(way).encode())
    names = (*(input_name(role) for role in prepared.channels), BRAIN_OF_MODEL, WAY_HOME)
    return names, with_findings({"shape": list(prepared.grid.shape)}, prepared.findings)


def load_way_home(folder: Path) -> Affine | None:
    """Read the (4, 4) matrix from native to model points; None when they are the same."""
    way = json.loads((folder / WAY_HOME).read_bytes())
    return None if way is None else np.array(way, dtype=np.float64)


def infer_labels(case: Case) -> StepResult:
    """Run the bundle on the prepared input. Raises OutOfMemory, TimeLimitReached."""
    bundle, tools = case.bundle, case.tools
    descent = descend(
        efforts(tools.machine()),
        lambda effort: tools.workshop.perform(
            Segment(
                folder=case.folder,
                roles=case.roles,
                bundle_folder=bundle.folder,
                bundle_sha256=bundle.sha256,
                effort=effort,
            ),
            limit_s=tools.infer_limit_s,
            on_progress=case.on_progress,
        ),
    )
    found = descent.result
    content = {"bundle_sha256": bundle.sha256, "opinions_ml": found.opinions_ml}
    write_durably(case.folder / OPINIONS, json.dumps(content).encode())
    opinions = {
        region: [round(volume, 3) for volume in volumes]
        for region, volumes in found.opinions_ml.items()
    }
    summary: Summary = {
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "sha256": bundle.sha256,
        "effort": describe(descent.effort),
        **({"opinions_ml": opinions} if opinions else {}),
        **_effort(descent.failed),
    }
    return (LABELS_OF_MODEL, OPINIONS), with_findings(summary, found.findings)


def load_opinions(case: Case) -> dict[Region, tuple[float, ...]]:
    """Read the volumes, mL, as the engine's single views see them.

    Raises BundleInvalid when the case's bundle is not the one that made the labels.
    """
    content = json.loads((case.folder / OPINIONS).read_bytes())
    if content["bundle_sha256"] != case.bundle.sha256:
        name = case.bundle.manifest.name
        raise BundleInvalid(f"bundle {name} was changed while a study was analysed with it")
    return {Region(name): tuple(volumes) for name, volumes in content["opinions_ml"].items()}


def return_to_native(case: Case) -> StepResult:
    """Bring the labels back to the reference series' own grid and measure them."""
    of_model = load_volume(case.folder / LABELS_OF_MODEL)
    way = load_way_home(case.folder)
    native = case.volume(case.reference).grid
    labels = to_native(of_model, native, matrix=way, threads=case.tools.machine().cores)
    save_volume(labels, case.folder / LABELS)
    opinions = load_opinions(case)
    measured = measure(labels, opinions, case.bundle.manifest.uncertainty)
    write_durably(case.folder / MEASUREMENTS, json.dumps(to_json(measured)).encode())
    back: Affine | None = None if way is None else np.linalg.inv(way).astype(np.float64)
    trips = round_trip(of_model, labels, matrix=back)
    summary: Summary = {
        MEASURED: list(describe_measurements(measured)),
        "volumes_ml": {
            region.volume.region.value: round(region.volume.millilitres, 3)
            for region in measured.regions
        },
        "round_trip": {
            trip.region.value: f"{trip.change:+.1%}, Dice {trip.dice:.2f}" for trip in trips
        },
    }
    findings = [*tumour_findings(labels), *round_trip_findings(trips)]
    return (LABELS, MEASUREMENTS), with_findings(summary, findings)


def with_findings(summary: Summary, findings: Sequence[Finding]) -> Summary:
    """Return a summary that names what lowers the trust, if anything does."""
    return {**summary, FINDINGS: [asdict(f) for f in findings]} if findings else summary


def _effort(failed: Sequence[str]) -> Summary:
    """Say what did not fit into memory, if anything was tried before."""
    return {"failed_efforts": list(failed)} if failed else {}
