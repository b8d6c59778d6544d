"""What a crafting run says about itself: signs that an attack was weaker than it looks (arXiv:1902.06705)."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_ens.perturb.losses import saturated
from robustbench_ens.perturb.passes import Passes


@dataclass(frozen=True)
class Health:
    """Signs of one crafting run; shares are of images and in [0, 1].

    Attributes:
        images: how many were crafted.
        zero_gradient: by step, the share whose gradient is zero in every pixel; empty where no gradient was seen.
        non_finite_gradient: by step, the share whose gradient has a NaN or an infinity.
        loss_rising: share whose loss at the last gradient is above that at the first; none where not seen.
        saturated: share whose loss at the last gradient is that of a certain model, or not finite: none of the steps
            before has found a way out. None where not seen, and in files of before it was measured.
        budget_used: mean over images of the largest pixel change, in units of eps.
        budget_kept: whether no pixel left its budget or [0, 1].
    """

    images: int
    zero_gradient: tuple[float, ...]
    non_finite_gradient: tuple[float, ...]
    loss_rising: float | None
    budget_used: float
    budget_kept: bool
    saturated: float | None = None


class Recorder:
    """Watches the gradient loop, from any number of threads: an ``on_step`` of :func:`~.craft.craft`.

    ``loss`` names what the loop maximises. Counts stay on the device until
    :meth:`health` asks for them, so that watching does not wait for a GPU.

    ``passes`` counts what the attack shows to its model.
    """

    def __init__(self, loss: str) -> None:
        self._loss = loss
        self.passes = Passes()
        self._lock = threading.Lock()
        # By step and by a batch's first row: a batch that memory did not last for comes again, as two.
        self._zero: dict[int, dict[int, Tensor]] = defaultdict(dict)
        self._non_finite: dict[int, dict[int, Tensor]] = defaultdict(dict)
        self._first: dict[int, tuple[int, Tensor]] = {}
        self._last: dict[int, Tensor] = {}

    def __call__(self, rows: slice, step: int, values: Tensor, gradient: Tensor) -> None:
        """Take note of one step of the images at ``rows``: their losses ``(B,)`` and gradients ``(B, C, H, W)``."""
        size = gradient.flatten(1).abs().sum(dim=1)
        zero, non_finite = (size == 0).sum(), (~torch.isfinite(size)).sum()
        with self._lock:
            self._zero[step][rows.start] = zero
            self._non_finite[step][rows.start] = non_finite
            if step <= self._first.get(rows.start, (step, values))[0]:
                self._first[rows.start] = step, values
            self._last[rows.start] = values

    @staticmethod
    def _shares(counts: dict[int, dict[int, Tensor]], images: int) -> tuple[float, ...]:
        return tuple(sum(int(count) for count in counts[step].values()) / images for step in sorted(counts))

    def health(self, crafted: Tensor, images: Tensor, eps: float) -> Health:
        """The signs of the run that made ``crafted`` from ``images``, both ``(N, C, H, W)``, N at least 1."""
        change = (crafted - images).abs().flatten(1).amax(dim=1)
        rising = stuck = None
        if self._first:
            risen = sum(int((self._last[row] > self._first[row][1]).sum()) for row in self._first)
            rising = risen / len(images)
            stuck = sum(int(saturated(values, self._loss).sum()) for values in self._last.values()) / len(images)
        kept = float(change.max()) <= eps + 1e-6 and float(crafted.min()) >= 0 and float(crafted.max()) <= 1
        return Health(
            images=len(images),
            zero_gradient=self._shares(self._zero, len(images)),
            non_finite_gradient=self._shares(self._non_finite, len(images)),
            loss_rising=rising,
            budget_used=float(change.mean()) / eps,
            budget_kept=kept,
            saturated=stuck,
        )
