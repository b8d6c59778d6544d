"""What an attack is: a class with hooks, of which the one gradient loop is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_ens.config.attacks import ATTACKS, AttackFacts
from robustbench_ens.core.seeds import derive_seed
from robustbench_ens.models.aggregation import Aggregation
from robustbench_ens.perturb.gradient import (
    Look,
    LoopState,
    OnStep,
    ascend,
    unit_l1,
    value_and_gradient,
)
from robustbench_ens.perturb.losses import AttackLoss
from robustbench_ens.perturb.starts import uniform_starts

Scores = Callable[[Tensor], Tensor]
"""Maps images ``(B, C, H, W)`` in [0, 1] to logits or log-probabilities ``(B, classes)``."""


@dataclass(frozen=True)
class Draws:
    """Random numbers that belong to an image: a function of ``key``, the image, the step and the purpose alone.

    Attributes:
        key: attack, loss, seed, variant and, last, restart.
        images: indices of the images of the batch in their dataset.
    """

    key: tuple[object, ...]
    images: Sequence[int]

    @property
    def restart(self) -> int:
        """The number of the restart, from 0; 0 if the key ends in something else."""
        last = self.key[-1] if self.key else 0
        return last if isinstance(last, int) else 0

    def uniform(self, purpose: str, step: int, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return uniform numbers in [0, 1), ``(B, *shape)``, of the dtype and on the device of ``like``.

        Args:
            purpose: what is drawn; each purpose has draws of its own.
            step: of the attack.
            shape: of what is drawn for one image.
            like: gives dtype and device. The numbers are drawn in float32 on the CPU.
        """
        found = torch.empty(len(self.images), *shape, dtype=torch.float32, device="cpu")
        generator = torch.Generator()
        for row, image in zip(found, self.images, strict=True):
            generator.manual_seed(derive_seed(purpose, *self.key, image, step))
            row.uniform_(generator=generator)
        return found.to(like)


@dataclass(frozen=True)
class Pool:
    """Images that an attack may mix with, the same whatever batch is attacked: those of the whole evaluation.

    Attributes:
        images: ``(P, C, H, W)`` in [0, 1], on the CPU.
        labels: ``(P,)``, on the CPU.
    """

    images: Tensor
    labels: Tensor


class Judged(NamedTuple):
    """What is found of images.

    Attributes:
        values: ``(B,)``, to be maximised.
        beaten: ``(B,)``, true where the attacked model errs, which is what the attack is after.
    """

    values: Tensor
    beaten: Tensor


@dataclass(frozen=True)
class Problem:
    """A batch of images and what an attack may know of the model.

    Attributes:
        images: clean, ``(B, C, H, W)`` in [0, 1].
        labels: ``(B,)``, the true classes.
        scores: of the target's answer; maps images ``(B, C, H, W)`` to logits or log-probabilities ``(B, classes)``.
        loss: maps scores and labels to one value per image.
        eps: l-infinity radius, in pixel scale.
        step_size: in pixel scale.
        steps: to be taken, after those of ``resume``.
        draws: for each image its own.
        pool: images to mix with.
        members: the sub-models of an ensemble, each from images to logits; of a single network, itself.
        aggregation: that of the sub-models, where attacks do not follow the loss of ``scores``.
        begin: images ``(B, C, H, W)`` to start at, of attacks whose facts allow it; none starts where the attack does.
        on_step: an observer of every step; must change nothing.
        on_end: called with the state of the gradient loop after the last step.
        resume: where an earlier run stood, which this one continues.
    """

    images: Tensor
    labels: Tensor
    scores: Scores
    loss: AttackLoss
    eps: float
    step_size: float
    steps: int
    draws: Draws
    pool: Pool
    members: Sequence[Scores]
    aggregation: Aggregation | None = None
    begin: Tensor | None = None
    on_step: OnStep | None = None
    on_end: Callable[[LoopState], None] | None = None
    resume: LoopState | None = None

    def objective(self, images: Tensor) -> Tensor:
        """Return what attacks maximise, ``(B,)``: the loss of the scores, or what the aggregation states."""
        if self.aggregation is None:
            return self.loss(self.scores(images), self.labels)
        return self.aggregation.objective(self._member_logits(images), self.labels, self.loss)

    def judged(self, images: Tensor) -> Judged:
        """Return :meth:`objective`, and whether the target's answer errs, from one pass through the model."""
        if self.aggregation is None:
            scores = self.scores(images)
            return Judged(self.loss(scores, self.labels), scores.argmax(dim=1) != self.labels)
        logits = self._member_logits(images)
        values = self.aggregation.objective(logits, self.labels, self.loss)
        return Judged(values, self.aggregation.beaten(logits, self.labels))

    def _member_logits(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members])

    @cached_property
    def probabilities(self) -> Tensor:
        """With what probability each of the members is the one that answers, ``(M,)``, in float64, on the CPU.

        If they answer together, it is the same for each.
        """
        chances = self.aggregation.chances if self.aggregation else ()
        each = chances or [1 / len(self.members)] * len(self.members)
        return torch.tensor(each, dtype=torch.float64, device="cpu")

    def random_start(self) -> Tensor:
        """Return offsets in units of eps, ``(B, C, H, W)``: to ``begin`` if that is given, or else uniform noise."""
        if self.begin is not None:
            return (self.begin - self.images) / max(self.eps, torch.finfo(self.images.dtype).tiny)
        return uniform_starts(self.images.shape[1:], self.draws.images, *self.draws.key).to(self.images)

    @cached_property
    def last_step(self) -> int:
        """The number of steps after which the run ends, counted from the very start."""
        return self.steps + (self.resume.steps if self.resume else 0)


