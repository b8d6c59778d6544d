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


CONFIDENCE = 0.1
"""By how much the published codes let a wrong class win before they stop."""


def cw_legacy(logits: Tensor, labels: Tensor) -> Tensor:
    """The CW margin as several published codes have it; wrong, and here only to reproduce their numbers.

    ``-max(0, z_y - max_j (1 - onehot_j) z_j + 0.1)``: the true class is multiplied by zero, not excluded.
    Log-probabilities are never positive, so on them the runner-up is always 0 and this is ``-log p_y - 0.1``,
    cross-entropy again, whose gradient dies as soon as ``p_y < exp(-0.1) = 0.905``: long before the image is
    misclassified.

    Args:
        logits: ``(B, classes)``, or log-probabilities.
        labels: ``(B,)``.

    Returns:
        one value per image, ``(B,)``, at most 0.
    """
    index = labels.unsqueeze(1)
    runner_up = logits.scatter(1, index, 0.0).amax(dim=1)
    return -F.relu(logits.gather(1, index).squeeze(1) - runner_up + CONFIDENCE)


CERTAIN = {"cross_entropy": 0.0}
"""The value of a loss where the probability of the true class is 1 to the last bit, of losses that saturate there."""


def saturated(values: Tensor, loss: str) -> Tensor:
    """Return which values ``(B,)`` of ``loss`` say nothing of the way up: of a certain model, or not finite."""
    found = ~torch.isfinite(values)
    return found | (values == CERTAIN[loss]) if loss in CERTAIN else found
