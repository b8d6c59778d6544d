"""Losses that an attack maximises, one value per image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

AttackLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log softmax(z)_y``.

    Args:
        logits: ``(B, classes)``, or log-probabilities, on which it is ``-log p_y``.
        labels: ``(B,)``.

    Returns:
        one loss per image, ``(B,)``, in nats.
    """
    return F.cross_entropy(logits, labels, reduction="none")


def cw(logits: Tensor, labels: Tensor) -> Tensor:
    """Negated CW margin: ``max_{j != y} z_j - z_y`` (arXiv:1608.04644), positive where the image is misclassified.

    The true class is excluded by ``-inf``. Several published codes multiply it by zero instead, which is wrong for
    log-probabilities: they are never positive, so the runner-up would always be 0. No confidence clamp.

    Args:
        logits: ``(B, classes)``, or log-probabilities.
        labels: ``(B,)``.

    Returns:
        one value per image, ``(B,)``.
    """
    index = labels.unsqueeze(1)
    runner_up = logits.scatter(1, index, -torch.inf).amax(dim=1)
    return runner_up - logits.gather(1, index).squeeze(1)


LOSSES: dict[str, AttackLoss] = {"cross_entropy": cross_entropy, "cw": cw}
