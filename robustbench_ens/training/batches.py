"""The batches of training steps: functions of seed and step alone, so that a resumed run has the same ones."""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.core.limits import LARGEST_COUNT
from robustbench_ens.core.seeds import generator
from robustbench_ens.data import Dataset, Placement, placement, shrink, small_shape, to_float
from robustbench_ens.errors import UserError
from robustbench_ens.training.memory import BatchMemory, ImageMemory
from robustbench_ens.training.method import Batch


class Batches:
    """The batches of a dataset's training split.

    Each epoch is a new permutation of the images. Images that do not fill a whole batch are dropped, so that no
    BatchNorm normalises by a tiny batch. ``kept`` is the method's memory of every image between epochs.
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
        self._augmentation = settings.augmentation
        self._padding = settings.crop_padding
        self._small = settings.progressive_resizing
        self._seed = seed
        self._permutation: tuple[int, Tensor] | None = None
        self.kept = ImageMemory(len(dataset.y_train), self._images.shape[1:], device)
        self.per_epoch = len(dataset.y_train) // settings.batch_size
        self.total_steps = settings.steps or settings.epochs * self.per_epoch
        if self.total_steps > LARGEST_COUNT:
            raise UserError(
                f"epochs: expected at most {LARGEST_COUNT} steps in all, got {settings.epochs} epochs of "
                f"{self.per_epoch} steps"
            )
        if self._small is not None:
            small_shape(self._images.shape[1:], self._small.size)  # raises an error if no pixel is left

    def _placement(self, count: int, purpose: str, step: int) -> Placement:
        draws = generator(self._seed, "augment", purpose, step)
        return placement((count, *self._images.shape[1:]), self._augmentation, draws, self._padding)

    def _size_at(self, step: int) -> float:
        """Return the size of images at ``step``, as a share of their full size."""
        if self._small is None or step >= self._small.until * self.total_steps:
            return 1.0
        return self._small.size

    def _take(self, indices: Tensor, purpose: str, step: int) -> Batch:
        indices = indices.to(self._images.device)
        images = self._placement(len(indices), purpose, step).apply(to_float(self._images[indices]))
        size = self._size_at(step)
        return Batch(images if size == 1 else shrink(images, size), self._labels[indices])

    def _indices(self, step: int) -> Tensor:
        """Return the indices of the images in the batch of ``step``."""
        epoch, position = divmod(step, self.per_epoch)
        if self._permutation is None or self._permutation[0] != epoch:
            order = torch.randperm(len(self._labels), generator=generator(self._seed, "order", epoch), device="cpu")
            self._permutation = (epoch, order)
        start = position * self._size
        return self._permutation[1][start : start + self._size]

    def batch(self, step: int) -> Batch:
        """Return the batch of step ``step``, counted over the whole training."""
        return self._take(self._indices(step), "batch", step)

    def memory(self, step: int) -> BatchMemory:
        """Return the memory of the images of :meth:`batch`, with the same augmentation."""
        indices = self._indices(step)
        return BatchMemory(self.kept, indices, self._placement(len(indices), "batch", step), self._size_at(step))

    def source(self, step: int) -> Batch:
        """Return an independent batch for step ``step``, drawn uniformly without repeats."""
        order = torch.randperm(len(self._labels), generator=generator(self._seed, "source", step), device="cpu")
        return self._take(order[: self._size], "source", step)
