"""The one gradient loop: every attack, and every image crafted for training, is a setting of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError

Objective = Callable[[Tensor], Tensor]
"""Maps images ``(B, C, H, W)`` to one value per image ``(B,)``, to be maximised."""

Treatment = Callable[[Tensor, Tensor], Tensor]
"""Maps a gradient and the previous direction (zeros at first) to the direction whose sign is followed."""

Transform = Callable[[Tensor, int], Tensor]
"""Maps images and the step, from 0 at the very start, to the images whose gradient is taken; differentiable."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""Told, at each step (from 0 at the very start), the values ``(B,)`` before it and their gradient ``(B, C, H, W)``.

Both are detached. Where images are transformed, the values at the first and the last step are those without a
transformation.
"""


@dataclass(frozen=True)
class Standing:
    """Where the gradient loop stands after so many steps: all that it needs to go on.

    Attributes:
        images: ``(B, C, H, W)``.
        direction: ``(B, C, H, W)``, whose sign the last step followed.
        steps: taken so far.
    """

    images: Tensor
    direction: Tensor
    steps: int


def plain(gradient: Tensor, previous: Tensor) -> Tensor:
    """Follow the gradient itself (PGD, arXiv:1706.06083)."""
    return gradient


def momentum(decay: float = 1.0) -> Treatment:
    """Accumulate gradients of unit L1 norm: ``g <- decay * g + grad / ||grad||_1`` per image (arXiv:1710.06081)."""

    def treat(gradient: Tensor, previous: Tensor) -> Tensor:
        norm = gradient.abs().sum(dim=tuple(range(1, gradient.dim())), keepdim=True)
        return decay * previous + gradient / norm.clamp_min(torch.finfo(gradient.dtype).tiny)

    return treat


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No parameter of ``module`` asks for gradients inside this context; what they asked for before comes back."""
    asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def project(images: Tensor, center: Tensor, eps: float) -> Tensor:
    """The nearest images within ``eps`` of ``center`` (l-infinity) and within [0, 1]."""
    return torch.minimum(torch.maximum(images, (center - eps).clamp_min(0)), (center + eps).clamp_max(1))


TOLERANCE = 1e-6
"""How far rounding may carry a pixel out of its budget."""


def check_budget(crafted: Tensor, images: Tensor, eps: float) -> None:
    """Refuse images outside the budget; every image that is scored passes here.

    Raises:
        UserError: a pixel differs from its clean one by more than ``eps``, or leaves [0, 1], by more than 1e-6.
    """
    used = float((crafted - images).abs().max()) if len(images) else 0.0
    low, high = (float(crafted.min()), float(crafted.max())) if len(images) else (0.0, 1.0)
    if not (used <= eps + TOLERANCE and low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise UserError(
            f"crafted images: expected at most eps {eps} from the clean image and pixels in [0, 1], "
            f"got {used:.7g} and [{low:.7g}, {high:.7g}]"
        )


def _watched(values: Tensor, objective: Objective, x: Tensor, transform: Transform | None, ends: bool) -> Tensor:
    """Values for an observer: at both ends of the loop those of the images themselves, where draws do not move them."""
    if transform is None or not ends:
        return values.detach()
    with torch.no_grad():
        return objective(x).detach()


def perturb(
    images: Tensor,
    objective: Objective,
    *,
    eps: float,
    step_size: float,
    steps: int,
    start: Tensor | Standing | None = None,
    treatment: Treatment = plain,
    transform: Transform | None = None,
    on_step: OnStep | None = None,
    on_end: Callable[[Standing], None] | None = None,
) -> Tensor:
    """Maximise ``objective`` within ``eps`` of ``images`` by signed gradient steps.

    ``x <- project(x + step_size * sign(treatment(grad)))``, ``steps`` times. Every image's value must depend on that
    image alone, or through batch statistics only: the gradient is that of the sum.

    Args:
        images: ``(B, C, H, W)`` in [0, 1]; not changed.
        objective: one value per image, to be maximised. Its module's parameters should be :func:`frozen`.
        eps: l-infinity radius in pixel scale.
        step_size: in pixel scale.
        steps: number of gradient steps.
        start: offset in units of ``eps``, in [-1, 1], of the shape of ``images``; none starts at the images. Where an
            earlier run stood, this one goes on, and its steps count from there: the two are one longer run.
        treatment: what happens to the gradient before its sign is taken.
        transform: what happens to the images, at each step, before the objective sees them.
        on_step: an observer; must change nothing.
        on_end: told where the loop stands after its last step.

    Returns:
        images ``(B, C, H, W)`` within ``eps`` of ``images`` and in [0, 1], detached.
    """
    images = images.detach()
    lower, upper = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    if isinstance(start, Standing):
        x, direction, first = start.images, start.direction, start.steps
    else:
        x = images if start is None else torch.clamp(images + eps * start, lower, upper)
        direction, first = torch.zeros_like(images), 0
    ends = (first, first + steps - 1)
    for step in range(first, first + steps):
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            values = objective(x if transform is None else transform(x, step))
            total = values.sum()
        (gradient,) = torch.autograd.grad(total, x)
        if on_step:
            on_step(step, _watched(values, objective, x, transform, ends=step in ends), gradient)
        direction = treatment(gradient, direction)
        x = torch.clamp(x.detach() + step_size * direction.sign(), lower, upper)
    if on_end:
        on_end(Standing(x.detach(), direction, first + steps))
    return x.detach()
