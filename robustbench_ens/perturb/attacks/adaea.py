"""AdaEA (arXiv:2308.02897): sub-models weighed by how their steps hurt the others, and pixels where gradients agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_ens.perturb.attack import MomentumAttack, own_facts, unit_mean
from robustbench_ens.perturb.attacks.members import look_at_member
from robustbench_ens.perturb.gradient import Look, project, value_and_gradient
from robustbench_ens.perturb.losses import cross_entropy


def weights(losses: Tensor, beta: float) -> Tensor:
    """Return ``softmax_j(beta * sum_{i != j} L_i(x_j) / L_i(x_i))``: the adaptive gradient modulation.

    Args:
        losses: ``L_i(x_j)``, sub-model i's cross-entropy at the images that sub-model j's gradient leads to,
            ``(M, M, B)`` by ``[i, j]``. Those below the rounding of their type count as that, so that a certain
            sub-model divides nothing by zero.
        beta: how sharply the weights differ.

    Returns:
        ``(M, B)``, with sum 1 over the sub-models.
    """
    losses = losses.clamp_min(torch.finfo(losses.dtype).eps)
    own = losses.diagonal(dim1=0, dim2=1).T.unsqueeze(1)
    ratios = losses / own
    others = ratios.sum(dim=0) - ratios.diagonal(dim1=0, dim2=1).T
    return torch.softmax(beta * others, dim=0)


def similarity(gradients: Sequence[Tensor], as_released: bool = False) -> Tensor:
    """Return how well the sub-models' gradients agree at each pixel: the map of the disparity-reduced filter.

    It is the mean over pairs of sub-models of the cosine between their gradients along the channels. With one channel
    a cosine is 1 or -1, and of three sub-models two against one give -1/3.

    Args:
        gradients: of each sub-model, ``(B, C, H, W)``.
        as_released: whether the last sub-model's mean cosine counts as zero, as in the released code.

    Returns:
        ``(B, 1, H, W)``; ones for a single sub-model.
    """
    members = len(gradients)
    if members == 1:
        return torch.ones_like(gradients[0][:, :1])
    units = torch.stack([F.normalize(unit_mean(gradient), dim=1) for gradient in gradients])
    with_others = (units * (units.sum(dim=0) - units)).sum(dim=2, keepdim=True) / (members - 1)
    counted = with_others[:-1] if as_released else with_others
    return counted.sum(dim=0) / members


class AdaEa(MomentumAttack):
    """Momentum over the gradient of the loss at ``sum_k w_k z_k``, zero at pixels where sub-models disagree.

    ``z_k`` are the sub-models' logits, ``w`` the :func:`weights` of the images that a step along each sub-model's own
    gradient leads to, ``x_j = project(x + step_size * sign(g_j))``, and a pixel is kept if its :func:`similarity` is at
    least the threshold. Weights come from cross-entropy whatever the loss: a ratio needs positive losses.

    Weights are those of one image. With ``as_released`` they are those of the batch's mean losses, and the filter
    forgets the last sub-model, as in the released code: images then depend on the batch, so that no attack of the table
    does it. To run it, subclass in a module of your own. The released start, normal noise of deviation 0.001, is left
    out. On a single network nothing is weighed or filtered, and momentum remains.
    """

    facts = own_facts("adaea")
    plain_values = False
    beta: ClassVar[float] = 10.0
    threshold: ClassVar[float] = -0.3
    as_released: ClassVar[bool] = False

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values and gradient of the weighed sub-models, filtered."""
        problem = self.problem
        own = [look_at_member(problem, member, images).gradient for member in problem.members]
        weight = self.weighed(images, own)

        def fused(points: Tensor) -> Tensor:
            logits = torch.stack([member(points) for member in problem.members])
            return problem.loss((weight.unsqueeze(2) * logits).sum(dim=0), problem.labels)

        look = value_and_gradient(fused, images)
        return Look(look.values, look.gradient * self.kept(own))

    def weighed(self, images: Tensor, own: Sequence[Tensor]) -> Tensor:
        """Return the weights of the sub-models, ``(M, B)``, given the gradient of each."""
        problem = self.problem
        with torch.no_grad():
            steps = [project(images + problem.step_size * one.sign(), problem.images, problem.eps) for one in own]
            losses = torch.stack(
                [
                    torch.stack([cross_entropy(member(points), problem.labels) for points in steps])
                    for member in problem.members
                ]
            )
        if self.as_released:
            losses = losses.mean(dim=2, keepdim=True).expand_as(losses)
        return weights(losses, self.beta).to(images)

    def kept(self, own: Sequence[Tensor]) -> Tensor:
        """Return 1 for pixels that are kept and 0 for others, ``(B, 1, H, W)``, given the sub-models' gradients."""
        return (similarity(own, self.as_released) >= self.threshold).to(own[0])
