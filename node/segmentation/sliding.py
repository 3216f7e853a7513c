"""Patches over an image: how much memory one needs, how many there are, and running them.

Used by the engines whose networks are not our own.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from node.domain.errors import BundleInvalid
from node.segmentation.effort import Effort

Sizes = tuple[int, ...]

WORKSPACE: Final = 1.25
"""What libraries take for themselves while a convolution runs, as a factor."""

ALWAYS_BYTES: Final = 100_000_000
"""What they take however small the patch is.

Measured with PyTorch 2.13 on a CPU in patches of 96 and 128 voxels a side: SegResNet, DynUNet,
UNet, BasicUNet, AttentionUnet, SwinUNETR and PlainConvUNet took between 0.95 of what is counted
and 1.1 of it plus 90 MB.
"""

MOST_AT_ONCE: Final = 8
"""Patches that go through a network together on a GPU; more do not make it faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How an image is cut. roi: of a patch. overlap: of neighbours, as a share of roi.

    at_once: how many patches go through the network together.
    """

    roi: Sizes
    overlap: float
    blend: Literal["gaussian", "constant"]
    at_once: int

    def count(self, shape: Sequence[int]) -> int:
        """Return how many patches an image of this shape has."""
        number = 1
        for size, patch in zip(shape, self.roi, strict=True):
            step = max(int(patch * (1 - self.overlap)), 1)
            number *= 1 if size <= patch else math.ceil((size - patch) / step) + 1
        return number


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: Any = WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._sizes[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result


def forward_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Return about how many bytes a forward pass needs for an input of this shape.

    Without the weights, and without computing anything: a copy of the network is run on
    tensors that have a shape and no content. Half precision is counted as single.
    """
    hollow = copy.deepcopy(network).to("meta")
    counter = _Living()
    with torch.no_grad(), counter:
        hollow(torch.empty(tuple(shape), device="meta"))
    return int(counter.peak * WORKSPACE) + ALWAYS_BYTES


def fitting_roi(roi: Sizes, smallest: Sizes, multiple: int, most_voxels: float) -> Sizes:
    """Shrink the longest sides until a patch has at most so many voxels.

    All sides stay multiples of multiple, which roi and smallest are. Raises MemoryError when
    smallest has more.
    """
    sides = list(roi)
    while math.prod(sides) > most_voxels:
        free = [axis for axis in range(len(sides)) if sides[axis] > smallest[axis]]
        if not free:
            raise MemoryError(f"even a patch of {tuple(smallest)} voxels does not fit")
        sides[max(free, key=sides.__getitem__)] -= multiple
    return tuple(sides)


def slide(
    network: nn.Module,
    image: Tensor,
    windows: Windows,
    effort: Effort,
    on_window: Callable[[], None],
) -> Tensor:
    """Return the network's values (channel, ...), float32 on the CPU, for image (channel, ...).

    The network must be on the effort's device. on_window: told of each patch that went through.
    Raises BundleInvalid when the network's patches have another size than those it is given.
    """
    from monai.inferers.utils import sliding_window_inference  # noqa: PLC0415 - three seconds

    kind = torch.device(effort.device).type
    half = torch.float16 if kind == "cuda" else torch.bfloat16

    def see(patches: Tensor) -> Tensor:
        with torch.autocast(kind, dtype=half, enabled=effort.half):
            seen = network(patches)
        for _ in patches:
            on_window()
        values: Tensor = seen[0] if isinstance(seen, tuple | list) else seen
        if values.shape[2:] != patches.shape[2:]:
            raise BundleInvalid(
                f"the network gives {tuple(values.shape[2:])} voxels for a patch of "
                f"{tuple(patches.shape[2:])}: engine_options.divisible_by does not suit it"
            )
        return values.float()

    with torch.inference_mode(), memory_errors():
        values: Tensor = sliding_window_inference(
            image[None],
            windows.roi,
            windows.at_once,
            see,
            overlap=windows.overlap,
            mode=windows.blend,
            sw_device=effort.device,
            device="cpu",
        )
        return values[0]


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError where PyTorch's CPU allocator tells of it in words only."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "allocate memory" in str(error) or "Seems to be OOM" in str(error):
            raise MemoryError(str(error).splitlines()[0]) from error
        raise


@contextlib.contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """Let PyTorch use so many threads for each operation, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
