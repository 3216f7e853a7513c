"""Telling a lack of memory from other errors, without importing torch."""

from typing import Final

SAYINGS: Final = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""How torch's allocators say it in a RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on the CPU or on a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(saying in text for saying in SAYINGS)
