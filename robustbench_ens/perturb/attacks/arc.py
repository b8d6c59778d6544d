"""ARC (arXiv:2206.06737): walks towards the nearest boundaries of the sub-models of a random ensemble, one by one.

A random ensemble answers by sub-model ``m`` with probability ``p_m``. The attack lowers the expected accuracy of each
image, ``sum_m p_m [member m is right]``, and not a loss: a mean loss may rise although no sub-model errs.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import Attack, Scores, own_facts
from robustbench_ens.perturb.gradient import project

MARGIN = 0.05
"""``rho`` in units of eps: how far beyond a boundary to go."""

ROUNDING = 1e-9
"""Below which two expected accuracies are the same."""


class Boundary(NamedTuple):
    """The nearest boundary of a network that is linearised at each image.

    Attributes:
        distance: in l-infinity, ``(B,)``; infinite if the network does not depend on the image.
        normal: away from the predicted class, of unit l1 norm, ``(B, C, H, W)``.
        predicted: the classes, ``(B,)``.
    """

    distance: Tensor
    normal: Tensor
    predicted: Tensor


def nearest_boundary(network: Scores, images: Tensor, rivals: int | None = None) -> Boundary:
    """Return the boundary to the class that is nearest, ``min_j (z_m - z_j) / ||grad (z_m - z_j)||_1``.

    ``m`` is the predicted class. One gradient is taken for each class (Section 4.2 of arXiv:2206.06737).

    Args:
        network: from images to logits.
        images: ``(B, C, H, W)``.
        rivals: look only at so many other classes, those of the highest logits; at all unless given.
    """
    x = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = network(x)
        classes = logits.shape[1] if rivals is None else min(rivals + 1, logits.shape[1])
        ranked, order = logits.topk(classes, dim=1)
        gradients = [torch.autograd.grad(one.sum(), x, retain_graph=True)[0] for one in ranked.unbind(1)]
    gaps = (ranked[:, :1] - ranked[:, 1:]).detach()
    distance = torch.full_like(gaps[:, 0], torch.inf)
    normal = torch.zeros_like(images)
    for gap, gradient in zip(gaps.unbind(1), gradients[1:], strict=True):
        away = gradient - gradients[0]
        size = away.flatten(1).abs().sum(dim=1)
        found = gap / size
        nearer = found < distance
        distance = torch.where(nearer, found, distance)
        normal = torch.where(_each(nearer, images), away / _each(size, images), normal)
    return Boundary(distance, normal, order[:, 0])


def local_step(boundary: Boundary, moved: Tensor, radius: float, margin: float) -> Tensor:
    """Return a move of l-infinity size ``radius`` that goes on from ``moved`` across a boundary (Algorithm 2).

    ``radius * v / ||v||`` with ``v = moved + beta * sign(normal)``, where ``beta = radius / (radius - distance) *
    |distance - <normal, moved>| + margin`` if the boundary is nearer than ``radius``, and else ``beta = radius``.

    Args:
        boundary: of one sub-model.
        moved: what earlier sub-models asked for, ``(B, C, H, W)``; zeros for the first.
        radius: in pixel scale.
        margin: ``rho``, in pixel scale.
    """
    within = boundary.distance < radius
    distance = torch.where(within, boundary.distance, 0.0)
    gone = (boundary.normal * moved).flatten(1).sum(dim=1)
    crossing = radius / (radius - distance).clamp_min(1e-10) * (distance - gone).abs() + margin
    beta = torch.where(within, crossing, radius)
    move = moved + _each(beta, moved) * boundary.normal.sign()
    size = move.flatten(1).abs().amax(dim=1).clamp_min(1e-10)
    return radius * move / _each(size, moved)


def _each(per_image: Tensor, like: Tensor) -> Tensor:
    """``(B,)`` as ``(B, 1, 1, 1)``, to be broadcast over the images ``like``."""
    return per_image.view(-1, *(1 for _ in like.shape[1:]))


class Arc(Attack):
    """ARC: at each step, one local step per sub-model, kept if the expected accuracy does not rise.

    Sub-models come in descending order of probability, of equal ones the last first. ``step_size`` is the radius of
    the local steps, for which the paper takes eps/4; the loss is not used. Two deviations. The random start is scored
    as it is. And a sub-model that errs already is left alone: it needs no push, which could set it right again.

    Attributes:
        rivals: how many classes beside the predicted one are looked at, those of the highest logits; all unless given.
        as_released: as in the released code, which takes the clean image's accuracy for that of the random start, and
            pushes every sub-model.
    """

    facts = own_facts("arc")
    rivals: ClassVar[int | None] = None
    as_released: ClassVar[bool] = False

    def start(self) -> Tensor:
        """Return offsets in units of eps to start at, ``(B, C, H, W)``."""
        return self.problem.random_start()

    def expected_accuracy(self, images: Tensor) -> Tensor:
        """Return the probability that the answer to each image is right, ``(B,)``, in float64."""
        problem = self.problem
        with torch.no_grad():
            right = torch.stack([member(images).argmax(dim=1) == problem.labels for member in problem.members])
        return (right * problem.probabilities.to(images.device).unsqueeze(1)).sum(dim=0)

    def run(self) -> Tensor:
        """Return the images of the lowest expected accuracy found; of equal ones, the last."""
        problem, clean = self.problem, self.problem.images
        x = project(clean + problem.eps * self.start(), clean, problem.eps)
        value = self.expected_accuracy(clean if self.as_released else x)
        for _ in range(problem.steps):
            if not (self.as_released or (value > ROUNDING).any()):
                break
            found, reached = self._round(x, value)
            x = torch.where(_each(reached <= value + ROUNDING, x), found, x)
            value = torch.minimum(value, reached)
        return x

    def _round(self, x: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the local steps of all sub-models lead from ``x``, and the expected accuracy there."""
        problem = self.problem
        moved = torch.zeros_like(x)
        found = x
        # Of equal probabilities, the last first.
        for place in problem.probabilities.argsort(stable=True).flip(0).tolist():
            boundary = nearest_boundary(problem.members[place], x + moved, self.rivals)
            move = local_step(boundary, moved, problem.step_size, MARGIN * problem.eps)
            candidate = project(x + move, problem.images, problem.eps)
            reached = self.expected_accuracy(candidate)
            kept = reached <= value + ROUNDING
            if not self.as_released:
                kept &= boundary.predicted == problem.labels
            moved = torch.where(_each(kept, x), move, moved)
            found = torch.where(_each(kept, x), candidate, found)
            value = torch.where(kept, torch.minimum(value, reached), value)
        return found, value
