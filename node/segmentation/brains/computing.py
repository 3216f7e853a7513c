"""What all networks for brains share: one head at a time, threads, and a lack of memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from node.domain.errors import OutOfMemory
from node.segmentation.effort import Effort
from node.segmentation.memory import is_out_of_memory

_ONE_AT_A_TIME: Final = threading.Lock()


@contextmanager
def computing(effort: Effort, method: str) -> Iterator[None]:
    """Let one head at a time use the effort's threads, without gradients. Raises OutOfMemory."""
    import torch  # noqa: PLC0415 - heavy

    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(effort.threads)
        try:
            with torch.inference_mode():
                yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"{method} did not fit into memory.") from error
            raise
        finally:
            torch.set_num_threads(before)
