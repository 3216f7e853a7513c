"""A trained nnU-Net v2 folder, run in this process through the package nnunetv2.

nnU-Net's own preprocessing, patches, averaging and way back are used as they are, so that
labels are those of its own predictor; nothing of the folder is executed (nnunet_files).

Source: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), github.com/MIC-DKFZ/nnUNet.
"""

import contextlib
import itertools
import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from node.domain.errors import BundleInvalid
from node.segmentation.effort import Effort
from node.segmentation.found import Progress
from node.segmentation.memory import is_out_of_memory
from node.segmentation.nnunet_files import (
    Package,
    as_invalid,
    check_names,
    import_package,
    read_checkpoint,
    read_json,
)
from node.segmentation.opinions import count_labels
from node.segmentation.sliding import forward_bytes, memory_errors, on_threads

ENDLESS: Final = "Encountered inf in predicted array"
"""How nnU-Net begins its complaint about values beyond half precision."""


class NnUNetFolder:
    """The networks of a model folder; read at construction, kept, used by one thread at a time.

    folder: holds dataset.json, plans.json and for each fold fold_N/checkpoint. folds: whose
    mean is taken. tile_step: between patches, as a share of their size. mirror: average over
    mirrored inputs too; None means only on a GPU, where it is cheap.

    Raises BundleMissing without the package nnunetv2, BundleInvalid for files that are absent,
    damaged, unsafe or do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        folds: Sequence[int | str] = (0,),
        *,
        configuration: str = "3d_fullres",
        checkpoint: str = "checkpoint_final.pth",
        tile_step: float = 0.5,
        mirror: bool | None = None,
    ) -> None:
        self._nnunet = import_package()
        self._tile_step, self._mirror = tile_step, mirror
        self._lock = threading.Lock()
        self._dataset = read_json(folder / "dataset.json")
        with as_invalid(f"{folder.name}: plans.json or dataset.json"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old plans are converted, with a warning
            self._plans = self._nnunet.PlansManager(read_json(folder / "plans.json"))
            self._configuration = self._plans.get_configuration(configuration)
            self._label_manager = self._plans.get_label_manager(self._dataset)
        checkpoints = [read_checkpoint(folder / f"fold_{fold}" / checkpoint) for fold in folds]
        self._weights = [c["network_weights"] for c in checkpoints]
        self._mirror_axes = checkpoints[0].get("inference_allowed_mirroring_axes")
        self._trainer = str(checkpoints[0].get("trainer_name", ""))
        self._network = self._build_network(folder.name)
        self._patch_bytes: int | None = None

    @property
    def channels(self) -> int:
        """How many channels an image must have."""
        return len(self._dataset.get("channel_names", self._dataset.get("modality", ())))

    @property
    def labels(self) -> tuple[int, ...]:
        """Which labels it can give, in nnU-Net's own numbers."""
        return tuple(int(label) for label in self._label_manager.all_labels)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """How dataset.json calls the channels, in their order; "" where it does not say."""
        names = self._dataset.get("channel_names", self._dataset.get("modality"))
        if not isinstance(names, Mapping):
            return ()
        return tuple(str(names.get(str(place), "")) for place in range(self.channels))

    @property
    def label_names(self) -> dict[str, int]:
        """How dataset.json calls the labels, with the numbers that they have in a result."""
        labels = self._dataset["labels"]
        if not self._label_manager.has_regions:
            return {str(name): int(np.ravel(label)[0]) for name, label in labels.items()}
        regions = [
            str(name) for name, label in labels.items() if name != "ignore" and np.any(label)
        ]
        painted = self._label_manager.regions_class_order
        return {name: int(label) for name, label in zip(regions, painted, strict=False)}

    def predict(
        self,
        image: NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress | None = None,
    ) -> NDArray[np.uint8]:
        """Return labels (slice, row, column) in nnU-Net's own numbers; see `predict_all`."""
        return self.predict_all(image, spacing_mm, effort, on_progress)[0]

    def predict_all(
        self,
        image: NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        effort: Effort,
        on_progress: Progress | None = None,
    ) -> tuple[NDArray[np.uint8], list[dict[int, float]]]:
        """Return labels (slice, row, column) and, of several folds, the voxels of their labels.

        image: (channel, slice, row, column) as the dataset names its channels, intensities as
        they were in training (nnU-Net normalises them itself). Raises BundleInvalid when the
        channels are too few or many or the networks give no numbers, MemoryError (or torch's)
        when the effort's memory is not there.
        """
        if image.ndim != 4 or image.shape[0] != self.channels:
            raise BundleInvalid(f"the nnU-Net takes {self.channels} channels, not {image.shape[0]}")
        with self._lock, on_threads(effort.threads), memory_errors():
            data, properties = self._preprocessed(image, spacing_mm)
            predictor = self._predictor(effort)
            self._check_memory(predictor, data, effort)
            with self._counted(predictor, data, on_progress), self._halved(effort):
                folds = [self._logits(predictor, data, weights) for weights in self._weights]
            opinions = self._opinions(folds, data, properties)
            return self._back(_mean(folds), properties, effort.threads), opinions

    def _build_network(self, name: str) -> torch.nn.Module:
        """Build the network of the plans with the first fold's weights."""
        configuration = self._configuration
        with as_invalid(f"{name}: the plans' network"):
            if configuration.previous_stage_name is not None:
                raise BundleInvalid(f"{name}: a cascade, which needs another model's result")
            check_names(
                name,
                configuration.network_arch_class_name,
                [
                    configuration.network_arch_init_kwargs.get(key)
                    for key in configuration.network_arch_init_kwargs_req_import
                ],
            )
            network: torch.nn.Module = self._nnunet.get_network_from_plans(
                configuration.network_arch_class_name,
                configuration.network_arch_init_kwargs,
                configuration.network_arch_init_kwargs_req_import,
                self.channels,
                self._label_manager.num_segmentation_heads,
                allow_init=False,
                deep_supervision=False,
            )
        for weights in reversed(self._weights):
            try:
                network.load_state_dict(weights)
            except (RuntimeError, TypeError, AttributeError) as error:
                if is_out_of_memory(error):
                    raise
                raise BundleInvalid(
                    f"{name}: the weights do not fit the network of the plans "
                    f"(trained by {self._trainer or 'an unnamed trainer'})"
                ) from error
        return network.eval()

    def _predictor(self, effort: Effort) -> Any:
        """Return nnU-Net's own predictor around the network that is already there."""
        device = torch.device(effort.device)
        on_gpu = device.type == "cuda"
        predictor = self._nnunet.nnUNetPredictor(
            tile_step_size=self._tile_step,
            use_mirroring=on_gpu if self._mirror is None else self._mirror,
            perform_everything_on_device=on_gpu,
            device=device,
            allow_tqdm=False,
        )
        predictor.manual_initialization(
            self._network,
            self._plans,
            self._configuration,
            self._weights,
            self._dataset,
            self._trainer,
            self._mirror_axes,
        )
        return predictor

    def _preprocessed(
        self, image: NDArray[np.float32], spacing_mm: tuple[float, float, float]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Crop, normalise and resample as the plans say."""
        with as_invalid("the preprocessing of plans.json"):
            preprocessor = self._configuration.preprocessor_class(verbose=False)
            data, _, properties = preprocessor.run_case_npy(
                image,
                None,
                {"spacing": list(spacing_mm)},
                self._plans,
                self._configuration,
                self._dataset,
            )
        return torch.from_numpy(np.ascontiguousarray(data)), properties

    def _check_memory(self, predictor: Any, data: torch.Tensor, effort: Effort) -> None:
        """Refuse beforehand what would not fit: a patch, and half-precision results."""
        patch = tuple(self._configuration.patch_size)
        if self._patch_bytes is None:
            self._patch_bytes = forward_bytes(self._network, (1, self.channels, *patch))
        needed = self._patch_bytes
        if predictor.perform_everything_on_device:
            heads = self._label_manager.num_segmentation_heads
            results = 2 * (heads + 1) * math.prod(data.shape[1:])
            # The results go to main memory rather than that the patch does not fit.
            predictor.perform_everything_on_device = needed + results <= effort.memory_bytes
        if needed > effort.memory_bytes:
            raise MemoryError(f"a patch of {patch} needs {needed} bytes")

    def _logits(
        self, predictor: Any, data: torch.Tensor, weights: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return half-precision logits (head, ...) of one fold, on the CPU."""
        predictor.list_of_parameters = [weights]
        try:
            logits: torch.Tensor = predictor.predict_logits_from_preprocessed_data(data).cpu()
        except RuntimeError as error:
            if ENDLESS not in str(error):
                raise
            raise BundleInvalid("the nnU-Net gives values that are no numbers") from error
        if torch.isnan(logits).any():
            raise BundleInvalid("the nnU-Net gives no numbers: its weights are damaged")
        return logits

    def _opinions(
        self, folds: Sequence[torch.Tensor], data: torch.Tensor, properties: Mapping[str, Any]
    ) -> list[dict[int, float]]:
        """Count each fold's labels where the network works, scaled to the image's voxels."""
        if len(folds) < 2:
            return []
        cropped = properties["shape_after_cropping_and_before_resampling"]
        scale = math.prod(cropped) / math.prod(data.shape[1:])
        decide = self._label_manager.convert_logits_to_segmentation
        return [count_labels(np.asarray(decide(logits)), scale) for logits in folds]

    def _back(
        self, logits: torch.Tensor, properties: dict[str, Any], threads: int
    ) -> NDArray[np.uint8]:
        """Bring logits to labels on the image's grid, in nnU-Net's way."""
        labels = self._nnunet.convert_logits(
            logits,
            self._plans,
            self._configuration,
            self._label_manager,
            properties,
            num_threads_torch=threads,
        )
        return np.ascontiguousarray(labels, dtype=np.uint8)

    @contextlib.contextmanager
    def _counted(
        self, predictor: Any, data: torch.Tensor, on_progress: Progress | None
    ) -> Iterator[None]:
        """Tell how many of the network's passes are over, while inside."""
        if on_progress is None:
            yield
            return
        passes = _passes(self._nnunet, predictor, self._configuration, data.shape[1:])
        total, done = passes * len(self._weights), itertools.count(1)

        def tell(*_: object) -> None:
            on_progress(min(next(done) / total, 1.0))

        hook = self._network.register_forward_hook(tell)
        try:
            yield
        finally:
            hook.remove()

    @contextlib.contextmanager
    def _halved(self, effort: Effort) -> Iterator[None]:
        """Compute in bfloat16 on a CPU that is asked to; on a GPU nnU-Net does so by itself."""
        if not effort.half or effort.device != "cpu":
            yield
            return
        hook = self._network.register_forward_hook(lambda _, __, result: result.float())
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                yield
        finally:
            hook.remove()


def _passes(nnunet: "Package", predictor: Any, configuration: Any, shape: Sequence[int]) -> int:
    """Return how often one fold's network is called: patches times mirrored views."""
    patch = configuration.patch_size
    padded = [max(a, b) for a, b in zip(shape, patch, strict=True)]
    steps = nnunet.compute_steps_for_sliding_window(padded, patch, predictor.tile_step_size)
    mirrored = predictor.allowed_mirroring_axes if predictor.use_mirroring else None
    views: int = 2 ** len(mirrored or ())
    return math.prod(len(step) for step in steps) * views


def _mean(folds: Sequence[torch.Tensor]) -> torch.Tensor:
    """Average as nnU-Net does: summed in half precision, one after the other."""
    total = folds[0].clone() if len(folds) > 1 else folds[0]
    for logits in folds[1:]:
        total += logits
    return total / len(folds) if len(folds) > 1 else total
