"""Models that come without our manifest: what they are, and how a manifest makes them bundles."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from node.domain.errors import BundleInvalid
from node.segmentation.bundle import file_sha256
from node.segmentation.manifest import MANIFEST_BYTES, METADATA, Manifest, parse_manifest
from node.segmentation.network_options import NnUNetOptions
from node.segmentation.options import CASCADE_WEIGHTS
from node.segmentation.published import locate
from node.segmentation.upstream import TEMPLATE_FOLDERS

INFERENCE: Final = "configs/inference.json"
CARD: Final = "docs/README.md"
LICENCE: Final = "LICENSE"
LICENCE_NAMES: Final = (LICENCE, "LICENSE.txt", "LICENSE.md", "docs/license.txt")

WHAT_IS_SAID_THERE: Final = (
    "which sequences it needs in which order, how they are prepared, and what its labels mean"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A bundle that is to be made. files: path in the bundle -> its bytes, or where they lie."""

    manifest: Manifest
    files: Mapping[str, bytes | Path]


def is_ours(source: Path) -> bool:
    """Return whether a folder is a bundle with our manifest, be it right or wrong."""
    return "segnode" in _metadata(source / METADATA)


def refusal(source: Path) -> str:
    """Say what a folder is that has no manifest of ours, what is missing, and where to look."""
    if (source / METADATA).is_file():
        what = f"a MONAI bundle whose {METADATA} lacks the key `segnode`, which says "
    elif (source / "plans.json").is_file() and (source / "dataset.json").is_file():
        what = f"an nnU-Net model folder without a {METADATA} that says in its key `segnode` "
    else:
        return (
            f"{source.name}: neither {METADATA} nor published weights that are known here; "
            "`segnode models list` shows what can be fetched"
        )
    return (
        f"{source.name}: {what}{WHAT_IS_SAID_THERE}; write such a file after {_example()} "
        "and name it with --manifest"
    )


def draft_bundle(source: Path, manifest: Path) -> Draft:
    """Return the bundle that a manifest makes of a folder's files.

    source: a MONAI bundle or an nnU-Net model folder. manifest: a metadata.json with our key;
    checksums of weights that it leaves out are taken from the files as they are. Card,
    licence and configs/inference.json are taken from beside the manifest, else from source.
    Raises BundleInvalid when the manifest is wrong or a file is absent.
    """
    metadata = _metadata(manifest)
    ours = metadata.get("segnode")
    if not isinstance(ours, dict):
        raise BundleInvalid(f"{manifest.name}: the key `segnode` is absent")
    written = ours.get("weights") or dict.fromkeys(_needed(ours))
    if not isinstance(written, dict):
        raise BundleInvalid(f"{manifest.name}: segnode.weights is no table")
    found = {name: _weights(source, name) for name in written}
    ours["weights"] = {name: written[name] or file_sha256(path) for name, path in found.items()}
    text = json.dumps(metadata, indent=2) + "\n"
    parsed = parse_manifest(text, bundle=manifest.name)
    home = manifest.parent.parent if manifest.parent.name == "configs" else manifest.parent
    return Draft(
        manifest=parsed,
        files={
            **found,
            METADATA: text.encode(),
            INFERENCE: _first((home, source), (INFERENCE,)) or _inference(parsed),
            CARD: _first((home, source), (CARD,)) or _card(parsed, source.name),
            LICENCE: _licence(home, source),
        },
    )


def _metadata(path: Path) -> dict[str, Any]:
    """Return the content of a metadata.json; empty when there is none."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MANIFEST_BYTES:
            raise BundleInvalid(f"{path.name} is too large to be a manifest")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleInvalid(f"{path.name} cannot be read as JSON") from error
    if not isinstance(content, dict):
        raise BundleInvalid(f"{path.name} is no table")
    return content


def _needed(ours: dict[str, Any]) -> tuple[str, ...]:
    """Return the files that the engine of an unchecked manifest reads."""
    options = ours.get("engine_options")
    match ours.get("engine"), options:
        case "monai", {"weights": str(name)}:
            return (name,)
        case "nnunet", dict() | None:
            try:
                return NnUNetOptions.model_validate(options or {}).files
            except ValidationError:
                return ()  # the engine says which of the options is wrong
        case "ca-cnn", _:
            return tuple(f"models/{name}" for name in CASCADE_WEIGHTS)
    return ()


def _weights(source: Path, name: str) -> Path:
    """Find a file of weights: where a bundle has it, or where nnU-Net has it."""
    inside = name.removeprefix("models/")
    if ".." in Path(name).parts or Path(inside).is_absolute():
        raise BundleInvalid(f"weights outside models/: {name}")
    for candidate in (source / name, source / inside):
        if candidate.is_file():
            return candidate
    raise BundleInvalid(f"{source.name}: {inside} absent")


def _first(folders: tuple[Path, ...], names: tuple[str, ...]) -> Path | None:
    """Return the first file that is there."""
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


def _licence(home: Path, source: Path) -> Path:
    found = _first((home, source), LICENCE_NAMES)
    if found is None:
        raise BundleInvalid(
            f"{source.name}: {LICENCE} absent; put the text of the weights' licence there"
        )
    return found


def _example() -> Path:
    """Return the manifest of ours that is nearest to a foreign model."""
    names = ("brats-mri-segmentation", "ca-cnn-brats17")
    places = (folder / name / METADATA for name in names for folder in TEMPLATE_FOLDERS)
    return next((path for path in places if path.is_file()), Path("models") / names[-1] / METADATA)


def _inference(manifest: Manifest) -> bytes:
    """Write what MONAI's own tools need: the same for all bundles of ours but the roles."""
    template = next(
        folder / "ca-cnn-brats17" / INFERENCE
        for folder in TEMPLATE_FOLDERS
        if locate(folder, f"ca-cnn-brats17/{INFERENCE}")
    )
    content = json.loads(template.read_text(encoding="utf-8"))
    content["roles"] = [str(role) for role in manifest.roles]
    return (json.dumps(content, indent=2) + "\n").encode()


def _card(manifest: Manifest, came_from: str) -> bytes:
    """Write a card for a model that brings none, of what its manifest says."""
    return (
        f"# {manifest.name} {manifest.version}\n\n"
        f"**{manifest.research_text}**\n\n{manifest.description}\n\n"
        f"- Intended use: {manifest.intended_use}\n- Algorithm: {manifest.algorithm}\n"
        f"- Licence of the weights: {manifest.licence}\n"
        f"- Roles, in the order of the channels: {', '.join(manifest.roles)}\n\n"
        f"Made by `segnode models import --manifest` of the folder {came_from}.\n"
    ).encode()
