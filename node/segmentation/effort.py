"""How much of the machine an engine may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What one run of an engine may use.

    device: "cpu" or "cuda:N". threads: CPU threads. memory_bytes: for the activations and
    buffers of a forward pass; engines choose the size of their tiles from it. half: whether
    bfloat16 (CPUs that compute in it) or half precision (GPU) is to be used.
    """

    device: str
    threads: int
    memory_bytes: int
    half: bool = False
