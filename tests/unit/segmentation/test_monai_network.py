"""Building a network of MONAI from a manifest's words, and reading its weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from node.domain.errors import BundleInvalid
from node.segmentation.monai_engine import MonaiEngine
from node.segmentation.monai_network import build_network
from tests.unit.segmentation.monai_networks import random_state, tiny


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"channels": [4, 8], "strides": [2], "speed": 3}, "no argument speed"),
        ({"channels": [4, 8]}, "cannot be built"),
        ({"channels": [4], "strides": [2]}, "cannot be built"),
    ],
)
def test_arguments_that_the_network_does_not_take_are_refused(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleInvalid, match=words):
        build_network(tiny(network_arguments=arguments), 4)


def spoilt(state: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(iter(state))
    return {**state, name: torch.full_like(state[name], float("nan"))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: dict(list(s.items())[1:]), "1 arrays absent"),
        (lambda s: {**s, "extra": torch.zeros(1)}, "1 unknown, as extra"),
        (lambda s: {k: torch.zeros(3, *v.shape) for k, v in s.items()}, "is not of this network"),
        (spoilt, "no numbers"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(change(random_state(tiny())), path)
    with pytest.raises(BundleInvalid, match=words):
        MonaiEngine(path, 4, {}, tiny())


@pytest.mark.parametrize(
    ("packed", "state_key"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict": s, "epoch": 3}, ""),
        (lambda s: {"model": s}, ""),
        (lambda s: {"best": s, "model": {}}, "best"),
        (lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, ""),
    ],
)
def test_a_state_dict_is_found_where_training_programs_leave_it(
    tmp_path: Path, packed: Callable[[dict[str, Tensor]], object], state_key: str
) -> None:
    path = tmp_path / "model.pt"
    torch.save(packed(random_state(tiny())), path)
    MonaiEngine(path, 4, {}, tiny(weights="models/model.pt", state_key=state_key))


class Harmful:
    """Would leave a mark when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    torch.save({"state_dict": random_state(tiny()), "more": Harmful(mark)}, path)
    with pytest.raises(BundleInvalid, match="code is not run"):
        MonaiEngine(path, 4, {}, tiny(weights="models/model.pt"))
    assert not mark.exists()


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    for name, stored in (("numbers.pt", [1, 2]), ("empty.pt", {"state_dict": {}})):
        torch.save(stored, tmp_path / name)
        with pytest.raises(BundleInvalid, match="no state dict"):
            MonaiEngine(tmp_path / name, 4, {}, tiny())
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("weights")
        with pytest.raises(BundleInvalid, match=name):
            MonaiEngine(tmp_path / name, 4, {}, tiny())


@pytest.mark.parametrize("error", [IndexError, TypeError, AttributeError])
def test_every_way_in_which_a_pickle_can_be_damaged_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(torch, "load", failing(error("pop from empty list")))
    with pytest.raises(BundleInvalid, match=r"model\.pt cannot be read"):
        MonaiEngine(tmp_path / "model.pt", 4, {}, tiny())


@pytest.mark.parametrize("place", ["torch.load", "monai.networks.nets.UNet"])
def test_a_lack_of_memory_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    error = torch.OutOfMemoryError("out of memory")
    monkeypatch.setattr(place, failing(error))
    options = tiny(network_arguments={}) if place.endswith("UNet") else tiny()
    with pytest.raises(torch.OutOfMemoryError):
        MonaiEngine(tmp_path / "model.pt", 4, {}, options)


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
