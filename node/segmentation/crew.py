"""Worker threads for piecewise tensor work, each computing on one core.

PyTorch splits every single operation over the cores and waits for the slowest; on a machine
that also receives studies each of the thousands of waits can cost a scheduler's time slice
(measured: ten times slower with two other busy processes). Here whole pieces are given to
threads instead. The result then does not depend on the number of cores either.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from types import TracebackType
from typing import Protocol, Self, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


class Runner(Protocol):
    """Has pieces of work computed, by one thread or by many."""

    def run(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return work(item) for each item, in the order of the items."""
        ...


class Alone:
    """The caller's own thread: what a GPU needs, which is many workers itself."""

    def run(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return work(item) for each item, in the order of the items."""
        with torch.inference_mode():
            return [work(item) for item in items]


class Crew:
    """A pool of single-core threads; use as a context manager.

    threads: how many; by default one for each core that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="segment")
        self._take_one_core_each()

    def _take_one_core_each(self) -> None:
        """Limit each pool thread to one core, and leave the caller's own limit as it was.

        PyTorch keeps the limit for each thread and sets it from a common default at the
        thread's first use, so that has to be over before ours is set; and setting ours also
        changes the default, so that is set back at the end.
        """
        before = torch.get_num_threads()
        met = Barrier(self.threads)

        def limit(_: int) -> None:
            torch.get_num_threads()
            torch.set_num_threads(1)
            met.wait()

        list(self._pool.map(limit, range(self.threads)))
        torch.set_num_threads(before)

    def run(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Return work(item) for each item, in the order of the items."""

        def infer(item: T) -> R:
            with torch.inference_mode():
                return work(item)

        return list(self._pool.map(infer, items))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def runner_for(device: str, threads: int) -> Iterator[Runner]:
    """Give a crew of threads for the CPU, and nobody else for a GPU."""
    if device != "cpu":
        yield Alone()
        return
    with Crew(threads) as crew:
        yield crew
