"""Words of other programs for sequences and labels against the manifest."""

import pytest

from node.domain.errors import BundleInvalid
from node.domain.regions import Role
from node.segmentation.naming import check_channels, check_labels


@pytest.mark.parametrize(
    "names",
    [
        ("T1ce", "T1", "T2", "FLAIR"),
        ("t1-gd", "T1w", "t2w", "T2-FLAIR"),
        ("t1c", "t1n", "T2", "t2f"),
        ("zscore", "", "rescale_to_0_1", "0003"),
    ],
)
def test_names_that_agree_or_say_nothing_pass(names: tuple[str, ...]) -> None:
    check_channels(names, (Role.T1C, Role.T1, Role.T2, Role.FLAIR), "dataset.json")


def test_a_name_of_another_sequence_is_told_with_both() -> None:
    with pytest.raises(BundleInvalid, match="channel 1 'T2-FLAIR', the manifest says T2 there"):
        check_channels(("T1", "T2-FLAIR"), (Role.T1, Role.T2), "dataset.json")


def test_labels_are_held_to_their_names() -> None:
    names = {"background": 0, "Edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 4}
    check_labels(names, {0: 0, 1: 2, 2: 1, 4: 3}, "dataset.json")
    with pytest.raises(BundleInvalid, match="label 1 'Edema', which is 2 in Segnode"):
        check_labels(names, {0: 0, 1: 1, 2: 2, 4: 3}, "dataset.json")
