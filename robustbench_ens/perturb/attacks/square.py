"""Square (arXiv:1912.00049): random squares of pixels pushed to the edge of the budget, kept if the loss rises."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import Attack, own_facts

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10000, after which the share of pixels in a square is halved (Section 5)."""


def square_side(step: int, steps: int, share: float, height: int, width: int) -> int:
    """Return the side of the square of a query, ``round(sqrt(p * height * width))``, at least 1.

    ``p`` is ``share`` at first and halved at ``HALVINGS``, which are scaled to the number of queries.

    Args:
        step: the query, from 0.
        steps: all queries.
        share: of the pixels, in [0, 1].
        height, width: of the images; no side is longer than the shorter.
    """
    progress = step * 10000 // steps
    part = share / 2 ** sum(progress > halving for halving in HALVINGS)
    return max(min(round(math.sqrt(part * height * width)), height, width), 1)


def with_square(change: Tensor, corner: Tensor, side: int, signs: Tensor, eps: float) -> Tensor:
    """Return ``change`` with ``eps * signs`` in one square of each image.

    Args:
        change: ``(B, C, H, W)``, from the clean images.
        corner: draws in [0, 1) of the square's place, ``(B, 2)``.
        side: of the square, at most that of the images.
        signs: -1 or 1, ``(B, C)``.
        eps: in pixel scale.
    """
    inside = []
    for axis, length in enumerate(change.shape[-2:]):
        begin = (corner[:, axis : axis + 1] * (length - side + 1)).floor()
        pixels = torch.arange(length, device=change.device)
        inside.append((pixels >= begin) & (pixels < begin + side))
    square = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return torch.where(square.unsqueeze(1), eps * signs.view(*signs.shape, 1, 1), change)


class Square(Attack):
    """Random search by scores alone: ``steps`` queries, the first of vertical stripes, then one square each.

    A square is kept if the loss rises. An image that is beaten is left as it is. It follows no gradient and has no
    step size.
    """

    facts = own_facts("square")
    share: ClassVar[float] = 0.8
    """As AutoAttack has it for small images; the paper's 0.05 is for images of 224 pixels."""

    def run(self) -> Tensor:
        """Return the images of the highest loss found."""
        problem = self.problem
        images, eps, draws = problem.images, problem.eps, problem.draws
        channels, height, width = images.shape[1:]
        best = torch.zeros_like(images)
        values = images.new_full(images.shape[:1], -torch.inf)
        beaten = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for step in range(problem.steps):
            if step == 0:
                stripes = draws.uniform("stripes", 0, (channels, 1, width), images) < 0.5
                change = torch.where(stripes, -eps, eps).to(images).expand_as(images)
            else:
                drawn = draws.uniform("square", step, (2 + channels,), images)
                side = square_side(step, problem.steps, self.share, height, width)
                change = with_square(
                    best, drawn[:, :2], side, torch.where(drawn[:, 2:] < 0.5, -1.0, 1.0).to(images), eps
                )
            with torch.no_grad():
                found = problem.judged((images + change).clamp(0, 1))
            better = (found.values > values) & ~beaten
            best = torch.where(better.view(-1, 1, 1, 1), change, best)
            values = torch.where(better, found.values, values)
            beaten |= better & found.beaten
            if beaten.all():
                break
        return (images + best).clamp(0, 1)
