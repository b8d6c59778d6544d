"""DVERGE and adversarial training as their formulas read, nothing shared, left out or rearranged.

Train-mode BatchNorm throughout, parameter gradients in every backward pass, the target's features anew at every step of
the distillation, one optimiser per sub-model. What is fast is measured against this, and must give the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from robustbench_ens.models.ensemble import SubModel


def distil(
    member: SubModel, source: Tensor, target: Tensor, layer: int, eps: float, step_size: float, steps: int
) -> Tensor:
    """DVERGE, Equation 1: ``argmin_z ||f_l(z) - f_l(target)||_2^2`` subject to ``||z - source||_inf <= eps``.

    Momentum gradient descent from ``source`` by signs, decay 1, gradients of unit L1 norm per image.

    Args:
        member: the sub-model, in train mode; its parameters collect gradients.
        source, target: images ``(B, C, H, W)`` in [0, 1].
        layer: ``l``, from 1 to ``member.num_layers``.
        eps, step_size: in pixel scale.
        steps: gradient steps.

    Returns:
        images ``(B, C, H, W)`` in [0, 1], within ``eps`` of ``source``.
    """
    z = source.clone()
    momentum = torch.zeros_like(z)
    for _ in range(steps):
        z.requires_grad_(True)
        features = member.features(z, layer)
        wanted = member.features(target, layer).detach()
        (features - wanted).square().sum().backward()
        assert z.grad is not None
        momentum = momentum + z.grad / z.grad.abs().sum(dim=(1, 2, 3), keepdim=True)
        z = z.detach() - step_size * momentum.sign()
        z = torch.clamp(torch.clamp(z, source - eps, source + eps), 0, 1)
    return z


def dverge_step(
    members: Sequence[SubModel],
    optimizers: Sequence[Optimizer],
    source: Tensor,
    labels: Tensor,
    target: Tensor,
    layer: int,
    eps: float = 0.07,
    steps: int = 10,
) -> None:
    """DVERGE, Algorithm 1, one round: sub-model ``i`` minimises ``sum_{j != i} CE(f_i(x'_j), y)`` (Equation 5).

    Args:
        members: the sub-models; they change.
        optimizers: one per sub-model.
        source: images ``(B, C, H, W)`` in [0, 1], from which every sub-model's ``x'_j`` is distilled.
        labels: ``y`` ``(B,)``, of ``source``.
        target: images ``(B, C, H, W)`` in [0, 1], whose features are sought.
        layer: at which to distil.
        eps: in pixel scale; a distillation step is ``eps / steps`` long.
        steps: of the distillation.
    """
    for member in members:
        member.train()
    distilled = [distil(member, source, target, layer, eps, eps / steps, steps) for member in members]
    for i, (member, optimizer) in enumerate(zip(members, optimizers, strict=True)):
        optimizer.zero_grad()
        losses = [F.cross_entropy(member(images), labels) for j, images in enumerate(distilled) if j != i]
        torch.stack(losses).sum().backward()
        optimizer.step()


def pgd(
    members: Sequence[SubModel],
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    eps: float,
    step_size: float,
    steps: int,
) -> Tensor:
    """PGD (arXiv:1706.06083) on ``-log mean_m softmax(f_m(x))_y``, the ensemble's cross-entropy.

    Args:
        members: the sub-models, in train mode; their parameters collect gradients.
        images: ``(B, C, H, W)`` in [0, 1].
        labels: ``y`` ``(B,)``.
        start: random offset ``(B, C, H, W)`` in units of ``eps``, in [-1, 1].
        eps, step_size: in pixel scale.
        steps: gradient steps.

    Returns:
        images ``(B, C, H, W)`` in [0, 1], within ``eps`` of ``images``.
    """
    x = torch.clamp(images + eps * start, 0, 1)
    for _ in range(steps):
        x.requires_grad_(True)
        probabilities = torch.stack([F.softmax(member(x), dim=1) for member in members]).mean(dim=0)
        F.nll_loss(probabilities.log(), labels).backward()
        assert x.grad is not None
        x = x.detach() + step_size * x.grad.sign()
        x = torch.clamp(torch.clamp(x, images - eps, images + eps), 0, 1)
    return x


def advt_step(
    members: Sequence[SubModel],
    optimizers: Sequence[Optimizer],
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    eps: float = 8 / 255,
    step_size: float = 2 / 255,
    steps: int = 10,
) -> None:
    """Adversarial training, one step: sub-model ``i`` minimises ``CE(f_i(x + delta), y)``, ``delta`` by :func:`pgd`.

    Args:
        members: the sub-models; they change.
        optimizers: one per sub-model.
        images: ``(B, C, H, W)`` in [0, 1].
        labels: ``y`` ``(B,)``.
        start: random offset ``(B, C, H, W)`` in units of ``eps``, in [-1, 1].
        eps, step_size: in pixel scale.
        steps: of the attack.
    """
    for member in members:
        member.train()
    adversarial = pgd(members, images, labels, start, eps, step_size, steps)
    for member, optimizer in zip(members, optimizers, strict=True):
        optimizer.zero_grad()
        F.cross_entropy(member(adversarial), labels).backward()
        optimizer.step()
