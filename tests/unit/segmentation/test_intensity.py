"""The intensity model: what it finds, and that it finds nothing where nothing is."""

from dataclasses import replace

import numpy as np
import pytest

from node.domain.regions import Region, Role
from node.imaging.measure import dice, labels_to_region
from node.imaging.prepare import ModelInput
from node.imaging.volume import Array
from node.phantom.fields import sample, undone
from node.phantom.head import Head, make_head
from node.phantom.tumour import DEFAULT_TUMOUR
from node.segmentation.bundle import open_bundle
from node.segmentation.intensity import mirrored, robust_z
from tests.unit.segmentation.bundles import EFFORT, INTENSITY, a_head


def labels_of(head: ModelInput) -> Array:
    return open_bundle(INTENSITY).segment(head, EFFORT).labels.array


def changed(head: ModelInput, role: Role, array: Array) -> ModelInput:
    volume = head.channels[role].with_array(array.astype(np.float32))
    return replace(head, channels={**head.channels, role: volume})


def seen_by_the_model(head: Head) -> ModelInput:
    """Put the series of a phantom on the grid of its truth."""
    grid, brain = head.truth.grid, head.brain
    channels = {}
    for role, series in head.series.items():
        volume = series.with_array(series.array.astype(np.float32))
        back = np.linalg.inv(head.motions[role]).astype(np.float64)
        placed = sample(volume, grid, transform=undone(back))
        channels[role] = placed.with_array(np.where(brain.array, placed.array, 0))
    return ModelInput(channels=channels, brain=brain, grid=grid)


def test_a_tumour_is_found_with_its_parts() -> None:
    labels = labels_of(a_head())
    centre = (21, 29, 35)
    assert labels[centre] == 1
    assert labels[centre[0], centre[1], centre[2] + 5] == 3
    assert labels[centre[0], centre[1] + 9, centre[2]] == 2


def test_nothing_is_found_in_a_brain_without_a_lesion() -> None:
    assert not labels_of(a_head(lesion=False)).any()


def test_nothing_is_found_where_no_brain_is() -> None:
    head = a_head()
    nowhere = head.brain.with_array(np.zeros(head.grid.shape, dtype=bool))
    assert not labels_of(replace(head, brain=nowhere)).any()


def test_left_is_left() -> None:
    labels = labels_of(a_head())
    half = labels.shape[2] // 2
    assert labels[:, :, :half].sum() < 0.05 * labels[:, :, half:].sum()


def test_coil_shading_is_no_lesion() -> None:
    head = a_head(lesion=False)
    ramp = np.linspace(0.7, 1.3, head.grid.shape[2], dtype=np.float32)
    assert not labels_of(changed(head, Role.FLAIR, head.channels[Role.FLAIR].array * ramp)).any()


def test_scale_and_offset_of_a_sequence_do_not_matter() -> None:
    head = a_head()
    other = changed(
        head, Role.T2, np.where(head.brain.array, 7 * head.channels[Role.T2].array + 300, 0)
    )
    assert np.mean(labels_of(other) != labels_of(head)) < 1e-4


def test_a_channel_without_contrast_is_all_zero() -> None:
    brain = np.ones((4, 4, 4), dtype=bool)
    assert not robust_z(np.full((4, 4, 4), 7, dtype=np.float32), brain).any()


@pytest.mark.parametrize("voxels", [1, 2, 5])
def test_a_scrap_of_a_brain_holds_nothing(voxels: int) -> None:
    head = a_head()
    scrap = np.zeros(head.grid.shape, dtype=bool)
    scrap[20, 20, 20 : 20 + voxels] = True
    assert not labels_of(replace(head, brain=head.brain.with_array(scrap))).any()


def test_the_mirror_stands_in_the_middle_of_the_brain() -> None:
    brain = np.zeros((5, 5, 30), dtype=bool)
    brain[1:4, 1:4, 8:25] = True
    image = np.zeros((5, 5, 30), dtype=np.float32)
    image[2, 2, 9] = 1
    assert np.argwhere(mirrored(image, brain)).tolist() == [[2, 2, 23]]


@pytest.mark.slow
def test_the_tumour_of_the_phantom_is_segmented() -> None:
    head = make_head(seed=0, tumour=DEFAULT_TUMOUR)
    labels = open_bundle(INTENSITY).segment(seen_by_the_model(head), EFFORT).labels
    found = {
        region: dice(labels_to_region(labels, region), labels_to_region(head.truth, region))
        for region in Region
    }
    assert found[Region.WT] > 0.9
    assert found[Region.TC] > 0.85
    assert found[Region.ET] > 0.85


@pytest.mark.slow
def test_the_healthy_phantom_stays_empty() -> None:
    head = make_head(seed=6, tumour=None)  # one with strong coil shading
    found = open_bundle(INTENSITY).segment(seen_by_the_model(head), EFFORT)
    assert not found.labels.array.any()
