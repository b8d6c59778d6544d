"""Auto-PGD: gradient steps that halve themselves where they stop paying (Croce and Hein 2020, arXiv:2003.01690)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_ens.perturb.attack import Attack, Judged, own_facts
from robustbench_ens.perturb.gradient import OnStep, project

MOMENTUM = 0.75
"""``alpha`` in Section 3.1: the part of a step that is new; the rest continues the step before."""

RISING = 0.75
"""``rho`` in condition 1: the part of the steps since the last checkpoint that must have raised the objective."""


Objective = Callable[[Tensor], Judged]
"""Maps images ``(B, C, H, W)`` to a value and a verdict for each; each depends on its image alone."""


def checkpoints(steps: int) -> list[int]:
    """The steps before which the step size is reconsidered, ``w_j = ceil(p_j * steps)`` (Section 3.1).

    ``p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)``, counted in hundredths so that no
    rounding moves a checkpoint. ``w_0 = 0``, which reconsiders nothing, and repeats are left out.
    """
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    found = {-(-percent * steps // 100): None for percent in percents[1:] if percent < 100}
    return [step for step in found if step < steps]


class _Best:
    """The best point of each image so far, with its gradient, and the first point that beat the model."""

    def __init__(self, start: Tensor) -> None:
        self.points, self.winners = start.clone(), start.clone()
        self.gradients = torch.zeros_like(start)
        self.values = start.new_full(start.shape[:1], -torch.inf)
        self.beaten = torch.zeros(start.shape[:1], dtype=torch.bool, device=start.device)

    def see(self, points: Tensor, judged: Judged, gradients: Tensor | None = None) -> None:
        better = judged.values > self.values
        self.values = torch.where(better, judged.values, self.values)
        self.points = torch.where(_each(better, points), points, self.points)
        if gradients is not None:
            self.gradients = torch.where(_each(better, points), gradients, self.gradients)
        won = judged.beaten & ~self.beaten
        self.winners = torch.where(_each(won, points), points, self.winners)
        self.beaten |= won

    def found(self) -> Tensor:
        """For each image, the first point that beat the model, or else the one of the highest value."""
        return torch.where(_each(self.beaten, self.points), self.winners, self.points)


class _StepSize:
    """A step size for each image: ``2 * eps`` at first, halved where one of the two conditions says so."""

    def __init__(self, values: Tensor, eps: float) -> None:
        self.sizes = torch.full_like(values, 2 * eps)
        self.rises = torch.zeros_like(values)
        self.steps = 0
        self.halved = torch.zeros_like(values, dtype=torch.bool)
        self.best = values

    def count(self, rose: Tensor) -> None:
        self.rises, self.steps = self.rises + rose, self.steps + 1

    def reconsider(self, best: Tensor) -> Tensor:
        """Halve where due, at a checkpoint; returns where, ``(B,)``.

        Condition 1: fewer than ``rho`` of the steps since the last checkpoint raised the objective. Condition 2: the
        last checkpoint did not halve, and the best value is what it was there.
        """
        halved = (self.rises < RISING * self.steps) | (~self.halved & (best == self.best))
        self.sizes = torch.where(halved, self.sizes / 2, self.sizes)
        self.rises, self.steps, self.halved, self.best = torch.zeros_like(best), 0, halved, best
        return halved


def apgd(
    images: Tensor,
    objective: Objective,
    *,
    eps: float,
    steps: int,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Maximise ``objective`` within ``eps`` of ``images`` (l-infinity) by Algorithm 1 of arXiv:2003.01690.

    ``z = P(x_k + size * sign(grad(x_k)))``, ``x_{k+1} = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))``, and
    ``x_1 = z``. At each of :func:`checkpoints` an image's step size is halved, and the image goes on from its best
    point, where few steps paid or the best value stands still.

    Two deviations. The conditions are looked at before the step of a checkpoint, where the paper takes that step and
    throws it away; both decide by the same points. And the first point that beats the model is kept, whatever its
    value: the highest loss need not be an error, and nothing is left to do for that image. Where all are beaten, the
    loop ends.

    Args:
        images: ``(B, C, H, W)`` in [0, 1]; not changed.
        objective: what to maximise, and what is beaten. Its module's parameters should ask for no gradient.
        eps: l-infinity radius in pixel scale.
        steps: gradients taken; one more forward pass judges the last point.
        start: images ``(B, C, H, W)`` to start at, once projected into the budget; none starts at ``images``.
        on_step: an observer; must change nothing.

    Returns:
        images ``(B, C, H, W)`` within ``eps`` of ``images`` and in [0, 1], detached: the first point that beat the
        model, or else the point of the highest value.
    """
    images = images.detach()
    x = images if start is None else project(start.detach(), images, eps)
    before, values_before = x, images.new_zeros(0)
    best, due = _Best(x), set(checkpoints(steps))
    for step in range(steps):
        judged, gradient = _ascent(x, objective)
        best.see(x, judged, gradient)
        if on_step:
            on_step(step, judged.values, gradient)
        if best.beaten.all():
            return best.found()
        if step == 0:
            size = _StepSize(judged.values, eps)
        else:
            size.count(judged.values > values_before)
        values_before = judged.values
        if step in due:
            halved = size.reconsider(best.values)
            x = torch.where(_each(halved, x), best.points, x)
            gradient = torch.where(_each(halved, x), best.gradients, gradient)
            values_before = torch.where(halved, best.values, values_before)
        forward = project(x + _each(size.sizes, x) * gradient.sign(), images, eps)
        if step > 0:
            forward = project(x + MOMENTUM * (forward - x) + (1 - MOMENTUM) * (x - before), images, eps)
        before, x = x, forward
    with torch.no_grad():
        best.see(x, objective(x))
    return best.found()


def _ascent(x: Tensor, objective: Objective) -> tuple[Judged, Tensor]:
    """What the objective says of ``x``, and the gradient of its values; detached."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        judged = objective(x)
        (gradient,) = torch.autograd.grad(judged.values.sum(), x)
    return Judged(judged.values.detach(), judged.beaten), gradient


def _each(per_image: Tensor, like: Tensor) -> Tensor:
    """``(B,)`` as ``(B, 1, 1, 1)``, to be broadcast over the images ``like``."""
    return per_image.view(-1, *(1 for _ in like.shape[1:]))


class Apgd(Attack):
    """APGD from a random start, on the loss of the protocol; its step size is its own."""

    facts = own_facts("apgd")

    def run(self) -> Tensor:
        """Return for each image the first point that beat the model, or else the one of the highest loss."""
        problem = self.problem
        start = problem.images + problem.eps * problem.random_start()
        return apgd(
            problem.images, problem.judged, eps=problem.eps, steps=problem.steps, start=start, on_step=problem.on_step
        )
