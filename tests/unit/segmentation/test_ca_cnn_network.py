"""One network of the cascade against the same network written plainly."""

import pytest
import torch

from node.segmentation import ca_cnn_network
from node.segmentation.ca_cnn_network import AnisotropicNetwork, NetworkType, Workspace
from node.segmentation.crew import Alone, Crew, runner_for
from tests.unit.segmentation.ca_cnn_reference import PlainNetwork, random_weights

TOLERANCE = 2e-4


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("shape", [(1, 11, 16, 20, 4), (3, 9, 12, 8, 4)])
def test_the_fast_network_gives_the_logits_of_the_plain_one(
    kind: NetworkType, shape: tuple[int, ...]
) -> None:
    weights, slabs = random_weights(kind), noise(*shape)
    expected = PlainNetwork(weights, kind)(slabs)
    with Crew(2) as crew:
        logits = AnisotropicNetwork(weights, kind, crew=crew)(slabs)
    assert logits.shape == (shape[0], shape[1] - 8, shape[2], shape[3], 2)
    assert torch.allclose(logits, expected, atol=TOLERANCE)


def test_the_size_of_the_pieces_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, slabs = random_weights("A"), noise(2, 12, 16, 16, 4)
    with Crew(2) as crew:
        whole = AnisotropicNetwork(weights, "A", crew=crew)(slabs)
        monkeypatch.setattr(ca_cnn_network, "PIECE_BYTES", 1)
        in_pieces = AnisotropicNetwork(weights, "A", crew=crew)(slabs)
    assert torch.allclose(whole, in_pieces, atol=TOLERANCE)


def test_the_number_of_threads_does_not_change_one_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca_cnn_network, "PIECE_BYTES", 40_000)
    weights, slabs = random_weights("B"), noise(1, 14, 16, 16, 4)
    results = []
    for threads in (1, 3):
        with Crew(threads) as crew:
            results.append(AnisotropicNetwork(weights, "B", crew=crew)(slabs))
    assert torch.equal(*results)


def test_networks_that_share_buffers_do_not_disturb_each_other() -> None:
    first, second = random_weights("A", 0), random_weights("B", 1)
    slabs = noise(1, 10, 16, 16, 4)
    with Crew(2) as crew:
        alone = AnisotropicNetwork(first, "A", crew=crew)(slabs)
        shared = Workspace()
        one = AnisotropicNetwork(first, "A", crew=crew, workspace=shared)
        two = AnisotropicNetwork(second, "B", crew=crew, workspace=shared)
        two(noise(1, 20, 24, 24, 4))
        kept = one(slabs)
        two(noise(1, 9, 8, 8, 4))
    assert torch.equal(kept, alone)


def test_the_input_is_not_changed() -> None:
    slabs = noise(1, 9, 8, 8, 4)
    before = slabs.clone()
    with Crew(1) as crew:
        AnisotropicNetwork(random_weights("A"), "A", crew=crew)(slabs)
    assert torch.equal(slabs, before)


def test_a_missing_array_is_named() -> None:
    weights = random_weights("A")
    del weights["fuse4_bn_prelu/conv_/w"]
    with Crew(1) as crew, pytest.raises(KeyError, match="fuse4"):
        AnisotropicNetwork(weights, "A", crew=crew)(noise(1, 9, 8, 8, 4))


def test_a_crew_leaves_the_callers_own_threads_alone() -> None:
    before = torch.get_num_threads()
    with Crew(2) as crew:
        assert crew.run(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_without_a_crew_the_logits_are_the_same_in_pieces_of_a_gpus_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ca_cnn_network, "PIECE_BYTES", ca_cnn_network.DEVICE_PIECE_BYTES)
    weights, slabs = random_weights("A"), noise(1, 12, 16, 16, 4)
    with runner_for("cuda:0", 2) as runner:
        assert isinstance(runner, Alone)
        logits = AnisotropicNetwork(weights, "A", crew=runner)(slabs)
    assert torch.allclose(logits, PlainNetwork(weights, "A")(slabs), atol=TOLERANCE)


def test_a_cpu_gets_the_threads_it_is_granted() -> None:
    with runner_for("cpu", 3) as runner:
        assert isinstance(runner, Crew)
        assert runner.threads == 3


def test_in_bfloat16_statistics_are_still_float32() -> None:
    weights, slabs = random_weights("A"), noise(1, 12, 16, 16, 4)
    statistics = []
    for dtype in (torch.float32, torch.bfloat16):
        with Crew(1) as crew:
            network = AnisotropicNetwork(weights, "A", crew=crew, workspace=Workspace(dtype=dtype))
            network(slabs)
        statistics.append(network.statistics)
    name = "block2_1/bn_0/variance"
    assert statistics[1][name].dtype == torch.float32
    assert torch.allclose(statistics[0][name], statistics[1][name], rtol=0.02)
