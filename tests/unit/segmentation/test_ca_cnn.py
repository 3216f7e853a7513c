"""The cascade around the networks: views, boxes, clean-up, fusion."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from node.domain.errors import BundleInvalid
from node.domain.regions import Region
from node.segmentation import ca_cnn, ca_cnn_network, postprocess
from node.segmentation.ca_cnn import (
    CORE,
    ENHANCING,
    VIEWS,
    WHOLE,
    CascadeEngine,
    Stage,
    View,
    cascade,
    fused,
    normalised,
    region,
)
from node.segmentation.ca_cnn_view import Image
from node.segmentation.effort import Effort
from node.segmentation.options import CASCADE_WEIGHTS, CascadeOptions
from node.segmentation.postprocess import Mask
from tests.unit.segmentation.ca_cnn_reference import random_weights

SHAPE = (30, 34, 38)


def quiet(_: float) -> None:
    """Take progress."""


def cube(start: int, stop: int) -> Mask:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def an_image(*masks: Mask) -> Image:
    """Return four channels that carry masks, for a finder that thresholds them."""
    empty = np.zeros(SHAPE, dtype=np.float32)
    return np.stack([mask.astype(np.float32) for mask in masks] + [empty] * (4 - len(masks)))


def reading(stage: Stage, view: View, image: Image) -> Image:
    """Find a region by reading it from its channel of the image; the view is turned already."""
    del view
    channel: Image = image[("wt", "tc", "en").index(stage.name)]
    return channel


def regions(whole: Mask, core: Mask, enhancing: Mask) -> tuple[Mask, Mask, Mask]:
    found = cascade(
        an_image(whole, core, enhancing), np.ones(SHAPE, dtype=bool), reading, quiet
    ).labels
    return found > 0, np.isin(found, (1, 4)), found == 4


def test_nested_regions_come_out_as_they_went_in() -> None:
    whole, core, enhancing = cube(5, 25), cube(9, 20), cube(11, 16)
    for got, expected in zip(
        regions(whole, core, enhancing), (whole, core, enhancing), strict=True
    ):
        assert np.array_equal(got, expected)


def test_every_view_is_turned_back() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:9, 10:30, 4:7] = True
    assert np.array_equal(region(WHOLE, an_image(mask), reading, quiet).found, mask)


def test_two_of_three_views_decide() -> None:
    def only_axial_and_sagittal(stage: Stage, view: View, image: Image) -> Image:
        return reading(stage, view, image) * (view.name != "cr")

    assert region(WHOLE, an_image(cube(5, 9)), only_axial_and_sagittal, quiet).found.any()


def test_core_and_enhancement_are_looked_for_in_boxes_only() -> None:
    sizes: dict[str, tuple[int, ...]] = {}

    def watching(stage: Stage, view: View, image: Image) -> Image:
        if view.name == "ax":
            sizes[stage.name] = image.shape[1:]
        return reading(stage, view, image)

    cascade(
        an_image(cube(6, 20), cube(8, 14), cube(9, 12)), np.ones(SHAPE, dtype=bool), watching, quiet
    )
    assert sizes == {"wt": SHAPE, "tc": (24, 24, 24), "en": (16, 16, 16)}


def test_without_a_whole_tumour_nothing_else_is_looked_for() -> None:
    asked = []

    def watching(stage: Stage, view: View, image: Image) -> Image:
        asked.append(stage)
        return reading(stage, view, image)

    image = an_image(cube(0, 0), cube(5, 9), cube(5, 9))
    found = cascade(image, np.ones(SHAPE, dtype=bool), watching, quiet)
    assert not found.labels.any()
    assert found.opinions == dict.fromkeys(Region, (0.0, 0.0, 0.0))
    assert set(asked) == {WHOLE}


def test_several_small_components_leave_the_largest() -> None:
    whole, core, _ = regions(cube(3, 8) | cube(15, 21), cube(16, 20), cube(0, 0))
    assert np.array_equal(whole, cube(15, 21))
    assert core.any()


def test_without_a_core_enhancement_is_looked_for_in_the_whole_tumour() -> None:
    _, core, enhancing = regions(cube(5, 25), cube(0, 0), cube(9, 14))
    assert np.array_equal(core, enhancing)
    assert np.array_equal(enhancing, cube(9, 14))


def test_a_speck_of_enhancement_is_dropped() -> None:
    whole, core, enhancing = regions(cube(5, 25), cube(9, 20), cube(10, 13))
    assert not enhancing.any()
    assert (whole.sum(), core.sum()) == (8000, 1331)


def test_nothing_is_found_outside_the_brain() -> None:
    inside = ~cube(20, 30)
    image = an_image(cube(5, 25), cube(9, 24), cube(11, 24))
    labels = cascade(image, inside, reading, quiet).labels
    assert not labels[postprocess_shell(inside)].any()


def postprocess_shell(inside: Mask) -> Mask:
    """Return what is two voxels beyond the brain; the closing may reach one voxel over."""
    deep = ~inside
    for axis in range(3):
        deep = deep & np.roll(deep, 2, axis) & np.roll(deep, -2, axis)
    return deep


def test_a_core_that_lies_mostly_outside_the_whole_tumour_is_dropped() -> None:
    whole, core = cube(3, 16), cube(15, 25)
    got_whole, got_core, _ = fused(whole, core, np.zeros_like(core))
    assert not got_core.any()
    assert np.array_equal(got_whole, whole)


@given(st.integers(0, 2**32 - 1))
def test_fused_regions_are_always_nested(seed: int) -> None:
    masks = np.random.default_rng(seed).random((3, 8, 8, 8)) < 0.3
    whole, core, enhancing = fused(*masks)
    assert not np.any(core & ~whole)
    assert not np.any(enhancing & ~core)


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    image = an_image(cube(5, 25), cube(9, 20), cube(11, 16))
    cascade(image, np.ones(SHAPE, dtype=bool), reading, seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 9
    assert seen[-1] == pytest.approx(1.0)


def test_positive_voxels_get_mean_zero_and_deviation_one_and_the_rest_noise() -> None:
    rng = np.random.default_rng(0)
    channels = np.where(
        rng.random((4, 20, 20, 20)) < 0.5, 300 + rng.normal(0, 40, (4, 20, 20, 20)), 0
    )
    scored = normalised(channels.astype(np.float32), np.random.default_rng(1))
    for image, channel in zip(scored, channels, strict=True):
        assert image[channel > 0].mean() == pytest.approx(0, abs=1e-4)
        assert image[channel > 0].std() == pytest.approx(1, abs=1e-4)
        assert image[channel == 0].std() == pytest.approx(1, abs=0.1)


def test_every_view_has_an_opinion_within_the_box_of_its_stage() -> None:
    whole, core, enhancing = cube(8, 20), cube(10, 16), cube(11, 15)
    far = np.zeros(SHAPE, dtype=bool)
    far[27:30, :3, :3] = True

    def disagreeing(stage: Stage, view: View, image: Image) -> Image:
        seen = reading(stage, view, image)
        return seen * (view.name == "ax") if stage is ENHANCING else seen

    found = cascade(
        an_image(whole | far, core, enhancing), np.ones(SHAPE, dtype=bool), disagreeing, quiet
    )
    assert found.opinions == {
        Region.WT: (1728.0,) * 3,  # without the far speck, which the cascade drops
        Region.TC: (216.0,) * 3,
        Region.ET: (64.0, 0.0, 0.0),
    }


@pytest.fixture(scope="module")
def random_cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write nine networks of the right shape that never learned anything."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(CASCADE_WEIGHTS):
        weights = random_weights("B" if name.startswith("en") else "A", seed)
        save_file({f"Scope/{key}": value for key, value in weights.items()}, folder / name)
    return folder


@pytest.fixture
def small_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let noise fill up to small planes only."""
    small = [replace(view, least_whole=(16, 16), least_part=(16, 16)) for view in VIEWS]
    monkeypatch.setattr(ca_cnn, "VIEWS", tuple(small))


