"""Targeted MORA (arXiv:2211.08008): each restart aims at another class, the likeliest wrong ones first.

Restart ``r`` aims at the class of rank ``r % (classes - 1)`` among the wrong ones of the clean image, by the ensemble's
answer, and mixes by ``MIXES[r % 5]``: with ten classes, 45 restarts try each class with each mix.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import own_facts
from robustbench_ens.perturb.attacks.mora import Mora


def ranked_other(scores: Tensor, labels: Tensor, rank: int) -> Tensor:
    """Return the class of a rank among those that are not the label, by descending score, ``(B,)``.

    Args:
        scores: ``(B, classes)``.
        labels: ``(B,)``.
        rank: from 0; beyond the last class it starts again.
    """
    others = scores.scatter(1, labels.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True, stable=True)
    return others[:, rank % max(scores.shape[1] - 1, 1)]


class MoraTargeted(Mora):
    """MORA towards one class, on the loss of the two logits of that class and the label."""

    facts = own_facts("mora_targeted")

    @cached_property
    def aimed_at(self) -> Tensor:
        """The class that this restart aims at, ``(B,)``."""
        with torch.no_grad():
            scores = self.problem.scores(self.problem.images)
        return ranked_other(scores, self.problem.labels, self.problem.draws.restart)

    def targets(self, mean: Tensor) -> Tensor:
        """Return the classes that weights count towards, ``(B,)``."""
        return self.aimed_at

    def loss(self, logits: Tensor) -> Tensor:
        """Return the loss of the label against the class that is aimed at, of mixed logits ``(B, classes)``."""
        labels = self.problem.labels
        both = logits.gather(1, torch.stack([labels, self.aimed_at], dim=1))
        return self.problem.loss(both, torch.zeros_like(labels))