class Attack(ABC):
    """An attack on one batch; a subclass says how it crafts.

    Attributes:
        facts: what protocols must know of it.
        problem: the batch.
    """

    facts: ClassVar[AttackFacts]

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @classmethod
    def prepare(cls, model: nn.Module) -> None:
        """Change the copy of the model that images are crafted on, once for all batches; its scores must not change."""
        return

    @abstractmethod
    def run(self) -> Tensor:
        """Return adversarial images ``(B, C, H, W)``; whoever calls projects them into the budget and checks them."""


class GradientAttack(Attack):
    """An attack by signed gradient steps; a subclass overrides the hooks in which it differs from PGD.

    ``x <- project(x + step_size * sign(direction(gradient(x))))``. Whatever must outlast a step, and an interruption,
    lies in ``state``: tensors whose first dimension is the batch.

    Attributes:
        random_start: whether it starts at uniform noise within the budget, or else at the clean images.
        copies: transformed copies of each image whose gradients are averaged.
        plain_values: whether :meth:`gradient` returns the values of the images that it is given, and not of others.
        state: by name, tensors ``(B, ...)``.
    """

    random_start: ClassVar[bool] = True
    copies: ClassVar[int] = 1
    plain_values: ClassVar[bool] = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.state = self.initial_state()

    def initial_state(self) -> dict[str, Tensor]:
        """Return the state before the first step."""
        return {"direction": torch.zeros_like(self.problem.images)}

    def start(self) -> Tensor | None:
        """Return offsets in [-1, 1], in units of eps, to start at; none starts at the clean images."""
        return self.problem.random_start() if self.random_start else None

    def transform(self, images: Tensor, step: int, copy: int) -> Tensor:
        """Return what the model is shown in place of ``images``, of the same shape; differentiable.

        Args:
            images: ``(B, C, H, W)``.
            step: from 0.
            copy: from 0 to ``copies - 1``.
        """
        return images

    def look(self, images: Tensor, step: int) -> Look:
        """Return values and gradients at ``images``, means over the transformed copies."""
        looks = [self._look_at_copy(images, step, copy) for copy in range(self.copies)]
        return looks[0] if self.copies == 1 else mean_look(looks)

    def _look_at_copy(self, images: Tensor, step: int, copy: int) -> Look:
        return value_and_gradient(self.problem.objective, images, lambda points: self.transform(points, step, copy))

    def gradient(self, images: Tensor, step: int) -> Look:
        """Return values ``(B,)`` and the gradient ``(B, C, H, W)`` that the step is made of."""
        return self.look(images, step)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return what the step follows the sign of."""
        return gradient

    def run(self) -> Tensor:
        """Return adversarial images by the gradient loop."""
        problem = self.problem
        return ascend(
            self,
            problem.images,
            problem.objective,
            eps=problem.eps,
            step_size=problem.step_size,
            steps=problem.steps,
            resume=problem.resume,
            on_step=problem.on_step,
            on_end=problem.on_end,
        )


class MomentumAttack(GradientAttack):
    """An attack that accumulates gradients of unit size; from the clean images, as transfer attacks do.

    ``direction <- decay * direction + gradient / mean |gradient|`` per image (arXiv:1710.06081, with the mean in place
    of the L1 norm). The scale matters only to attacks that use the direction itself, and not its sign.
    """

    decay: ClassVar[float] = 1.0
    random_start: ClassVar[bool] = False

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the accumulated gradients."""
        return self.decay * self.state["direction"] + unit_mean(gradient)


def unit_mean(gradient: Tensor) -> Tensor:
    """Return ``gradient / mean |gradient|``, per image; zero gradients stay zero."""
    count = gradient[0].numel() if len(gradient) else 1
    return unit_l1(gradient) * count


def mean_look(looks: Sequence[Look]) -> Look:
    """Return the mean of values and of gradients."""
    values = torch.stack([look.values for look in looks]).mean(dim=0)
    gradient = looks[0].gradient
    for look in looks[1:]:
        gradient = gradient + look.gradient
    return Look(values, gradient / len(looks))


def own_facts(name: str) -> AttackFacts:
    """Return the facts of an attack of the table, for its class to state."""
    return ATTACKS[name]
