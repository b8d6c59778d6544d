"""Auto-PGD on an ensemble that is known to be one: through its output, its mean logits, or its sub-models reweighed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustbench_ens.config.attacks import loss_function
from robustbench_ens.models.aggregation import load_aggregation
from robustbench_ens.models.aggregations.mean_softmax import log_mean_softmax
from robustbench_ens.models.ensemble import Ensemble
from robustbench_ens.models.fold import folded
from robustbench_ens.models.layout import PROBED
from robustbench_ens.perturb.attack import Judged
from robustbench_ens.perturb.attacks.apgd import apgd
from robustbench_ens.perturb.gradient import OnStep
from robustbench_ens.perturb.harness import craft_in_batches
from robustbench_ens.perturb.inputs import CleanImages, Compute, Observers
from robustbench_ens.perturb.losses import AttackLoss
from robustbench_ens.perturb.reweigh import reweighed

Values = Callable[[Tensor, Tensor, AttackLoss], Tensor]
"""Maps logits of the sub-models ``(M, B, classes)``, labels ``(B,)`` and a loss to one value per image ``(B,)``."""


def _reweighed(logits: Tensor, labels: Tensor, loss: AttackLoss) -> Tensor:
    """The value of the ensemble's own loss, with the gradient of the loss of :func:`reweighed` sub-models.

    The weights change at every step, so the reweighed loss of one step cannot be compared with that of another; the
    step size and the best point are decided by the ensemble's own.
    """
    steep = loss(reweighed(logits, labels), labels)
    return loss(log_mean_softmax(logits), labels).detach() + steep - steep.detach()


OBJECTIVES: dict[str, Values] = {"reweighed": _reweighed}
"""What is maximised beside the objectives of aggregations, by name."""


def objective_values(name: str) -> Values:
    """Return what is maximised under a name: of ``OBJECTIVES``, or the objective of an aggregation.

    Raises:
        UserError: there is no such aggregation.
    """
    return OBJECTIVES[name] if name in OBJECTIVES else load_aggregation(name).objective


def _beaten(ensemble: Ensemble, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return which images are beaten: by the sub-models' logits if their aggregation is known; else it is asked."""
    with torch.no_grad():
        if isinstance(ensemble, Ensemble):
            return ensemble.aggregate.beaten(logits, labels)
        return ensemble(images).argmax(dim=1) != labels


def judge(ensemble: Ensemble, labels: Tensor, objective: str, loss: str) -> Callable[[Tensor], Judged]:
    """Return what APGD maximises; an image is beaten if the ensemble's output errs.

    Args:
        ensemble: or a model of one's own that maps images to scores of classes and has sub-models, its ``members``.
        labels: ``(B,)``.
        objective: a name of :func:`objective_values`.
        loss: a key of :data:`~robustbench_ens.config.attacks.LOSSES` or ``package.module:name``.
    """
    values = objective_values(objective)
    maximised = loss_function(loss)

    def judged(images: Tensor) -> Judged:
        logits = torch.stack([member(images) for member in ensemble.members])
        beaten = _beaten(ensemble, images, logits, labels)
        return Judged(values(logits, labels, maximised), beaten)

    return judged


@dataclass(frozen=True)
class AdaptiveSettings:
    """Settings of APGD on an ensemble.

    Attributes:
        objective: a name of :func:`objective_values`.
        loss: a key of :data:`~robustbench_ens.config.attacks.LOSSES` or ``package.module:name``.
        eps: l-infinity radius in pixel scale.
        steps: gradients taken.
    """

    objective: str
    loss: str
    eps: float
    steps: int


def craft_adaptively(
    ensemble: Ensemble,
    clean: CleanImages,
    starts: Tensor,
    settings: AdaptiveSettings,
    compute: Compute,
    observers: Observers | None = None,
) -> Tensor:
    """Craft adversarial images for ``ensemble`` in eval mode by APGD, on a folded copy.

    Args:
        ensemble: not touched; or a model of one's own with ``members``.
        clean: the images to be perturbed, ``(N, C, H, W)``.
        starts: ``(N, C, H, W)``, where to start; projected into the budget.
        settings: what is maximised, and how far.
        compute: where to compute, and how much at a time.
        observers: of the steps, called from the workers' threads, and of what the model is shown.

    Returns:
        ``(N, C, H, W)``, on the CPU, within ``eps`` of the clean images and in [0, 1].
    """
    observers = observers or Observers()
    fast, on_step = folded(ensemble, clean.images[:PROBED].to(compute.device)), observers.on_step

    def watch(rows: slice) -> OnStep | None:
        return (lambda step, values, gradient: on_step(rows, step, values, gradient)) if on_step else None

    def crafter(rows: slice, images: Tensor) -> Tensor:
        judged = judge(fast, clean.labels[rows].to(compute.device), settings.objective, settings.loss)
        start = starts[rows].to(images)
        run = partial(apgd, images, judged, eps=settings.eps, steps=settings.steps, start=start, on_step=watch(rows))
        return observers.passes.attempt(run)

    with observers.passes.watching(fast):
        return craft_in_batches(crafter, clean.images, settings.eps, compute)
