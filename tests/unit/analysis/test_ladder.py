"""Efforts are tried from the best down, and what failed is told."""

from collections.abc import Callable

import pytest

from node.analysis.ladder import descend
from node.domain.errors import BrainNotFound, DeviceFailed, OutOfMemory
from node.segmentation.effort import Effort

LADDER = tuple(
    Effort(device=device, threads=2, memory_bytes=size)
    for device, size in (("cuda:0", 8 << 30), ("cuda:0", 2 << 30), ("cpu", 1 << 30))
)


def needs(size: int, device: str = "") -> Callable[[Effort], str]:
    def attempt(effort: Effort) -> str:
        if effort.memory_bytes > size or device not in effort.device:
            raise OutOfMemory("too large a tile")
        return effort.device

    return attempt


def test_the_first_that_fits_is_taken_and_the_others_are_named() -> None:
    found = descend(LADDER, needs(4 << 30))
    assert found.result == "cuda:0"
    assert found.effort is LADDER[1]
    assert len(found.failed) == 1
    assert "8.0 GiB" in found.failed[0]


def test_the_cpu_is_the_last_resort() -> None:
    assert descend(LADDER, needs(8 << 30, "cpu")).effort is LADDER[2]


def test_when_nothing_fits_the_reason_says_what_was_tried() -> None:
    with pytest.raises(OutOfMemory, match=r"cuda:0.*cpu"):
        descend(LADDER, needs(1))


def test_a_gpu_that_cannot_be_used_is_not_asked_again() -> None:
    asked: list[str] = []

    def attempt(effort: Effort) -> str:
        asked.append(effort.device)
        if effort.device != "cpu":
            raise DeviceFailed("no kernel image")
        return effort.device

    found = descend(LADDER, attempt)
    assert asked == ["cuda:0", "cpu"]
    assert found.effort is LADDER[2]
    assert "no kernel image" in found.failed[0]


def test_other_errors_end_it_at_once() -> None:
    def attempt(effort: Effort) -> None:
        raise BrainNotFound(effort.device)

    with pytest.raises(BrainNotFound, match="cuda:0"):
        descend(LADDER, attempt)
