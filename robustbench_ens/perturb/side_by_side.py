"""Sub-models differentiated at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Like the built-in ``map``, maybe at the same time; keeps the order."""


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, members: Sequence[nn.Module], side_by_side: Map) -> Tensor:
        def run(member: nn.Module) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                own = images.detach().requires_grad_(True)
                return own, member(own)

        ctx.side_by_side, ctx.runs = side_by_side, list(side_by_side(run, members))
        return torch.stack([logits.detach() for _, logits in ctx.runs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        def by_images(part: tuple[tuple[Tensor, Tensor], Tensor]) -> Tensor:
            (own, logits), weight = part
            return torch.autograd.grad(logits, own, weight)[0]

        gradients = list(ctx.side_by_side(by_images, zip(ctx.runs, gradient, strict=True)))
        return torch.stack(gradients).sum(dim=0), None, None


def member_logits(images: Tensor, members: Iterable[nn.Module], side_by_side: Map) -> Tensor:
    """Logits of every sub-model, ``(M, B, classes)``; differentiable once, and by the images only.

    Args:
        images: ``(B, C, H, W)``.
        members: the sub-models, whose parameters get no gradient.
        side_by_side: runs their forward, and later their backward, passes.
    """
    logits: Tensor = _SideBySide.apply(images, list(members), side_by_side)
    return logits
