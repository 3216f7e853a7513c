"""What this machine has, and what engines may use of it; without trial runs.

Containers are asked as well: what a control group allows may be less than what the machine has.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import psutil

from node.segmentation.effort import Effort

GIB: Final = 1024**3

SHARE_OF_GPU: Final = 0.8
"""Of the free memory of a GPU; the rest is for the weights and for what fragments."""

LEAST_GPU_BYTES: Final = 3 * GIB
"""A GPU with less free memory is left alone."""

SHARE_OF_RAM: Final = 0.4
"""Of the free memory: images and labels of the study lie there as well."""

MOST_CPU_BYTES: Final = 4 * GIB
"""Larger tiles gain nothing on a CPU."""

LEAST_CPU_BYTES: Final = 256 * 1024**2
"""Below it tiles are so small that their borders are most of the work."""

STEP_DOWN: Final = 4
"""How much smaller the next attempt's memory is when there was too little."""

BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""Processors with one of these compute in bfloat16 rather than imitate it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU that CUDA can use, by its number there. free_bytes, total_bytes: of its memory."""

    index: int
    name: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What may be used now. cores: of this process; free_ram_bytes: before anything swaps.

    bf16: whether the processor computes in bfloat16.
    """

    cores: int
    free_ram_bytes: int
    total_ram_bytes: int
    bf16: bool = False
    gpus: tuple[Gpu, ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        parts = [
            f"{self.cores} cores{' with bfloat16' if self.bf16 else ''}",
            f"{_gib(self.free_ram_bytes)} of {_gib(self.total_ram_bytes)} memory free",
            *(f"{g.name}, {_gib(g.free_bytes)} of {_gib(g.total_bytes)} free" for g in self.gpus),
        ]
        return "; ".join(parts if self.gpus else [*parts, "no GPU"])


def measure_machine(threads: int = 0) -> Machine:
    """Look at the machine. threads: how many the administrator allows; 0 for all cores."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    allowed = _group_memory(Path("/sys/fs/cgroup"))
    if allowed is not None:
        total, free = min(total, allowed[0]), min(free, allowed[1])
    cores = _cores(Path("/sys/fs/cgroup"))
    return Machine(
        cores=min(cores, threads) if threads else cores,
        free_ram_bytes=free,
        total_ram_bytes=total,
        bf16=bool(BF16_FLAGS & _processor_flags(Path("/proc/cpuinfo"))),
        gpus=_gpus(),
    )


def efforts(machine: Machine) -> tuple[Effort, ...]:
    """Return what to try, the best first: each GPU, then the CPU, each again with less memory.

    There is always one: the CPU with the least memory that makes sense.
    """
    ladder: list[Effort] = []
    for gpu in sorted(machine.gpus, key=lambda one: -one.free_bytes):
        if gpu.free_bytes >= LEAST_GPU_BYTES:
            memory = int(gpu.free_bytes * SHARE_OF_GPU)
            first = Effort(
                device=f"cuda:{gpu.index}", threads=machine.cores, memory_bytes=memory, half=True
            )
            ladder += [first, replace(first, memory_bytes=memory // STEP_DOWN)]
    memory = min(max(int(machine.free_ram_bytes * SHARE_OF_RAM), LEAST_CPU_BYTES), MOST_CPU_BYTES)
    while True:
        ladder.append(
            Effort(device="cpu", threads=machine.cores, memory_bytes=memory, half=machine.bf16)
        )
        if memory == LEAST_CPU_BYTES:
            return tuple(ladder)
        memory = max(memory // STEP_DOWN, LEAST_CPU_BYTES)


def describe(effort: Effort) -> str:
    """Say an effort in words, for the story of a study."""
    half = ", half precision" if effort.half else ""
    return f"{effort.device}, {effort.threads} threads, {_gib(effort.memory_bytes)}{half}"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"


def _cores(group: Path) -> int:
    """Cores that the scheduler and the control group allow this process, at least one."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return cores


def _group_memory(group: Path) -> tuple[int, int] | None:
    """Bytes that the control group allows, and those of them that are free; None without limit.

    Pages of files that were read count as used there, but are given back when wanted.
    """
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        statistics = dict(
            line.split() for line in (group / "memory.stat").read_text().splitlines() if line
        )
        idle = int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
    return limit, max(limit - used + idle, 0)


def _processor_flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines: Iterable[str] = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _gpus() -> tuple[Gpu, ...]:
    """Ask NVIDIA's library; none without a driver, or where torch was built without CUDA."""
    import pynvml  # noqa: PLC0415 - looks for the driver's library when it is used

    if "+cpu" in version("torch"):
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        visible = _visible(os.environ.get("CUDA_VISIBLE_DEVICES"), pynvml.nvmlDeviceGetCount())
        return tuple(_gpu(pynvml, index, number) for index, number in enumerate(visible))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _visible(chosen: str | None, count: int) -> tuple[int, ...]:
    """Return which of `count` devices CUDA shows, in CUDA's order.

    chosen: CUDA_VISIBLE_DEVICES, numbers with commas; what follows an unknown one is hidden,
    as CUDA does it. Names of devices are not understood, and hide all.
    """
    if chosen is None:
        return tuple(range(count))
    numbers = takewhile(
        lambda number: number.isdecimal() and int(number) < count,
        (part.strip() for part in chosen.split(",")),
    )
    return tuple(int(number) for number in numbers)


def _gpu(nvml: Any, index: int, number: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return Gpu(index=index, name=str(name), free_bytes=memory.free, total_bytes=memory.total)
