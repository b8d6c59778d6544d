"""The memory of a method: values for every training image that last from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.data import Placement, shrink

_STEPS = 127
"""Values in [-1, 1] are stored as integers from -127 to 127: one byte each, and the same after resuming."""


class ImageMemory:
    """One array of values in [-1, 1] for every training image, in the image's own frame.

    It takes ``images * C * H * W`` bytes, from the first :meth:`keep` on: 154 MB for CIFAR-10. It is part of the
    checkpoint, so that a resumed training goes on bit by bit.

    Attributes:
        shape: shape of one image, ``(C, H, W)``.
        count: number of images.
        device: device of the arrays.
    """

    def __init__(self, count: int, shape: Sequence[int], device: torch.device) -> None:
        self.count = count
        self.shape = tuple(shape)
        self.device = device
        self._values: Tensor | None = None
        self._known: Tensor | None = None

    def state(self) -> dict[str, Tensor]:
        """Return the content for a checkpoint, which is empty if nothing was kept."""
        if self._values is None or self._known is None:
            return {}
        return {"values": self._values, "known": self._known}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            ValueError: it is of other images.
        """
        if not state:
            self._values = self._known = None
            return
        values = state["values"]
        known = state["known"]
        fits = values.shape == (self.count, *self.shape) and known.shape == (self.count,)
        if not fits or values.dtype != torch.int8 or known.dtype != torch.bool:
            raise ValueError("expected what was kept of as many images of the same size")
        self._values = values.to(self.device)
        self._known = known.to(self.device)

    def keep(self, indices: Tensor, values: Tensor) -> None:
        """Keep ``values`` ``(B, C, H, W)`` in [-1, 1] of the images at ``indices`` ``(B,)``, to the nearest 1/127."""
        if self._values is None or self._known is None:
            self._values = torch.zeros((self.count, *self.shape), dtype=torch.int8, device=self.device)
            self._known = torch.zeros(self.count, dtype=torch.bool, device=self.device)
        rows = indices.to(self.device)
        self._values[rows] = (values.float() * _STEPS).round().clamp(-_STEPS, _STEPS).to(torch.int8).to(self.device)
        self._known[rows] = True

    def recall(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values ``(B, C, H, W)`` of the images at ``indices``, and whether each is known ``(B,)``.

        Unknown values are 0.
        """
        rows = indices.to(self.device)
        if self._values is None or self._known is None:
            zeros = torch.zeros((len(rows), *self.shape), dtype=torch.float32, device=self.device)
            return zeros, torch.zeros(len(rows), dtype=torch.bool, device=self.device)
        return self._values[rows].float() / _STEPS, self._known[rows]


@dataclass(frozen=True)
class BatchMemory:
    """The memory of the images of one batch, moved as their augmentation moves them.

    Attributes:
        memory: the memory of all training images.
        indices: indices of the images of the batch, ``(B,)``.
        placement: augmentation of the images.
        size: size of the images at this step, as a share of their full size.
    """

    memory: ImageMemory
    indices: Tensor
    placement: Placement
    size: float = 1.0

    def recall(self) -> tuple[Tensor, Tensor]:
        """Return each image's values ``(B, C, H, W)``, placed as in this batch, and whether they are known ``(B,)``."""
        values, known = self.memory.recall(self.indices)
        placed = self.placement.apply(values)
        return placed if self.size == 1 else shrink(placed, self.size), known

    def keep(self, values: Tensor) -> None:
        """Keep ``values`` ``(B, C, H, W)`` in [-1, 1], which are placed as the images of this batch."""
        if self.size != 1:
            values = F.interpolate(values, size=self.memory.shape[1:], mode="nearest")
        self.memory.keep(self.indices, self.placement.undo(values))
