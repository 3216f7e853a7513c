"""Small bundles whose weights are published elsewhere, for the tests of this room and of app."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.segmentation.options import CASCADE_WEIGHTS
from node.segmentation.published import to_safetensors
from node.segmentation.upstream import Offer, find_offers
from tests.support.tf_checkpoint import write_checkpoint
from tests.unit.segmentation.bundles import CASCADE, INTENSITY, a_bundle, change_manifest

LICENCE_TEXT = b"Do what you like.\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_template(folder: Path, base_url: str = "https://example.org/w/") -> Path:
    """Make a CA-CNN bundle without weights, with small published checkpoints beside it.

    The checkpoints lie in folder/published, as model17/net0.ckpt and so on.
    """
    template, published = a_bundle(folder / "models", CASCADE), folder / "published"
    files: list[dict[str, Any]] = []
    conversions, weights = [], {}
    for number, name in enumerate(CASCADE_WEIGHTS):
        arrays = some_arrays(number)
        prefix = published / "model17" / f"net{number}.ckpt"
        write_checkpoint(
            prefix, {**arrays, "net/w/Adam": np.ones(3), "net/moving_mean": np.ones(3)}
        )
        for suffix in (".index", ".data-00000-of-00001"):
            content = prefix.with_name(prefix.name + suffix).read_bytes()
            path = f"model17/{prefix.name}{suffix}"
            files.append({"path": path, "size": len(content), "checksum": sha256(content)})
        metadata = {"source": prefix.name}
        weights[f"models/{name}"] = sha256(to_safetensors(arrays, metadata))
        conversions.append(
            {
                "checkpoint": f"model17/{prefix.name}",
                "becomes": f"models/{name}",
                "keep": ["w", "beta"],
                "metadata": metadata,
            }
        )
    (published / "LICENSE.txt").write_bytes(LICENCE_TEXT)
    licence = {"path": "LICENSE.txt", "size": len(LICENCE_TEXT), "checksum": sha256(LICENCE_TEXT)}
    write_upstream(
        template,
        base_url=base_url,
        licence={"name": "MIT", "notice": "Free.", "file": "LICENSE.txt", "also": ["COPYING"]},
        files=[licence, *files],
        conversions=conversions,
    )
    change_manifest(template, lambda ours: ours.update(weights=weights))
    return template


def some_arrays(number: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(number)
    return {
        "net/beta": random.standard_normal(3).astype(np.float32),
        "net/w": random.standard_normal((1, 3, 3)).astype(np.float32),
    }


def write_upstream(folder: Path, **changes: Any) -> None:
    """Write the list of a folder."""
    content = {
        "name": folder.name,
        "source": "example.org",
        "base_url": "https://example.org/w/",
        "licence": {"name": "MIT", "notice": "Free."},
        **changes,
    }
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs/upstream.json").write_text(json.dumps(content))


def an_offer(folder: Path) -> Offer:
    """Return the only offer among the templates of a folder."""
    (offer,) = find_offers((folder / "models",)).values()
    return offer


def a_monai_bundle(folder: Path) -> Path:
    """Make a bundle of another house: MONAI's layout, without our key."""
    made = a_bundle(folder, INTENSITY)
    path = made / "configs/metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["segnode"]
    path.write_text(json.dumps(metadata))
    (made / "models").mkdir()
    (made / "models/model.pt").write_bytes(b"weights")
    return made