def an_effort(**changes: object) -> Effort:
    return replace(
        Effort(device="cpu", threads=2, memory_bytes=2**30),
        **changes,  # type: ignore[arg-type]
    )


def a_head(shape: tuple[int, int, int] = (12, 14, 13)) -> tuple[Image, Mask]:
    rng = np.random.default_rng(0)
    brain = np.zeros(shape, dtype=bool)
    brain[tuple(slice(n // 4, n - n // 4) for n in shape)] = True
    channels = np.where(brain, rng.uniform(1, 100, (4, *shape)), 0).astype(np.float32)
    return channels, brain


SPACING = (1.0, 1.0, 1.0)


@pytest.mark.usefixtures("small_planes")
@pytest.mark.parametrize("half", [False, True])
def test_the_engine_repeats_itself_exactly_with_any_number_of_threads(
    random_cascade: Path, *, half: bool
) -> None:
    channels, brain = a_head()
    engine = CascadeEngine(random_cascade, CascadeOptions())
    first = engine(channels, brain, SPACING, an_effort(half=half), quiet)
    second = engine(channels, brain, SPACING, an_effort(half=half, threads=1), quiet)
    assert first.labels.shape == brain.shape
    assert set(np.unique(first.labels)) <= {0, 1, 2, 4}
    assert np.array_equal(first.labels, second.labels)
    assert first.opinions == second.opinions
    assert set(first.opinions) == set(Region)


@pytest.mark.usefixtures("small_planes")
def test_where_memory_is_short_the_size_of_the_tiles_does_not_matter(random_cascade: Path) -> None:
    channels, brain = a_head((52, 14, 13))
    engine = CascadeEngine(random_cascade, CascadeOptions())
    channels[:, 4:-4] = channels[:, 26:27]
    brain = channels[0] > 0
    found = [
        engine(channels, brain, SPACING, an_effort(memory_bytes=memory), quiet)
        for memory in (1_200_000, 3_000_000)
    ]
    assert np.array_equal(found[0].labels, found[1].labels)
    assert found[0].opinions == found[1].opinions
    assert {finding.code for one in found for finding in one.findings} == {"sampled-statistics"}
    assert not engine(channels, brain, SPACING, an_effort(), quiet).findings


def a_constant(channels: Image, brain: Mask) -> None:
    channels[1][brain] = 7


def a_channel_without_signal(channels: Image, brain: Mask) -> None:
    channels[3][brain] = 0


def one_slice(channels: Image, brain: Mask) -> None:
    channels[:, 7:] = channels[:, :6] = 0
    brain[7:] = brain[:6] = False


def one_voxel(channels: Image, brain: Mask) -> None:
    kept = channels[:, 6, 6, 6].copy()
    channels[...] = 0
    channels[:, 6, 6, 6] = kept
    brain[...] = channels[0] > 0


def brain_to_the_edge(channels: Image, brain: Mask) -> None:
    channels[...] = np.random.default_rng(1).uniform(1, 100, channels.shape)
    brain[...] = True


@pytest.mark.usefixtures("small_planes")
@pytest.mark.parametrize(
    "spoil", [a_constant, a_channel_without_signal, one_slice, one_voxel, brain_to_the_edge]
)
def test_odd_heads_get_an_answer(
    random_cascade: Path, spoil: Callable[[Image, Mask], None]
) -> None:
    channels, brain = a_head()
    spoil(channels, brain)
    engine = CascadeEngine(random_cascade, CascadeOptions())
    found = engine(channels, brain, SPACING, an_effort(), quiet)
    near = postprocess.close(np.pad(brain, 1))[1:-1, 1:-1, 1:-1]
    assert not found.labels[~near].any()


def without_networks(engine: CascadeEngine) -> CascadeEngine:
    engine._arrays.clear()
    return engine


def test_an_empty_brain_needs_no_network(random_cascade: Path) -> None:
    nothing = np.zeros((4, 5, 5, 5), dtype=np.float32)
    engine = without_networks(CascadeEngine(random_cascade, CascadeOptions()))
    found = engine(nothing, nothing[0] > 0, SPACING, an_effort(), quiet)
    assert not found.labels.any()
    assert not found.opinions


def test_a_flair_without_signal_needs_no_network(random_cascade: Path) -> None:
    channels, brain = a_head()
    channels[0] = 0
    engine = without_networks(CascadeEngine(random_cascade, CascadeOptions()))
    assert not engine(channels, brain, SPACING, an_effort(), quiet).labels.any()


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_too_little_memory_is_told_as_such(
    random_cascade: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("no room")

    monkeypatch.setattr(ca_cnn_network, "_moments", fail)
    channels, brain = a_head()
    engine = CascadeEngine(random_cascade, CascadeOptions())
    with pytest.raises(error, match="no room"):
        engine(channels, brain, SPACING, an_effort(), quiet)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"Scope/x": torch.zeros(1)}, tmp_path / "wt_ax.safetensors")
    with pytest.raises(BundleInvalid, match="type A"):
        CascadeEngine(tmp_path, CascadeOptions())
    (tmp_path / "wt_ax.safetensors").write_bytes(b"x")
    with pytest.raises(BundleInvalid, match=r"wt_ax\.safetensors cannot be read"):
        CascadeEngine(tmp_path, CascadeOptions())


@pytest.mark.usefixtures("small_planes")
def test_files_that_change_after_they_were_read_are_not_looked_at_again(
    random_cascade: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(random_cascade, tmp_path / "weights"))
    channels, brain = a_head()
    engine = CascadeEngine(folder, CascadeOptions())
    for path in folder.iterdir():
        content = path.read_bytes()
        with path.open("r+b") as file:  # in place, which a mapped file would show
            file.seek(len(content) // 2)
            file.write(bytes(len(content) - len(content) // 2))
    untouched = CascadeEngine(random_cascade, CascadeOptions())
    found, expected = (
        one(channels, brain, SPACING, an_effort(), quiet) for one in (engine, untouched)
    )
    assert np.array_equal(found.labels, expected.labels)
    assert found.opinions == expected.opinions


def test_the_stages_share_the_work_without_a_gap() -> None:
    assert (WHOLE.begins, WHOLE.ends, CORE.ends, ENHANCING.ends) == (0, CORE.begins, 0.95, 1)
