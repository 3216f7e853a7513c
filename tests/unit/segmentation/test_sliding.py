"""Patches: how many, how large, and what they need."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from node.segmentation.effort import Effort
from node.segmentation.sliding import (
    Windows,
    fitting_roi,
    forward_bytes,
    memory_errors,
    on_threads,
    slide,
)
from tests.unit.segmentation.bundles import EFFORT


class Smooth(nn.Module):
    """A network whose value at a voxel does not depend on the patch that it lies in."""

    def forward(self, patch: Tensor) -> Tensor:
        return torch.cat([patch[:, :1] * 2, patch[:, 1:2] + 1], dim=1)


@pytest.mark.parametrize("shape", [(8, 9, 10), (20, 9, 33), (17, 32, 16)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_the_patches_are_counted_as_they_come(shape: tuple[int, ...], overlap: float) -> None:
    for at_once in (1, 3):
        windows = Windows(roi=(8, 16, 8), overlap=overlap, blend="constant", at_once=at_once)
        told = itertools.count()
        slide(Smooth(), torch.rand(2, *shape), windows, EFFORT, partial(next, told))
        assert next(told) == windows.count(shape)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_patches_join_without_seams_and_without_the_padding(blend: str) -> None:
    windows = Windows(
        roi=(8, 16, 8), overlap=0.5, blend="gaussian" if blend == "gaussian" else "constant",
        at_once=2,
    )  # fmt: skip
    image = torch.rand(2, 13, 9, 20)
    values = slide(Smooth(), image, windows, EFFORT, lambda: None)
    assert values.dtype == torch.float32
    assert torch.allclose(values[0], image[0] * 2, atol=1e-5)
    assert torch.allclose(values[1], image[1] + 1, atol=1e-5)


def test_half_precision_is_used_where_it_is_wanted() -> None:
    class Kind(nn.Module):
        def forward(self, patch: Tensor) -> Tensor:
            product = torch.matmul(patch, patch.transpose(-1, -2))
            return torch.full_like(patch, float(product.dtype == torch.bfloat16))

    windows = Windows(roi=(4, 4, 4), overlap=0.0, blend="constant", at_once=1)
    for half in (True, False):
        effort = Effort(device="cpu", threads=1, memory_bytes=10**9, half=half)
        values = slide(Kind(), torch.rand(1, 4, 4, 4), windows, effort, lambda: None)
        assert bool(values.all()) is half


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.integers(1, 40_000),
)
def test_a_patch_shrinks_to_what_fits_and_never_below_the_smallest(
    most: tuple[int, int, int], least: tuple[int, int, int], voxels: int
) -> None:
    roi = tuple(4 * max(pair) for pair in zip(most, least, strict=True))
    smallest = tuple(4 * side for side in least)
    if np.prod(smallest) > voxels:
        with pytest.raises(MemoryError, match="does not fit"):
            fitting_roi(roi, smallest, 4, voxels)
        return
    found = fitting_roi(roi, smallest, 4, voxels)
    assert np.prod(found) <= voxels
    assert all(a <= b <= c and b % 4 == 0 for a, b, c in zip(smallest, found, roi, strict=True))


def test_a_patch_that_fits_stays_as_it_is() -> None:
    assert fitting_roi((32, 16, 8), (8, 8, 8), 8, 32 * 16 * 8) == (32, 16, 8)


def test_the_memory_of_a_pass_is_what_lives_at_once() -> None:
    chain = nn.Sequential(*(nn.Conv3d(2, 2, 3, padding=1) for _ in range(5)))
    one = 2 * 40**3 * 4
    small, large = (forward_bytes(chain, (1, 2, n, n, n)) for n in (8, 40))
    # Input and output of one layer live at once, the rest has gone.
    assert 2 * one <= (large - small) / 1.25 <= 3.2 * one
    assert chain[0].weight.device.type == "cpu"


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with on_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_a_failed_allocation_is_a_memory_error_and_nothing_else_is() -> None:
    with pytest.raises(MemoryError), memory_errors():
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        torch.matmul(torch.rand(2, 3), torch.rand(2, 3))
