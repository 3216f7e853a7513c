"""The engine `nnunet`: a bundle whose models/ is an nnU-Net v2 folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid
from node.domain.regions import Role
from node.segmentation.effort import Effort
from node.segmentation.found import Found, Progress
from node.segmentation.naming import check_channels, check_labels
from node.segmentation.network_options import NnUNetOptions
from node.segmentation.nnunet import NnUNetFolder
from node.segmentation.nnunet_files import as_invalid
from node.segmentation.opinions import gather
from node.segmentation.turning import Turn


class NnUNetEngine:
    """The folder's networks, kept. roles: of the channels that it will be given.

    meaning: from nnU-Net's labels to Segnode's; all that the folder can give must be in it.
    Raises BundleInvalid when the folder has other channels or labels than the manifest, or
    the same under names that mean something else.
    """

    def __init__(
        self,
        folder: Path,
        roles: Sequence[Role],
        meaning: Mapping[int, int],
        options: NnUNetOptions,
    ) -> None:
        self._meaning = meaning
        self._turn = Turn.to(options.axes)
        self._folder = NnUNetFolder(
            folder,
            options.folds,
            configuration=options.configuration,
            checkpoint=options.checkpoint,
            tile_step=options.tile_step,
            mirror=options.mirror,
        )
        if self._folder.channels != len(roles):
            raise BundleInvalid(
                f"dataset.json names {self._folder.channels} channels, the manifest {len(roles)}"
            )
        unknown = sorted(set(self._folder.labels) - set(meaning))
        if unknown:
            raise BundleInvalid(f"labels {unknown} of dataset.json are not in the manifest")
        with as_invalid("dataset.json"):
            check_channels(self._folder.channel_names, roles, "dataset.json")
            check_labels(self._folder.label_names, meaning, "dataset.json")

    def __call__(
        self,
        channels: NDArray[np.float32],
        brain: NDArray[np.bool_],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress,
    ) -> Found:
        """Find labels in nnU-Net's numbers; see node.segmentation.found.Segmenter.

        The brain is not looked at: the manifest's preprocessing has seen to it. Where all is
        0 nothing is found, which nnU-Net itself cannot say of an image without content.
        """
        if not channels.any():
            on_progress(1.0)
            return Found(labels=np.zeros(brain.shape, dtype=np.uint8))
        labels, folds = self._folder.predict_all(
            np.ascontiguousarray(self._turn.there(channels)),
            self._turn.spacing(spacing_mm),
            effort,
            on_progress,
        )
        on_progress(1.0)
        return Found(
            labels=np.ascontiguousarray(self._turn.back(labels)),
            opinions=gather(folds, self._meaning),
        )
