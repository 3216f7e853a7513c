"""A network with fixed statistics against the same network that measures them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from node.segmentation.ca_cnn_fixed import FixedNetwork
from node.segmentation.ca_cnn_network import AnisotropicNetwork, NetworkType
from node.segmentation.crew import Alone, Crew
from tests.unit.segmentation.ca_cnn_reference import random_weights


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small operations on one core: waiting for a second one costs more than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def slices_of(count: int, seed: int = 3) -> Tensor:
    return torch.randn((count, 12, 16, 4), generator=torch.Generator().manual_seed(seed))


def measured(kind: NetworkType, slices: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the statistics that slices have, and their logits."""
    network = AnisotropicNetwork(random_weights(kind), kind, crew=Alone())
    logits = network(slices[None])[0]
    return network.statistics, logits[..., 1] - logits[..., 0]


@pytest.mark.parametrize("kind", ["A", "B"])
def test_handed_the_statistics_of_a_view_it_gives_the_logits_of_that_view(
    kind: NetworkType,
) -> None:
    slices = slices_of(13)
    statistics, expected = measured(kind, slices)
    fixed = FixedNetwork(random_weights(kind), statistics, kind)
    assert torch.allclose(fixed(slices, Alone()), expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["A", "B"])
def test_bfloat16_stays_near(kind: NetworkType) -> None:
    slices = slices_of(13)
    statistics, expected = measured(kind, slices)
    fixed = FixedNetwork(random_weights(kind), statistics, kind, dtype=torch.bfloat16)
    logits = fixed(slices, Alone())
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().mean() < 0.06 * expected.std()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["A", "B"])
def test_a_slice_depends_on_its_eight_neighbours_only_and_on_no_thread(
    kind: NetworkType, dtype: torch.dtype
) -> None:
    slices = slices_of(20)
    statistics, _ = measured(kind, slices)
    fixed = FixedNetwork(random_weights(kind), statistics, kind, dtype=dtype)
    whole = fixed(slices, Alone())
    with Crew(3) as crew:
        for start, stop in ((0, 9), (5, 15), (3, 20)):
            assert torch.equal(fixed(slices[start:stop], crew), whole[start : stop - 8])


def test_statistics_that_lack_a_norm_are_named() -> None:
    statistics, _ = measured("A", slices_of(9))
    del statistics["fuse3_bn_prelu/bn_/mean"]
    with pytest.raises(KeyError, match="fuse3"):
        FixedNetwork(random_weights("A"), statistics, "A")
