"""The package nnunetv2, and reading what a model folder holds without running any of it.

nnU-Net itself reads checkpoints as pickles and imports whatever the plans name, so that either
could run anything. Here checkpoints are read as weights only, and the plans may name only
networks and layers that are known.
"""

import contextlib
import io
import json
import logging
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.memory import is_out_of_memory

_LOG: Final = logging.getLogger(__name__)

NETWORKS: Final = frozenset({"PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet"})
"""Classes of dynamic_network_architectures that a plans file may name."""

NETWORK_HOMES: Final = "dynamic_network_architectures.architectures."
LAYER_HOMES: Final = "torch.nn."

JSON_BYTES: Final = 50_000_000
"""A larger dataset.json or plans.json is refused unread."""

DAMAGED: Final = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What torch raises over a file that is no whole checkpoint; also a lack of memory."""

_IMPORTING: Final = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is used of nnunetv2, under its own names."""

    nnUNetPredictor: Callable[..., Any]  # noqa: N815 - the names are nnU-Net's
    PlansManager: Callable[..., Any]
    get_network_from_plans: Callable[..., Any]
    convert_logits: Callable[..., Any]
    compute_steps_for_sliding_window: Callable[..., Any]


def import_package() -> Package:
    """Import nnunetv2, without what it prints; raises BundleMissing when it is absent.

    It prints at import and while it works (about its environment variables, mostly). What it
    prints later goes to the log; errors are raised and come through.
    """
    with _IMPORTING, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            predict = import_module("nnunetv2.inference.predict_from_raw_data")
            plans = import_module("nnunetv2.utilities.plans_handling.plans_handler")
            labels = import_module("nnunetv2.utilities.label_handling.label_handling")
            network = import_module("nnunetv2.utilities.get_network_from_plans")
            export = import_module("nnunetv2.inference.export_prediction")
            windows = import_module("nnunetv2.inference.sliding_window_prediction")
        except ImportError as error:
            raise BundleMissing(
                "the package nnunetv2 is absent; install it with: pip install 'segnode[nnunet]'"
            ) from error
    for module in (predict, plans, labels, network, export):
        vars(module)["print"] = _to_log
    return Package(
        nnUNetPredictor=predict.nnUNetPredictor,
        PlansManager=plans.PlansManager,
        get_network_from_plans=network.get_network_from_plans,
        convert_logits=export.convert_predicted_logits_to_segmentation_with_correct_shape,
        compute_steps_for_sliding_window=windows.compute_steps_for_sliding_window,
    )


def _to_log(*words: object, **_: object) -> None:
    """Take what nnU-Net would print."""
    _LOG.debug("nnU-Net: %s", " ".join(str(word) for word in words))


def read_json(path: Path) -> dict[str, Any]:
    """Read dataset.json or plans.json."""
    try:
        if path.stat().st_size > JSON_BYTES:
            raise BundleInvalid(f"{path.name} is too large")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleInvalid(f"{path.name} cannot be read") from error
    if not isinstance(value, dict):
        raise BundleInvalid(f"{path.name} is not what nnU-Net writes")
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything that is in it."""
    place = f"{path.parent.name}/{path.name}"
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleInvalid(f"{place} cannot be read") from error
    except DAMAGED as error:
        if is_out_of_memory(error):
            raise
        raise BundleInvalid(
            f"{place} is damaged, or holds more than weights and numbers"
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("network_weights"), Mapping):
        raise BundleInvalid(f"{place} is no checkpoint of nnU-Net v2")
    return value


def _numpy_scalars() -> list[Any]:
    """Return what nnU-Net's own record of its training needs: NumPy numbers, nothing else."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]  # noqa: SLF001
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [
        (scalar, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote it
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]


def check_names(bundle: str, network: str, layers: Sequence[object]) -> None:
    """Raise BundleInvalid for a network or layer that the plans name and that is not known.

    bundle: what to call it in the error. layers: None among them is one that is left out.
    """
    known = network.startswith(NETWORK_HOMES) and network.rpartition(".")[2] in NETWORKS
    if not known:
        raise BundleInvalid(f"{bundle}: the plans name the network {network}, which is not known")
    for layer in layers:
        if layer is None:
            continue
        kind = getattr(torch.nn, str(layer).rpartition(".")[2], None)
        is_layer = isinstance(kind, type) and issubclass(kind, torch.nn.Module)
        if not str(layer).startswith(LAYER_HOMES) or not is_layer:
            raise BundleInvalid(f"{bundle}: the plans name the layer {layer}, which is not known")


@contextlib.contextmanager
def as_invalid(what: str) -> Iterator[None]:
    """Raise BundleInvalid for what nnU-Net raises over files that do not fit together.

    A lack of memory stays what it is.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise BundleInvalid(f"{what} cannot be used: {type(error).__name__}") from error
    except (RuntimeError, ImportError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise BundleInvalid(f"{what} cannot be used: {type(error).__name__}") from error
