"""MORA (arXiv:2211.08008): sub-models weighed by what each can still do to the ensemble's answer.

The restarts are the sweep: restart ``r`` starts at noise of its own and mixes by ``MIXES[r % 5]``, from the ensemble's
answer alone (0) to the reweighed sub-models alone (1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.perturb.attack import Attack, own_facts
from robustbench_ens.perturb.gradient import Look, project

MIXES = (0.5, 0.0, 0.25, 0.75, 1.0)
"""Shares of the reweighed sub-models in what is attacked, in the order in which the released code tries them."""

LARGEST_GAP = 10.0
"""Logits are divided until no gap between their top two is larger."""

MOMENTUM = 0.75
"""The part of a step that is new; the rest continues the step before, as in APGD."""

BOUNDLESS = frozenset({"mean_logits"})
"""Aggregations under which a sub-model that errs can still be pushed further; a probability is at most 1."""

Schedule = Callable[[float, int, int], float]
"""Maps eps, a step from 0 and the number of steps to the size of that step, in pixel scale."""

SCHEDULES: dict[str, Schedule] = {
    "linear": lambda eps, step, steps: 2 * eps * (1 - step / steps),
    "cosine": lambda eps, step, steps: eps * (1 + math.cos(math.pi * step / steps)),
    "cos": lambda eps, step, steps: 2 * eps * math.cos(math.pi * step / (2 * steps)),
    "constant": lambda eps, step, steps: 2 / 255,
}


def gap(scores: Tensor) -> Tensor:
    """Return the highest score less the second highest, over the last dimension."""
    top = scores.topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


def gap_scale(outputs: Tensor) -> Tensor:
    """Return what logits are divided by: a tenth of the largest gap of any output, at least 1.

    Args:
        outputs: of the sub-models and, last, of the ensemble: ``(M + 1, B, classes)``.

    Returns:
        ``(B,)``.
    """
    return (gap(outputs).amax(dim=0) / LARGEST_GAP).clamp_min(1)


def reference(logits: Tensor, scale: Tensor) -> Tensor:
    """Return ``P``, the sum of the sub-models' softmax of ``logits / scale``, divided by one more than their number.

    Args:
        logits: of the sub-models, ``(M, B, classes)``.
        scale: ``(B,)``.

    Returns:
        ``(B, classes)``.
    """
    return torch.softmax(logits / scale.unsqueeze(1), dim=-1).sum(dim=0) / (len(logits) + 1)


class Odds(NamedTuple):
    """Probabilities of the label and of the class that is aimed at.

    Attributes:
        own_label, own_target: of each output, ``(M + 1, B)``.
        label, target: of the reference, ``(B,)``.
    """

    own_label: Tensor
    own_target: Tensor
    label: Tensor
    target: Tensor


def paper_weights(odds: Odds) -> Tensor:
    """Return ``p_t (p_y / P_y + (1 - p_t) / P_t)``: how fast the odds of error rise with the logit of class ``t``."""
    return odds.own_target * (odds.own_label / odds.label + (1 - odds.own_target) / odds.target)


def released_weights(odds: Odds) -> Tensor:
    """Return ``p_t ((1 + p_t) / P_t - p_y / P_y)`` while the reference is right: the released code's slip of a sign.

    Where the reference errs it is :func:`paper_weights`. Both are positive.
    """
    slipped = odds.own_target * ((1 + odds.own_target) / odds.target - odds.own_label / odds.label)
    return torch.where(odds.label >= odds.target, slipped, paper_weights(odds))


def likeliest_other(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the class with the highest score but the label, ``(B,)``; scores are ``(B, classes)``."""
    return scores.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1)


def odds_of(outputs: Tensor, mean: Tensor, labels: Tensor, targets: Tensor, temperature: float) -> Odds:
    """Return what weights are made of.

    Args:
        outputs: of the sub-models and the ensemble, ``(M + 1, B, classes)``.
        mean: the :func:`reference`, ``(B, classes)``.
        labels, targets: ``(B,)``.
        temperature: a factor of the outputs before their softmax; below 1 it softens them.
    """
    own = torch.softmax(temperature * outputs, dim=-1)
    mean = mean.clamp_min(torch.finfo(mean.dtype).tiny)

    def at(classes: Tensor) -> tuple[Tensor, Tensor]:
        index = classes.unsqueeze(1)
        return own.gather(2, index.expand(len(own), -1, -1)).squeeze(2), mean.gather(1, index).squeeze(1)

    own_label, label = at(labels)
    own_target, target = at(targets)
    return Odds(own_label, own_target, label, target)


