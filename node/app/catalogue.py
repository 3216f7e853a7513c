"""What models there are on this node: installed, damaged, or still to be fetched."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.library import BundleStatus, BundleSummary, find_bundles
from node.segmentation.manifest import read_manifest
from node.segmentation.parameters import folder_name, verify_parameters
from node.segmentation.upstream import Offer, find_offers


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """One model. engine: what runs it; of parameters for another step, that step.

    problem: what is wrong or missing, else "". remedy: the command that mends it, else "".
    """

    name: str
    version: str
    state: BundleStatus
    licence: str
    engine: str
    problem: str
    remedy: str
    folder: Path
    sha256: str


def list_models(folders: tuple[Path, ...]) -> tuple[ModelLine, ...]:
    """Verify and describe every bundle in folders, and what else can be fetched.

    folders: the first is where fetched models go. A bundle that lacks its weights is left out
    where another of its name is ready. Raises BundleInvalid when our own list is damaged.
    """
    offers = find_offers()
    found = find_bundles(folders)
    ready = {bundle.name for bundle in found if bundle.status is BundleStatus.READY}
    bundles = [
        _bundle_line(bundle, offers)
        for bundle in found
        if bundle.name not in ready or bundle.status is not BundleStatus.WEIGHTS_NOT_INSTALLED
    ]
    return (*bundles, *_parameter_lines(folders[0], offers))


def _bundle_line(bundle: BundleSummary, offers: dict[str, Offer]) -> ModelLine:
    engine = "" if bundle.status is BundleStatus.INVALID else read_manifest(bundle.folder).engine
    remedy = ""
    if bundle.status is not BundleStatus.READY:
        known = bundle.name in offers
        remedy = f"segnode models {f'fetch {bundle.name}' if known else 'import FOLDER'}"
    return ModelLine(
        name=bundle.name,
        version=bundle.version,
        state=bundle.status,
        licence=bundle.licence,
        engine=engine,
        problem=bundle.problem,
        remedy=remedy,
        folder=bundle.folder,
        sha256=bundle.sha256,
    )


def _parameter_lines(folder: Path, offers: dict[str, Offer]) -> Iterator[ModelLine]:
    """Parameters for other steps, such as the brain extraction."""
    for offer in offers.values():
        if offer.is_bundle:
            continue
        name = offer.upstream.name
        place = folder / folder_name(name)
        state, problem, archive = BundleStatus.READY, "", ""
        try:
            archive = verify_parameters(place).archive
        except BundleMissing as error:
            state, problem = BundleStatus.WEIGHTS_NOT_INSTALLED, error.what
        except BundleInvalid as error:
            state, problem = BundleStatus.INVALID, error.what
        yield ModelLine(
            name=name,
            version="",
            state=state,
            licence=offer.upstream.licence.name,
            engine="brain extraction",
            problem=problem,
            remedy="" if state is BundleStatus.READY else f"segnode models fetch {name}",
            folder=place,
            sha256=archive,
        )
