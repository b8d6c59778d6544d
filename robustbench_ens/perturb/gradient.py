"""The one gradient loop: every attack, and every image crafted for training, is a setting of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from robustbench_ens.errors import UserError

Objective = Callable[[Tensor], Tensor]
"""Maps images ``(B, C, H, W)`` to one value per image ``(B,)``, to be maximised."""

GradientRule = Callable[[Tensor, Tensor], Tensor]
"""Maps a gradient and the previous direction (zeros at first) to the direction whose sign is followed."""

OnStep = Callable[[int, Tensor, Tensor], None]
"""Told, at each step (from 0 at the very start), the values ``(B,)`` before it and their gradient ``(B, C, H, W)``.

Both are detached. Where images are transformed, the values at the first and the last step are those without a
transformation.
"""


@dataclass(frozen=True)
class LoopState:
    """Where the gradient loop stands after so many steps: all that it needs to go on.

    Attributes:
        images: ``(B, C, H, W)``.
        state: of the attack, tensors ``(B, ...)`` by name; ``direction`` is what the last step followed the sign of.
        steps: taken so far.
    """

    images: Tensor
    state: Mapping[str, Tensor]
    steps: int

    def __getitem__(self, rows: slice) -> LoopState:
        """Return the state of the images at ``rows``."""
        return LoopState(self.images[rows], {name: one[rows] for name, one in self.state.items()}, self.steps)


class Look(NamedTuple):
    """What an objective says of images.

    Attributes:
        values: ``(B,)``, detached.
        gradient: of their sum, ``(B, C, H, W)``, detached.
    """

    values: Tensor
    gradient: Tensor


class Hooks(Protocol):
    """What the gradient loop asks of an attack; see :class:`~robustbench_ens.perturb.attack.GradientAttack`."""

    state: dict[str, Tensor]

    @property
    def plain_values(self) -> bool:
        """Whether :meth:`gradient` returns the values of the images that it is given, and not of others."""

    def start(self) -> Tensor | None:
        """Return offsets in units of eps to start at."""

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values and what the step is made of."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Return what the step follows the sign of."""


def plain(gradient: Tensor, previous: Tensor) -> Tensor:
    """Follow the gradient itself (PGD, arXiv:1706.06083)."""
    return gradient


def momentum(decay: float = 1.0) -> GradientRule:
    """Accumulate gradients of unit L1 norm: ``g <- decay * g + grad / ||grad||_1`` per image (arXiv:1710.06081)."""

    def rule(gradient: Tensor, previous: Tensor) -> Tensor:
        return decay * previous + unit_l1(gradient)

    return rule


def unit_l1(gradient: Tensor) -> Tensor:
    """Return ``gradient`` ``(B, ...)`` divided by the L1 norm of each image; a zero gradient stays zero."""
    norm = gradient.abs().sum(dim=tuple(range(1, gradient.dim())), keepdim=True)
    return gradient / norm.clamp_min(torch.finfo(gradient.dtype).tiny)


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


def value_and_gradient(
    objective: Objective, images: Tensor, transform: Callable[[Tensor], Tensor] | None = None
) -> Look:
    """Return the values of ``objective`` at ``images``, and the gradient of their sum.

    Args:
        objective: one value per image, which depends on that image alone.
        images: ``(B, C, H, W)``.
        transform: maps images to those that the objective is shown; differentiable.
    """
    x = images.detach().requires_grad_(True)
    with torch.enable_grad():
        values = objective(x if transform is None else transform(x))
        total = values.sum()
    (gradient,) = torch.autograd.grad(total, x)
    return Look(values.detach(), gradient)


def ascend(
    hooks: Hooks,
    images: Tensor,
    objective: Objective,
    *,
    eps: float,
    step_size: float,
    steps: int,
    resume: LoopState | None = None,
    on_step: OnStep | None = None,
    on_end: Callable[[LoopState], None] | None = None,
) -> Tensor:
    """Maximise ``objective`` within ``eps`` of ``images`` by signed gradient steps: the one gradient loop.

    ``x <- project(x + step_size * sign(direction(gradient(x))))``, ``steps`` times. Every image's value must depend on
    that image alone, or through batch statistics only: the gradient is that of the sum.

    Args:
        hooks: the attack.
        images: ``(B, C, H, W)`` in [0, 1]; not changed.
        objective: one value per image. Its module's parameters should be :func:`frozen`.
        eps: l-infinity radius in pixel scale.
        step_size: in pixel scale.
        steps: number of gradient steps.
        resume: where an earlier run stood. Steps count from there: the two are one longer run.
        on_step: an observer; must change nothing.
        on_end: called with the state after the last step.

    Returns:
        images ``(B, C, H, W)`` within ``eps`` of ``images`` and in [0, 1], detached.
    """
    images = images.detach()
    lower, upper = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    if resume is not None:
        x = resume.images
        hooks.state = dict(resume.state)
        first = resume.steps
    else:
        start = hooks.start()
        x = images if start is None else torch.clamp(images + eps * start, lower, upper)
        first = 0
    ends = (first, first + steps - 1)
    for step in range(first, first + steps):
        look = hooks.gradient(x.detach(), step)
        if on_step:
            plain_values = hooks.plain_values or step not in ends
            on_step(step, look.values if plain_values else _values(objective, x), look.gradient)
        direction = hooks.direction(look.gradient)
        hooks.state["direction"] = direction
        x = torch.clamp(x.detach() + step_size * direction.sign(), lower, upper)
    if on_end:
        on_end(LoopState(x.detach(), dict(hooks.state), first + steps))
    return x.detach()


def _values(objective: Objective, images: Tensor) -> Tensor:
    """Return the values of the images themselves: what an observer compares at both ends of the loop."""
    with torch.no_grad():
        return objective(images).detach()


class _Rule:
    """Hooks of a function from a gradient and the previous direction to the next direction."""

    plain_values = True

    def __init__(self, images: Tensor, objective: Objective, rule: GradientRule, start: Tensor | None) -> None:
        self.state = {"direction": torch.zeros_like(images)}
        self._objective = objective
        self._rule = rule
        self._start = start

    def start(self) -> Tensor | None:
        return self._start

    def gradient(self, images: Tensor, step: int) -> Look:
        return value_and_gradient(self._objective, images)

    def direction(self, gradient: Tensor) -> Tensor:
        return self._rule(gradient, self.state["direction"])


def perturb(
    images: Tensor,
    objective: Objective,
    *,
    eps: float,
    step_size: float,
    steps: int,
    start: Tensor | None = None,
    rule: GradientRule = plain,
) -> Tensor:
    """Craft by PGD, or by another rule of one gradient, without a class: what training does at every step.

    Args:
        images, objective, eps, step_size, steps: see :func:`ascend`.
        start: offset in units of ``eps``, in [-1, 1], of the shape of ``images``; none starts at the images.
        rule: makes the direction whose sign is followed out of the gradient and the direction before.

    Returns:
        images ``(B, C, H, W)`` within ``eps`` of ``images`` and in [0, 1], detached.
    """
    hooks = _Rule(images, objective, rule, start)
    return ascend(hooks, images, objective, eps=eps, step_size=step_size, steps=steps)
