"""Which images a training step sees: a function of (seed, step) alone, so that a resumed run sees the same."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.config.recipes import RecipeFile
from robustbench_ens.core.limits import LARGEST_COUNT
from robustbench_ens.core.seeds import generator
from robustbench_ens.data import Dataset, augment, shrink, small_shape, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.training.method import Batch


class Batches:
    """Batches of a dataset's training split.

    Each epoch is a new permutation of the images; what does not fill a whole batch at its end is left out, so that
    no BatchNorm sees a tiny batch.
    """

    def __init__(self, dataset: Dataset, settings: RecipeFile, seed: str, device: torch.device) -> None:
        if len(dataset.y_train) < settings.batch_size:
            raise UserError(
                f"batch_size: expected at most the {len(dataset.y_train)} training images of {dataset.name!r}, "
                f"got {settings.batch_size}"
            )
        self._images = dataset.x_train.to(device)
        self._labels = dataset.y_train.to(device)
        self._size = settings.batch_size
        self._augmentation, self._padding = settings.augmentation, settings.crop_padding
        self._small = settings.progressive_resizing
        self._seed = seed
        self._permutation: tuple[int, Tensor] | None = None
        self.per_epoch = len(dataset.y_train) // settings.batch_size
        self.total_steps = settings.steps or settings.epochs * self.per_epoch
        if self.total_steps > LARGEST_COUNT:
            raise UserError(
                f"epochs: expected at most {LARGEST_COUNT} steps in all, got {settings.epochs} epochs of "
                f"{self.per_epoch} steps"
            )
        if self._small is not None:
            small_shape(self._images.shape[1:], self._small.size)  # refuses a size that leaves no pixel

    def _take(self, indices: Tensor, purpose: str, step: int) -> Batch:
        indices = indices.to(self._images.device)
        images = to_float(self._images[indices])
        draws = generator(self._seed, "augment", purpose, step)
        images = augment(images, self._augmentation, draws, self._padding)
        if self._small is not None and step < self._small.until * self.total_steps:
            images = shrink(images, self._small.size)
        return Batch(images, self._labels[indices])

    def batch(self, step: int) -> Batch:
        """The batch of step ``step``, counted over the whole training."""
        epoch, position = divmod(step, self.per_epoch)
        if self._permutation is None or self._permutation[0] != epoch:
            order = torch.randperm(len(self._labels), generator=generator(self._seed, "order", epoch), device="cpu")
            self._permutation = (epoch, order)
        start = position * self._size
        return self._take(self._permutation[1][start : start + self._size], "batch", step)

    def source(self, step: int) -> Batch:
        """An independent batch for step ``step``, uniform without repeats."""
        order = torch.randperm(len(self._labels), generator=generator(self._seed, "source", step), device="cpu")
        return self._take(order[: self._size], "source", step)
