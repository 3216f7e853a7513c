"""HD-BET 2: the same task as an nnU-Net v2 folder, which the site has fetched.

Isensee et al. 2019, doi:10.1002/hbm.24750; program Apache-2.0, parameters by their own licence
(Zenodo 14445620). Nothing of the folder is executed, see `node.segmentation.nnunet`.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from node.domain.errors import BrainNotFound, BundleInvalid, BundleMissing
from node.imaging.brain import check_brain, main_pieces
from node.imaging.grids import turn
from node.imaging.resample import resample
from node.imaging.volume import Volume
from node.segmentation.brains.computing import computing
from node.segmentation.brains.hd_bet_v1 import AXES
from node.segmentation.effort import Effort
from node.segmentation.parameters import CHECKSUMS, verify_parameters

CHECKPOINT: Final = Path("fold_all/checkpoint_final.pth")
FILES: Final = (Path("dataset.json"), Path("plans.json"), CHECKPOINT)

RELEASE_SHA256: Final = "d31dc59b4c5fe0028070901870c44c0b526f48c507ce50804941344356df7b52"
"""SHA-256 of the checkpoint of release_v1.5.0.zip.

Not the publisher's word: Zenodo could not be asked. One public research script pins this value
for the very file; a site with reasons to know better names its own.
"""

BRAIN: Final = 1
"""nnU-Net's label of the brain."""


class Predictor(Protocol):
    """What is used of `node.segmentation.nnunet.NnUNetFolder`."""

    def predict(
        self,
        image: NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
    ) -> NDArray[np.uint8]:
        """Return labels (slice, row, column) of an image (channel, slice, row, column)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HdBetV2:
    """The extractor. folder: of the parameters; sha256: of its checkpoint."""

    effort: Effort
    folder: Path
    sha256: str = RELEASE_SHA256

    @property
    def name(self) -> str:
        """Method and the beginning of the checkpoint's hash."""
        return f"HD-BET 2 (nnU-Net, {self.sha256[:8]})"

    def __call__(self, reference: Volume) -> Volume:
        """Return the brain, bool, on the grid of the reference.

        Raises BrainNotFound when there is none, HeadIncomplete when most of it is cut off,
        BundleMissing and BundleInvalid without the parameters, OutOfMemory.
        """
        turned = resample(reference, turn(reference.grid, AXES))
        values = np.nan_to_num(turned.array.astype(np.float32))
        if float(values.std()) == 0.0:
            raise BrainNotFound("The series shows one value only.")
        predictor = _predictor(self.folder, self.sha256)
        with computing(self.effort, "HD-BET 2"):
            labels = predictor.predict(values[None], turned.grid.spacing_mm, self.effort)
        found = resample(turned.with_array(labels == BRAIN), reference.grid)
        brain = found.with_array(main_pieces(found.array))
        check_brain(brain)
        return brain


def is_complete(folder: Path | None) -> bool:
    """Whether a parameters folder has its files."""
    return folder is not None and all((folder / name).is_file() for name in FILES)


@cache
def _predictor(folder: Path, sha256: str) -> Predictor:
    """Check and load the folder once for the life of the process.

    A folder that we installed has a list of what it holds; one that a site made need not.
    """
    if not is_complete(folder):
        raise BundleMissing("The parameters of HD-BET 2 are not in the folder that is configured.")
    with (folder / CHECKPOINT).open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise BundleInvalid(
            f"The checkpoint of HD-BET 2 has the SHA-256 {found[:16]}…, not {sha256[:16]}…"
        )
    if (folder / CHECKSUMS).is_file():
        listed = verify_parameters(folder).files
        unlisted = [name.as_posix() for name in FILES if name.as_posix() not in listed]
        if unlisted:
            raise BundleInvalid(f"{folder.name}: {unlisted[0]} is not in {CHECKSUMS}")
    from node.segmentation.nnunet import NnUNetFolder  # noqa: PLC0415 - torch, nnunetv2: heavy

    return NnUNetFolder(folder, folds=("all",))