def mixed(outputs: Tensor, scale: Tensor, weights: Tensor, mix: float) -> Tensor:
    """Return the logits that are attacked, ``(1 - X) E / gap(E) + X sum(w z / g) / (1e-8 + sum(w))``.

    Args:
        outputs: of the sub-models and, last, of the ensemble, which is ``E`` and one more ``z``:
            ``(M + 1, B, classes)``.
        scale: ``g``, ``(B,)``.
        weights: ``w``, ``(M + 1, B)``; zero of those that are masked.
        mix: ``X``, in [0, 1].

    Returns:
        ``(B, classes)``. Gaps, scales and weights are constants to the gradient.
    """
    answer = outputs[-1]
    by_gap = answer / gap(answer).detach().clamp_min(1e-8).unsqueeze(1)
    shares = weights / (1e-8 + weights.sum(dim=0))
    reweighed = (shares.unsqueeze(2) * outputs).sum(dim=0) / scale.unsqueeze(1)
    return (1 - mix) * by_gap + mix * reweighed


class Mora(Attack):
    """MORA from a random start; the step sizes are its own, and the loss is that of the mixed logits.

    An image is beaten if the ensemble's answer errs, and stays at the first point that beat it. What a step is told
    to observers is the loss of the answer, for the mixed logits of two steps cannot be compared.

    Attributes:
        weigh: makes weights out of odds; the released form, which left fewer images right than the paper's where both
            were measured (``attacks/README.md``).
        temperature: of the weights.
        schedule: a key of ``SCHEDULES``.
        sweep: mixes, one for each restart, by turns.
    """

    facts = own_facts("mora")
    weigh: ClassVar[Callable[[Odds], Tensor]] = staticmethod(released_weights)
    temperature: ClassVar[float] = 0.2
    schedule: ClassVar[str] = "linear"
    sweep: ClassVar[tuple[float, ...]] = MIXES

    @property
    def mix(self) -> float:
        """The share of the reweighed sub-models in this restart."""
        return self.sweep[self.problem.draws.restart % len(self.sweep)]

    def targets(self, mean: Tensor) -> Tensor:
        """Return the classes that weights count towards, ``(B,)``: the likeliest wrong ones of ``(B, classes)``."""
        return likeliest_other(mean, self.problem.labels)

    def loss(self, logits: Tensor) -> Tensor:
        """Return what is maximised, one value per image, of the mixed logits ``(B, classes)``."""
        return self.problem.loss(logits, self.problem.labels)

    def outputs(self, images: Tensor) -> Tensor:
        """Return the logits of the sub-models and, last, the scores of the answer: ``(M + 1, B, classes)``."""
        scores = self.problem.scores
        logits = torch.stack([member(images) for member in self.problem.members])
        answer = scores.aggregate.scores(logits) if isinstance(scores, Ensemble) else scores(images)
        return torch.cat([logits, answer.unsqueeze(0)])

    def weights(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scale ``(B,)`` and the weights ``(M + 1, B)`` of outputs, which carry no gradient."""
        scale = gap_scale(outputs)
        mean = reference(outputs[:-1], scale)
        odds = odds_of(outputs, mean, self.problem.labels, self.targets(mean), self.temperature)
        return scale, type(self).weigh(odds)

    def kept(self, outputs: Tensor) -> Tensor:
        """Return which outputs are not masked, ``(M + 1, B)``: those that are right, or all if none is."""
        if getattr(self.problem.scores, "aggregation", "") in BOUNDLESS:
            return torch.ones_like(outputs[..., 0], dtype=torch.bool)
        right = outputs.argmax(dim=-1) == self.problem.labels
        return right | ~right.any(dim=0)

    def look(self, images: Tensor) -> tuple[Look, Tensor]:
        """Return the answer's losses with the gradient that is followed, and where the answer errs, ``(B,)``."""
        x = images.detach().requires_grad_(True)
        with torch.enable_grad():
            outputs = self.outputs(x)
            detached = outputs.detach()
            scale, weights = self.weights(detached)
            logits = mixed(outputs, scale, weights * self.kept(detached), self.mix)
            (gradient,) = torch.autograd.grad(self.loss(logits).sum(), x)
        answer = detached[-1]
        return Look(self.problem.loss(answer, self.problem.labels), gradient), answer.argmax(1) != self.problem.labels

    def start(self) -> Tensor:
        """Return offsets in units of eps to start at, ``(B, C, H, W)``."""
        return self.problem.random_start()

    def run(self) -> Tensor:
        """Return for each image the first point that beat the ensemble, or else the last one."""
        problem = self.problem
        images, eps = problem.images.detach(), problem.eps
        x = project(images + eps * self.start(), images, eps)
        found = before = x
        beaten = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for step in range(problem.steps):
            look, wrong = self.look(x)
            if problem.on_step:
                problem.on_step(step, look.values, look.gradient)
            found = torch.where(beaten.view(-1, 1, 1, 1), found, x)
            beaten = beaten | wrong
            if beaten.all():
                return found
            size = SCHEDULES[self.schedule](eps, step, problem.steps)
            forward = project(x + size * look.gradient.sign(), images, eps)
            if step > 0:
                forward = project(x + MOMENTUM * (forward - x) + (1 - MOMENTUM) * (x - before), images, eps)
            before, x = x, forward
        return torch.where(beaten.view(-1, 1, 1, 1), found, x)
