"""From the best effort down, until the memory suffices; what was tried is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from node.domain.errors import DeviceFailed, OutOfMemory
from node.segmentation.effort import Effort
from node.segmentation.machine import describe

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent(Generic[R]):
    """What came of it. effort: with which it worked. failed: those that did not, in words."""

    result: R
    effort: Effort
    failed: tuple[str, ...] = ()


def descend(ladder: Sequence[Effort], attempt: Callable[[Effort], R]) -> Descent[R]:
    """Return the result of the first effort for which there is memory and a device that works.

    Raises OutOfMemory when there is none; other errors of an attempt pass.
    """
    failed: list[str] = []
    broken: set[str] = set()
    for effort in ladder:
        if effort.device in broken:
            continue
        try:
            return Descent(result=attempt(effort), effort=effort, failed=tuple(failed))
        except (OutOfMemory, DeviceFailed) as error:
            failed.append(f"{describe(effort)}: {error.what}")
            if isinstance(error, DeviceFailed):
                broken.add(effort.device)
    raise OutOfMemory(f"no effort fits into memory; tried {'; '.join(failed) or 'none'}")
