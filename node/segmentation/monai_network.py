"""Building a network of MONAI from a manifest's words, and reading its weights."""

import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.memory import is_out_of_memory
from node.segmentation.network_options import MonaiOptions

STATE_KEYS: Final = ("state_dict", "model", "network", "net", "model_state_dict")
"""Under which keys training programs are used to store a network's weights."""

PARALLEL: Final = "module."
"""What DataParallel puts before every name."""


def build_network(options: MonaiOptions, in_channels: int) -> nn.Module:
    """Build the network of the manifest, without weights, for inference.

    Raises BundleMissing without MONAI, BundleInvalid when the arguments are not those of the
    network.
    """
    try:
        from monai.networks import nets  # noqa: PLC0415 - three seconds
    except ImportError as error:
        raise BundleMissing("the package monai is absent; install segnode again") from error
    kind = getattr(nets, options.network)
    given = {
        "spatial_dims": 3,
        "in_channels": in_channels,
        "out_channels": options.out_channels,
    }
    known = inspect.signature(kind).parameters
    strange = sorted(set(options.network_arguments) - set(known))
    if strange:
        raise BundleInvalid(f"network {options.network} has no argument {strange[0]}")
    arguments = {name: value for name, value in given.items() if name in known}
    try:
        network: nn.Module = kind(**{**arguments, **options.network_arguments})
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleInvalid(f"network {options.network} cannot be built: {words}") from error
    return network.eval()


def read_weights(path: Path, state_key: str) -> dict[str, Tensor]:
    """Read a state dict, running nothing that is in the file; raises BundleInvalid.

    state_key: where in the file it lies; "" for the file itself or one of STATE_KEYS.
    """
    stored = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    found = _state(stored, state_key)
    if found is None:
        raise BundleInvalid(f"{path.name}: no state dict is in it")
    if found and all(name.startswith(PARALLEL) for name in found):
        return {name.removeprefix(PARALLEL): value for name, value in found.items()}
    return dict(found)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Put weights into network; raises BundleInvalid saying what does not fit.

    name: of the file.
    """
    wanted = network.state_dict()
    absent = sorted(_untold(wanted, weights))
    strange = sorted(set(weights) - set(wanted))
    if absent or strange:
        raise BundleInvalid(
            f"{name} is not of this network: {len(absent)} arrays absent, {len(strange)} unknown, "
            f"as {(absent or strange)[0]}"
        )
    for key, value in weights.items():
        if value.shape != wanted[key].shape:
            raise BundleInvalid(
                f"{name} is not of this network: {key} is {tuple(value.shape)}, "
                f"not {tuple(wanted[key].shape)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BundleInvalid(f"{name}: {key} holds values that are no numbers")
    network.load_state_dict(dict(weights), strict=False)  # names were compared above


def _untold(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> set[str]:
    """Return names that weights lack, also under the other names of the same array.

    DynUNet has two names for every array, of which safetensors stores one.
    """
    told = {wanted[name].data_ptr() for name in weights if name in wanted}
    absent = set(wanted) - set(weights)
    return {
        name for name in absent if not wanted[name].numel() or wanted[name].data_ptr() not in told
    }


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        arrays: Mapping[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleInvalid(f"{path.name} cannot be read as safetensors") from error
    return arrays


def _torch(path: Path) -> Any:
    """Read what torch.save wrote, weights and numbers only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BundleInvalid(f"{path.name} cannot be read") from error
    except (pickle.UnpicklingError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise BundleInvalid(
            f"{path.name} is damaged, or holds more than weights (code is not run)"
        ) from error


def _state(stored: Any, state_key: str) -> Mapping[str, Tensor] | None:
    """Find the state dict in what a file holds."""
    if not isinstance(stored, Mapping):
        return None
    if state_key:
        places = [stored.get(state_key)]
    else:
        places = [stored, *(stored.get(key) for key in STATE_KEYS)]
    for place in places:
        if not isinstance(place, Mapping) or not place:
            continue
        if all(isinstance(value, Tensor) for value in place.values()):
            return place
    return None
