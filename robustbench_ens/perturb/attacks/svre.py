"""SVRE (arXiv:2111.10752): an ensemble's gradient whose variance over sub-models an inner loop reduces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import MomentumAttack, own_facts, unit_mean
from robustbench_ens.perturb.attacks.members import look_at_member
from robustbench_ens.perturb.gradient import Look, project


def picks(uniform: Tensor, members: int) -> Tensor:
    """Return which sub-model each uniform number of [0, 1) picks, each equally likely; of the shape of ``uniform``."""
    return (uniform * members).long().clamp_max(members - 1)


class Svre(MomentumAttack):
    """Momentum over a direction that an inner loop accumulates, with a sub-model drawn for each of its steps.

    With the gradients ``g`` of the ensemble and ``g_k`` of sub-model k at ``x_t``, and ``k`` drawn anew, the inner loop
    begins at ``z = x_t`` and ``G = 0`` and repeats, four times as often as there are sub-models,

        ``r = grad J_k(z) - (g_k - g)``, ``G <- decay * G + r / mean |r|``, ``z <- project(z + step_size * sign(G))``.

    The outer momentum accumulates ``G``. Each image has draws of its own, where the released code draws a sub-model for
    the batch. On a single network ``r`` is the gradient at ``z``: each step looks four steps of momentum ahead.
    """

    facts = own_facts("svre")
    inner_steps_per_member: ClassVar[int] = 4

    def picked(self, images: Tensor, step: int) -> Tensor:
        """Return the sub-model of each inner step, ``(B, inner steps)``."""
        members = len(self.problem.members)
        shape = (self.inner_steps_per_member * members,)
        return picks(self.problem.draws.uniform("sub-model", step, shape, images), members)

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return the ensemble's values, and the direction that the inner loop ends with."""
        problem = self.problem
        whole = self.look(images, step)
        known = [whole.gradient - look_at_member(problem, member, images).gradient for member in problem.members]
        points = images
        direction = torch.zeros_like(images)
        for one_each in self.picked(images, step).unbind(1):
            reduced = self._reduced(points, one_each, known)
            direction = self.decay * direction + unit_mean(reduced)
            points = project(points + problem.step_size * direction.sign(), problem.images, problem.eps)
        return Look(whole.values, direction)

    def _reduced(self, points: Tensor, one_each: Tensor, known: Sequence[Tensor]) -> Tensor:
        """Return ``r`` of each image, ``(B, C, H, W)``.

        Args:
            points: where the inner loop stands, ``(B, C, H, W)``.
            one_each: the sub-model of each image, ``(B,)``.
            known: for each sub-model what its gradient is corrected by, ``(B, C, H, W)``.
        """
        found = torch.empty_like(points)
        for index, member in enumerate(self.problem.members):
            rows = one_each == index
            if rows.any():
                found[rows] = look_at_member(self.problem, member, points[rows], rows).gradient + known[index][rows]
        return found
