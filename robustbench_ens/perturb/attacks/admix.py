"""Admix (arXiv:2102.00436): copies mixed with a little of images of other classes, each at several brightnesses."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustbench_ens.errors import UserError
from robustbench_ens.perturb.attack import MomentumAttack, own_facts


def admixed(images: Tensor, others: Tensor, strength: float, scale: int) -> Tensor:
    """Return ``(x + strength * other) / 2**scale``; the gradient flows through ``x`` alone.

    Args:
        images, others: ``(B, C, H, W)``.
        strength: ``eta`` of the paper.
        scale: 0 leaves the brightness as it is.
    """
    return (images + strength * others.detach()) / 2**scale


def partners(uniform: Tensor, labels: Tensor, pool_labels: Tensor) -> Tensor:
    """Return for each image the position of an image of another class in a fixed pool.

    The released code mixes with the other images of the batch, so that what an image becomes depends on its company;
    and it may pick the image itself, or one of its own class, where the paper asks for another category. Here the
    pool is fixed, and the ``k``-th of its images of other classes is taken, ``k`` the whole part of the draw times
    their number.

    Args:
        uniform: draws in [0, 1), ``(B,)``.
        labels: ``(B,)``.
        pool_labels: classes of the images of the pool, ``(P,)``.

    Raises:
        UserError: the pool has no image of another class.
    """
    foreign = pool_labels.unsqueeze(0) != labels.unsqueeze(1)
    count = foreign.sum(dim=1)
    if not bool((count > 0).all()):
        raise UserError(
            "attack admix: expected images of at least 2 classes, which are mixed with each other, got 1; attack more "
            "images, or use sim, which mixes nothing"
        )
    wanted = (uniform * count).long().clamp_max(count - 1)
    # The position where the running number of images of other classes first exceeds k.
    return torch.searchsorted(foreign.cumsum(dim=1), wanted.unsqueeze(1), right=True).squeeze(1)


class Admix(MomentumAttack):
    """Momentum over the mean gradient of copies: three partners, each at five brightnesses (``m2`` and ``m1``).

    Partners are clean images of the evaluation, drawn anew at each step.
    """

    facts = own_facts("admix")
    plain_values = False
    mixes: ClassVar[int] = 3
    scales: ClassVar[int] = 5
    strength: ClassVar[float] = 0.2
    copies = 15

    def others(self, images: Tensor, step: int, mix: int) -> Tensor:
        """Return the images that are mixed in, ``(B, C, H, W)``."""
        problem = self.problem
        uniform = problem.draws.uniform(f"admix {mix}", step, (), images).cpu()
        positions = partners(uniform, problem.labels.cpu(), problem.pool.labels)
        return problem.pool.images[positions].to(images)

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return the images mixed with others."""
        scale, mix = divmod(copy, self.mixes)
        return admixed(images, self.others(images, step, mix), self.strength, scale)
