"""Vulnerability diversity, Equation 2 of the DVERGE paper (arXiv:2009.14720, Section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.models.ensemble import SubModel
from robustbench_ens.perturb.distill import distill


def distill_at_layers(
    sub_model: SubModel, source: Tensor, target: Tensor, layers: Tensor, *, eps: float, step_size: float, steps: int
) -> Tensor:
    """Equation 1 with a layer of each image's own, in eval mode.

    Args:
        sub_model: the network to distil from.
        source, target: ``(B, C, H, W)`` in [0, 1]; see :func:`~robustbench_ens.perturb.distill.distill`.
        layers: ``(B,)``, from 1 to ``sub_model.num_layers``.
        eps, step_size: in pixel scale.
        steps: gradient steps.

    Returns:
        distilled images ``(B, C, H, W)`` within ``eps`` of ``source``.
    """
    found = torch.empty_like(source)
    for layer in layers.unique().tolist():
        rows = layers == layer
        found[rows] = distill(
            sub_model,
            source[rows],
            target[rows],
            int(layer),
            eps=eps,
            step_size=step_size,
            steps=steps,
            batch_norm="running",
        )
    return found


@torch.no_grad()
def transferred_losses(members: Sequence[SubModel], distilled: Sequence[Tensor], labels: Tensor) -> Tensor:
    """``L_{f_j}(x'_{f_i}, y)`` for every ordered pair.

    Args:
        members: ``f_j``, in eval mode.
        distilled: for each ``f_i``, the images ``(B, C, H, W)`` distilled from it.
        labels: ``(B,)``, of the images whose features were distilled.

    Returns:
        cross-entropy ``(M, M, B)`` in nats: row distilled from, column classified by.
    """
    rows = [[F.cross_entropy(f(images), labels, reduction="none") for f in members] for images in distilled]
    return torch.stack([torch.stack(row) for row in rows])


def pairwise_diversity(losses: Tensor) -> Tensor:
    """Equation 2: ``d(f_i, f_j) = 1/2 E[L_{f_i}(x'_{f_j}, y) + L_{f_j}(x'_{f_i}, y)]``.

    Args:
        losses: of :func:`transferred_losses`, ``(M, M, B)``.

    Returns:
        symmetric ``(M, M)`` in nats; the diagonal, a sub-model with itself, is no diversity.
    """
    expected = losses.mean(dim=-1)
    return (expected + expected.T) / 2


def diversity(losses: Tensor) -> Tensor:
    """Mean of :func:`pairwise_diversity` over all pairs of different sub-models, a scalar in nats; M at least 2."""
    pairs = pairwise_diversity(losses)
    above = torch.ones_like(pairs, dtype=torch.bool).triu(diagonal=1)
    return pairs[above].mean()
