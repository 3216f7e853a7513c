"""A view in its frame of noise, whole or in tiles."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from node.segmentation.ca_cnn_network import NetworkType, Workspace
from node.segmentation.ca_cnn_view import Bench, Image, framed, in_tiles, target_logits, whole_bytes
from node.segmentation.crew import Alone
from tests.unit.segmentation.ca_cnn_reference import PlainNetwork, random_weights


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small operations on one core: waiting for a second one costs more than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("plane", [(7, 9), (8, 8), (13, 30)])
def test_a_plane_lies_in_the_middle_of_noise(plane: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(0, 1, (4, 3, *plane)).astype(np.float32)
    padded, (rows, columns) = framed(image, (12, 16), np.random.default_rng(0))
    assert padded.shape[0] == 11
    assert padded.shape[1] % 4 == padded.shape[2] % 4 == 0
    assert padded.shape[1] >= max(plane[0], 12)
    assert padded.shape[2] >= max(plane[1], 16)
    assert np.array_equal(np.moveaxis(padded[4:-4, rows, columns], -1, 0), image)
    assert abs(rows.start - (padded.shape[1] - rows.stop)) <= 1
    padded[4:-4, rows, columns] = 0
    assert np.count_nonzero(padded) == padded.size - image.size


def a_view(slices: int) -> Image:
    return np.random.default_rng(2).normal(0, 1, (slices, 8, 12, 4)).astype(np.float32)


def a_bench(memory_bytes: int, dtype: torch.dtype = torch.float32) -> Bench:
    return Bench(runner=Alone(), workspace=Workspace(dtype=dtype), memory_bytes=memory_bytes)


@pytest.mark.parametrize("kind", ["A", "B"])
def test_with_enough_memory_a_view_has_its_own_statistics(kind: NetworkType) -> None:
    weights, view = random_weights(kind), a_view(70)
    enough = whole_bytes(view.shape, kind, torch.float32)
    logits = target_logits(weights, kind, view, a_bench(enough))
    plain = PlainNetwork(weights, kind)(torch.from_numpy(view[None]))[0].numpy()
    assert np.allclose(logits, plain[..., 1] - plain[..., 0], atol=5e-4)


@pytest.mark.parametrize("kind", ["A", "B"])
def test_with_less_memory_a_sample_of_the_view_stands_for_all_of_it(kind: NetworkType) -> None:
    weights, view = random_weights(kind), a_view(70)
    whole = target_logits(weights, kind, view, a_bench(2**30))
    tiled = target_logits(weights, kind, view, a_bench(2**20))
    assert tiled.shape == whole.shape
    assert not np.array_equal(tiled, whole)
    assert np.corrcoef(tiled.ravel(), whole.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_memory_below_that_does_not_change_one_bit(dtype: torch.dtype) -> None:
    weights, view = random_weights("A"), a_view(75)
    results = [
        target_logits(weights, "A", view, a_bench(memory * dtype.itemsize, dtype))
        for memory in (2**17, 2**18)
    ]
    assert np.array_equal(results[0], results[1])


def test_a_short_view_is_never_cut() -> None:
    weights, view = random_weights("A"), a_view(30)
    whole = target_logits(weights, "A", view, a_bench(2**30))
    assert np.array_equal(target_logits(weights, "A", view, a_bench(0)), whole)


@pytest.mark.parametrize("depth", [1, 4, 5, 12, 100])
def test_tiles_join_without_a_gap(depth: int) -> None:
    slices = torch.arange(20.0)[:, None]
    sizes = []

    def network(tile: torch.Tensor) -> torch.Tensor:
        sizes.append(tile.shape[0] - 8)
        return tile[4:-4]

    assert torch.equal(in_tiles(network, slices, depth), slices[4:-4])
    assert max(sizes) <= depth
