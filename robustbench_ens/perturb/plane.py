"""The plane that decision regions are drawn in: an adversarial direction and a random one (DVERGE, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustbench_ens.core.seeds import generator
from robustbench_ens.perturb.losses import cross_entropy


def adversarial_direction(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """``sign(grad_x L(f(x), y))`` at the clean image, with the cross-entropy of the true class.

    The paper does not say how its adversarial direction was found; this is the first step of every attack here.

    Args:
        model: in eval mode, maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities.
        image: ``(C, H, W)`` in [0, 1].
        label: its true class.

    Returns:
        ``(C, H, W)`` of -1, 0 and 1; 0 where a pixel has no gradient.
    """
    x = image.detach().clone().unsqueeze(0).requires_grad_(True)
    with torch.enable_grad():
        loss = cross_entropy(model(x), torch.tensor([label], device=image.device)).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    return gradient.squeeze(0).sign()


def rademacher_direction(shape: Sequence[int], *key: object) -> Tensor:
    """-1 or 1 for each pixel, with equal probability: a function of ``key`` alone; float32, on the CPU."""
    return torch.randint(0, 2, tuple(shape), generator=generator("rademacher", *key), device="cpu").float() * 2 - 1


def coefficients(eps: float, grid: int) -> Tensor:
    """``grid`` numbers from ``-eps`` to ``eps``, float64; the middle one is 0 exactly."""
    half = (grid - 1) // 2
    return torch.arange(-half, half + 1, dtype=torch.float64, device="cpu") * (eps / half)


def plane(image: Tensor, up: Tensor, across: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``clip(image + rows[k] * up + columns[k] * across)`` to [0, 1], for each ``k``.

    With directions of -1 and 1 a point is ``|row| + |column|`` away from the image (l-infinity), or nearer where it was
    clipped: the points within eps are those of a square that stands on its corner.

    Args:
        image, up, across: ``(C, H, W)``.
        rows, columns: ``(N,)``, how far to go along ``up`` and ``across``.

    Returns:
        ``(N, C, H, W)``.
    """
    shape = (-1, *(1 for _ in image.shape))
    moved = rows.to(image).view(shape) * up + columns.to(image).view(shape) * across
    return (image + moved).clamp(0, 1)
