"""The list of the published CA-CNN weights, against the arrays that were made of them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from node.segmentation.bundle import check_manifest
from node.segmentation.checkpoint_tf import read_checkpoint
from node.segmentation.published import to_safetensors
from node.segmentation.upstream import Conversion, find_offer
from tests.support.shared import shared_path
from tests.support.tf_checkpoint import write_checkpoint

pytestmark = pytest.mark.system

OFFER = find_offer("ca-cnn-brats17", (Path(__file__).parents[2] / "models",))


@pytest.mark.parametrize("conversion", OFFER.upstream.conversions, ids=lambda c: c.becomes[7:12])
def test_a_checkpoint_of_the_published_arrays_becomes_the_published_file(
    conversion: Conversion, tmp_path: Path
) -> None:
    """The real checkpoints are not at hand here: one is written, with a trainer's remains."""
    arrays = load_file(shared_path("data/weights/ca-cnn-brats17") / conversion.becomes[7:])
    remains = {
        f"{name}{suffix}": np.zeros(3, dtype=np.float32)
        for name in list(arrays)[:9]
        for suffix in ("/Adam", "/Adam_1", "/moving_mean/biased")
    }
    write_checkpoint(tmp_path / "net.ckpt", {**arrays, **remains, "beta1_power": np.ones(())})
    found = read_checkpoint(
        tmp_path / "net.ckpt", lambda name: name.rpartition("/")[2] in conversion.keep
    )
    made = hashlib.sha256(to_safetensors(found, conversion.metadata)).hexdigest()
    assert made == check_manifest(OFFER.folder).weights[conversion.becomes]
